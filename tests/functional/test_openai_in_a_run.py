"""`--embedcache-dropin` and the OpenAI client: recorded in one run, replayed in the next."""

from __future__ import annotations

import importlib.util

import pytest
from support.openai_runs import SMALL, URL, served
from support.suites import Suite, complaints, outcome

pytest.importorskip("openai")

CODE = f"""
    import openai
    import pytest

    @pytest.fixture
    def client():
        with openai.OpenAI(max_retries=0) as found:
            yield found

    @pytest.mark.parametrize("number", range(4))
    def test_texts(client, number):
        found = client.embeddings.create(model="{SMALL}", input=["shared", f"text {{number}}"])
        assert [len(row.embedding) for row in found.data] == [8, 8]
"""
STRAIGHT = f"""
    @pytest.mark.embedcache(dropin=False)
    def test_the_service(client):
        found = client.embeddings.create(model="{SMALL}", input=["shared"])
        assert found.usage.total_tokens > 0
"""
GUARD = """
    import socket

    def refuse(*arguments, **options):
        raise AssertionError("a connection was tried")

    socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
"""


def test_what_two_workers_record_is_replayed(suite: Suite) -> None:
    """Per text; then with sockets blocked and without a key, and nothing computed.

    A text that was not recorded fails its test by name, with the command that records it."""
    workers = ["-n", "2"] if importlib.util.find_spec("xdist") else []
    suite.write(test_it=CODE)
    options = ["--embedcache-dropin", f"--embedcache-recordings={suite.path / 'kept'}"]
    with served() as fake:
        result = suite.run(
            *options,
            *workers,
            "--embedcache-mode=record",
            OPENAI_BASE_URL=fake.base_url,
            OPENAI_API_KEY=fake.api_key,
            EMBEDCACHE_ALIASES=f"{fake.base_url}={URL}",
        )
        assert outcome(result) == {"passed": 4}, complaints(result)
        assert sorted(set(fake.texts)) == ["shared", *(f"text {i}" for i in range(4))]
        assert len(fake.texts) <= 6  # two workers may both want what they share
    result.stdout.fnmatch_lines(["recordings: 5 texts recorded in kept"])

    suite.write(conftest=GUARD, test_it=CODE.replace("range(4)", "range(5)"))
    result = suite.run(*options, "--embedcache-mode=replay", OPENAI_BASE_URL=URL)
    assert outcome(result) == {"passed": 4, "failed": 1}, complaints(result)
    result.stdout.fnmatch_lines(
        [
            f"*ReplayMissError: the text 'text 4' is not recorded for model '{SMALL}'*",
            "vectors: 10 texts asked, 8 found (recordings 8), 0 computed",
            f"  'text 4' ({SMALL})",
            "record with: pytest --embedcache-mode=record --embedcache-recordings=kept "
            "--embedcache-dropin",
        ]
    )


def test_auto_keeps_vectors_and_a_marked_test_asks_the_service(suite: Suite) -> None:
    """The second run sends nothing but what the marker lets through."""
    suite.write(test_it=CODE + STRAIGHT)
    with served() as fake:
        environment = {"OPENAI_BASE_URL": fake.base_url, "OPENAI_API_KEY": fake.api_key}
        for expected in (6, 1):
            fake.requests.clear()
            result = suite.run("--embedcache-dropin", **environment)
            assert outcome(result) == {"passed": 5}, complaints(result)
            assert len(fake.texts) == expected
        # Another version of the same name is another model.
        suite.counts("--embedcache-dropin", EMBEDCACHE_VERSIONS=f"{SMALL}=2", **environment)
        assert len(fake.texts) == 7


def test_what_a_service_costs_is_in_the_report(suite: Suite) -> None:
    """The tokens of its answers, and, in the run that finds everything, those that it saved."""
    suite.write(test_it=CODE)
    path = suite.path / "report.md"
    with served() as fake:
        pages = []
        for _ in range(2):
            result = suite.run(
                *("--embedcache-dropin", f"--embedcache-report={path}"),
                f"--embedcache-prices={SMALL}=1000000",
                OPENAI_BASE_URL=fake.base_url,
                OPENAI_API_KEY=fake.api_key,
                EMBEDCACHE_ALIASES=f"{fake.base_url}={URL}",
            )
            assert outcome(result) == {"passed": 4}, complaints(result)
            pages.append(path.read_text(encoding="utf-8"))
        tokens = sum(request.tokens for request in fake.requests)
    assert f"| `{SMALL}` | 5 | {tokens} | ${tokens}.00 | 3 |" in pages[0]
    assert f"| `{SMALL}` | 0 | 0 | $0.00 | 8 | {round(8 * tokens / 5)} |" in pages[1]


def test_a_run_of_fakes_asks_nobody(suite: Suite) -> None:
    """Neither key nor service; also what a conftest asks while it is imported."""
    suite.write(
        conftest=f"""
            import openai

            with openai.OpenAI(base_url="http://127.0.0.1:9/v1", max_retries=0) as early:
                found = early.embeddings.create(model="{SMALL}", input="early")
                assert found.embedcache == {{"texts": 1, "sent": 0}}
        """,
        test_it=CODE.replace("[8, 8]", "[1536, 1536]"),
    )
    result = suite.run(
        *("--embedcache-dropin", "--embedcache-mode=fake"),
        OPENAI_BASE_URL="http://127.0.0.1:9/v1",
    )
    assert outcome(result) == {"passed": 4}, complaints(result)
    result.stdout.fnmatch_lines(["vectors: 8 texts asked, 3 found (memory 3), 5 computed"])
