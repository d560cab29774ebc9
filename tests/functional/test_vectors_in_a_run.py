"""Vectors in somebody's suite: computed once for all workers and runs, and counted exactly.

Most suites here have models with real files and without torch (`support.light`), whose loads and
computed texts are noted beside what the plugin itself counts.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from support.damage import rewrite
from support.light import SIZE, vector_of
from support.models import COMMIT, add_to_hub_cache, tiny_bert
from support.redis_server import RedisServer, free_port
from support.suites import Suite, complaints, outcome

from pytest_embedcache.vectors import history
from pytest_embedcache.vectors.redis import RedisStore
from pytest_embedcache.vectors.sqlite import SqliteStore

needs_xdist = pytest.mark.skipif(find_spec("xdist") is None, reason="pytest-xdist is not installed")
posix = pytest.mark.skipif(os.name != "posix", reason="a POSIX system is needed for this trouble")

OTHER_COMMIT = "d" * 40

#: On any number of workers: each test asks for 3 texts, of which 1 is computed, 1 is the same in
#: one call, and 1 is found in memory.
SUITE = """
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_texts(embedding_model, number):
        one, same = embedding_model.encode([f"text {number}", f"text {number}"])
        assert one.tobytes() == same.tobytes() == embedding_model.encode(f"text {number}").tobytes()
"""
ASKED = {"asked": 12, "shared": 4, "bypassed": 0, "untrusted": 0}
#: What no store holds: needs the model in every run.
STRAIGHT = """
    def test_straight(embedding_model):
        embedding_model.encode(["straight", "straight"], output_value="token_embeddings")
"""


class LightSuite(Suite):
    """A suite whose models are light."""

    def write(self, **files: str) -> None:
        if "conftest" in files:
            files["conftest"] = (
                f"from support import light; light.install()\n{dedent(files['conftest'])}"
            )
        super().write(**files)

    def done(self) -> dict[str, list[str]]:
        """What was loaded and computed since the last call: `load` names, and `text`s."""
        log = Path(os.environ["LIGHT_LOG"])
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        found: dict[str, list[str]] = {"load": [], "text": []}
        for line in lines:
            kind, _, rest = line.partition(" ")
            found[kind].append(rest)
        found["text"] = sorted(text for text in found["text"] if text != "straight")
        return found


@pytest.fixture
def light(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tiny: Path, tmp_path: Path
) -> LightSuite:
    """An empty suite whose model is a light one in a directory."""
    monkeypatch.setenv("LIGHT_LOG", str(tmp_path / "light.log"))
    monkeypatch.setenv("EMBEDCACHE_MODEL", str(tiny))
    suite = LightSuite(pytester, monkeypatch)
    suite.write(conftest="")
    return suite


def lines_of(result: pytest.RunResult) -> list[str]:
    """The lines of the summary, without its title."""
    lines = result.stdout.lines
    start = next((i for i, line in enumerate(lines) if line.strip("= ") == "embedcache"), None)
    if start is None:
        return []
    found = []
    for line in lines[start + 1 :]:
        if not line or line.startswith("="):
            break
        found.append(line)
    return found


def entries(directory: str | os.PathLike[str]) -> int:
    """How many vectors are stored there."""
    store = SqliteStore(directory)
    count = store.stats().entries if store.path.exists() else 0
    store.close()
    return count


# ------------------------------------------------------------------------------ counts


@pytest.mark.parametrize(
    ("arguments", "processes"),
    [
        ((), 1),
        (("-n", "0"), 1),
        pytest.param(("-n", "2"), 2, marks=needs_xdist),
    ],
    ids=["serial", "-n 0", "-n 2"],
)
def test_the_second_run_finds_every_vector_and_loads_nothing(
    light: LightSuite, cache_dir: Path, arguments: tuple[str, ...], processes: int
) -> None:
    """In the JSON, for each tier and process, stands what the models themselves noted."""
    light.write(test_it=SUITE)
    cold = light.counts(*arguments)
    done = light.done()
    assert len(done["load"]) == cold["totals"]["loads"] == processes
    assert done["text"] == [f"text {number}" for number in range(4)]
    assert cold["totals"] | ASKED | {"computed": 4, "found": 4, "uses": 4} == cold["totals"]
    (vectors,) = cold["vectors"]
    assert vectors["found"] == {"memory": 4}
    assert entries(cache_dir) == 4

    warm = light.counts(*arguments)
    assert light.done() == {"load": [], "text": []}
    assert warm["totals"] | ASKED | {"computed": 0, "found": 8, "loads": 0} == warm["totals"]
    (vectors,) = warm["vectors"]
    assert vectors["found"] == {"memory": 4, "sqlite": 4}
    assert len(vectors["per_process"]) == warm["processes"] == processes
    for name in ("asked", "shared"):
        assert sum(row[name] for row in vectors["per_process"].values()) == ASKED[name]
    assert warm["totals"]["encode_seconds"] == warm["totals"]["spent_seconds"] == 0
    assert warm["totals"]["saved_seconds"] > 0
    assert warm["notices"] == {}


@needs_xdist
def test_eight_workers_find_what_one_process_stored(light: LightSuite) -> None:
    """Each worker asks for all texts; each text was computed once, and no worker loads."""
    light.write(test_it=SUITE)
    light.counts()
    assert len(light.done()["load"]) == 1
    warm = light.counts("--tx", "8*popen", "--dist=each")
    assert light.done() == {"load": [], "text": []}
    (vectors,) = warm["vectors"]
    assert vectors["found"] == {"memory": 32, "sqlite": 32}
    assert [row["found"] for row in vectors["per_process"].values()] == [
        {"memory": 4, "sqlite": 4}
    ] * 8


def test_the_summary_has_the_counts(light: LightSuite, tiny: Path) -> None:
    """Asked, found by tier, computed, shared and past the store; seconds spent and saved."""
    light.write(test_it=SUITE, test_straight=STRAIGHT)
    model, vectors, time = lines_of(light.run())
    assert model == f"{tiny} on cpu: 1 load for 5 uses"
    counted = "14 texts asked, 4 found (memory 4), 4 computed, 4 shared, 2 without the store"
    assert vectors == f"vectors: {counted}"
    assert time.startswith("spent ")
    model, vectors, time = lines_of(light.run("test_it.py"))
    assert model == f"{tiny} on cpu: no load for 4 uses"
    assert vectors == "vectors: 12 texts asked, 8 found (sqlite 4, memory 4), 0 computed, 4 shared"
    assert time.startswith("spent 0.00 s, saved about ")


def test_a_device_that_is_left_open_is_one_line_of_the_summary(light: LightSuite) -> None:
    """`auto` is a device only once the model is loaded; its uses are counted on that."""
    light.write(test_it=SUITE)
    device = "--embedcache-device=auto"
    (model,) = light.counts(device)["models"]
    assert (model["device"] != "auto", model["loads"], model["uses"]) == (True, 1, 4)
    light.write(test_it=SUITE)
    (model,) = light.counts(device)["models"]
    assert (model["loads"], model["uses"]) == (0, 4)


def test_another_machine_that_shares_the_directory_needs_not_even_the_model(
    light: LightSuite, hub_cache: Path, tiny: Path, tmp_path: Path
) -> None:
    """It finds what is stored; a text that is not is an error that names the model."""
    add_to_hub_cache(hub_cache, "org/light", tiny)
    light.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_texts(embedding_model, number):
            assert embedding_model.encode(f"text {number}").shape == (16,)
        """
    )
    name = {"EMBEDCACHE_MODEL": "org/light"}
    light.counts(**name)
    light.done()
    elsewhere = {"HF_HOME": str(tmp_path / "nothing"), **name}
    counts = light.counts(**elsewhere)
    assert counts["vectors"][0]["found"] == {"sqlite": 4}
    assert counts["totals"]["saved_seconds"] > 0, "what a text costs is in the directory too"
    assert light.done() == {"load": [], "text": []}
    light.write(test_it="def test_it(embedding_model): embedding_model.encode('another')")
    result = light.run(**elsewhere)
    assert outcome(result) == {"failed": 1}
    result.stdout.fnmatch_lines(["*ModelNotFoundError: model 'org/light'*HF_HUB_OFFLINE*"])


# ------------------------------------------------------------------------------ live


def test_mode_live_neither_reads_nor_writes(light: LightSuite, cache_dir: Path) -> None:
    """By option, variable and ini: every text is computed, and the store stays as it is."""
    light.write(
        test_it="""
        from pytest_embedcache import get_model

        def test_texts(embedding_model):
            model = get_model(embedding_model.name)
            assert model is embedding_model
            for _ in range(2):
                assert model.encode(["stored", "new"]).shape == (2, 16)
        """,
        test_store="def test_it(embedding_model): embedding_model.encode('stored')",
    )
    light.counts("test_store.py")
    light.done()
    database = next(cache_dir.rglob("vectors.sqlite3"))
    before = database.read_bytes()
    ini = light.path / "live.ini"
    ini.write_text("[pytest]\nembedcache_mode = live\n")
    for arguments, environment in (
        (["--embedcache-mode=live"], {}),
        ([], {"EMBEDCACHE_MODE": "live"}),
        (["-c", str(ini)], {}),
    ):
        counts = light.counts("test_it.py", *arguments, **environment)
        assert light.done()["text"] == ["new", "new", "stored", "stored"]
        (vectors,) = counts["vectors"]
        assert (vectors["asked"], vectors["bypassed"]) == (4, 4)
        assert (vectors["found"], vectors["computed"]) == ({}, 0)
        assert counts["settings"]["mode"] == "live"
        assert database.read_bytes() == before
        assert sorted(file.name for file in database.parent.glob("vectors*")) == ["vectors.sqlite3"]


def test_the_marker_makes_one_test_live(light: LightSuite, cache_dir: Path) -> None:
    """The others read and write; a mode that there is not is an error that lists the good ones."""
    light.write(
        test_it="""
        import pytest

        def test_stored(embedding_model):
            embedding_model.encode("one")

        @pytest.mark.embedcache(mode="live")
        def test_live(embedding_model):
            embedding_model.encode(["one", "two"])

        def test_stored_again(embedding_model):
            embedding_model.encode("one")
        """
    )
    counts = light.counts("-p", "no:randomly")
    assert light.done() == {
        "load": [os.environ["EMBEDCACHE_MODEL"]],
        "text": ["one", "one", "two"],
    }
    (vectors,) = counts["vectors"]
    assert (vectors["asked"], vectors["bypassed"], vectors["computed"]) == (4, 2, 1)
    assert vectors["found"] == {"memory": 1}
    assert entries(cache_dir) == 1
    for text in (
        "import pytest\n@pytest.mark.embedcache(mode='lively')\ndef test_it(embedding_model): pass",
        "def test_it(embedding_model_factory): embedding_model_factory(mode='lively')",
    ):
        light.write(test_it=text)
        result = light.run()
        assert result.ret != 0
        assert "use auto or live" in complaints(result)
        assert "'lively'" in complaints(result)


@pytest.mark.parametrize("source", ["option", "variable", "ini"])
def test_a_bad_mode_is_a_usage_error(light: LightSuite, source: str) -> None:
    """It names the source and lists the modes that there are."""
    light.write(test_it="def test_it(): pass")
    (light.path / "bad.ini").write_text("[pytest]\nembedcache_mode = lively\n")
    result = {
        "option": lambda: light.run("--embedcache-mode=lively"),
        "variable": lambda: light.run(EMBEDCACHE_MODE="lively"),
        "ini": lambda: light.run("-c", "bad.ini"),
    }[source]()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    named = {"option": "--embedcache-mode", "variable": "EMBEDCACHE_MODE", "ini": "ini embedc"}
    result.stderr.fnmatch_lines([f"*'lively'*{named[source]}*auto, live, record*"])


# ------------------------------------------------------------------------------ fixtures


def test_vector_store_is_the_store_behind_the_models(light: LightSuite) -> None:
    """The fixture and its twin are one store, in which the model's keys are found."""
    light.write(
        test_it="""
        from pytest_embedcache.vectors.store import VectorStore

        def test_it(embedding_model, vector_store, embedcache_store):
            assert vector_store is embedcache_store
            assert isinstance(vector_store, VectorStore)
            (row,) = embedding_model.encode(["a cat"])
            (key,) = embedding_model.keys(["a cat"])
            found = vector_store.get_many(embedding_model.fingerprint, [key])
            assert found[key].tobytes() == row.tobytes()
            assert vector_store.stats().entries == 1
            assert embedding_model.invalidate("a cat") == 1
            assert vector_store.stats().entries == 0
        """
    )
    assert outcome(light.run()) == {"passed": 1}


def test_a_suite_s_own_vector_store_disturbs_nothing(light: LightSuite) -> None:
    """At every scope: it wins under its name, the twin stays, and the model has the real store."""
    scopes = ("function", "class", "module", "package", "session")
    for scope in scopes:
        folder = light.path / scope
        folder.mkdir()
        (folder / "__init__.py").write_text("")
        (folder / "conftest.py").write_text(
            f"import pytest\n@pytest.fixture(scope={scope!r})\n"
            "def vector_store():\n    return 'somebody else'\n"
        )
        (folder / "test_it.py").write_text(
            "def test_it(vector_store, embedding_model, embedcache_store):\n"
            f"    row = embedding_model.encode({scope!r})\n"
            f"    (key,) = embedding_model.keys([{scope!r}])\n"
            "    assert vector_store == 'somebody else'\n"
            "    assert key in embedcache_store.get_many(embedding_model.fingerprint, [key])\n"
        )
    counts = light.counts()
    assert (counts["totals"]["computed"], counts["totals"]["uses"]) == (len(scopes), len(scopes))


@pytest.mark.parametrize("mode", ["auto", "live"])
def test_code_under_test_shares_the_model_and_its_vectors(light: LightSuite, mode: str) -> None:
    """Also where it got its model before the plugins were configured: while conftest was imported.

    Such a model obeys the run's directory and mode, and is counted.
    """
    (light.path / "service.py").write_text(
        "import os\nfrom pytest_embedcache import get_model\n"
        "MODEL = get_model(os.environ['EMBEDCACHE_MODEL'])\n"
        "def answer(text):\n    return get_model(os.environ['EMBEDCACHE_MODEL']).encode(text)\n"
    )
    light.write(
        conftest="import service",
        test_it="""
        import service

        def test_it(embedding_model):
            one = embedding_model.encode("a cat")
            assert service.answer("a cat").tobytes() == one.tobytes()
            assert service.MODEL.encode("a cat").tobytes() == one.tobytes()
            assert service.MODEL is embedding_model
        """,
    )
    directory = light.path / "elsewhere"
    counts = light.counts(f"--embedcache-mode={mode}", f"--embedcache-dir={directory}")
    done = light.done()
    assert (len(done["load"]), counts["totals"]["loads"], counts["totals"]["asked"]) == (1, 1, 3)
    if mode == "auto":
        assert done["text"] == ["a cat"]
        assert counts["vectors"][0]["found"] == {"memory": 2}
    else:
        assert done["text"] == ["a cat"] * 3
        assert counts["totals"]["bypassed"] == 3
    assert entries(directory) == (mode == "auto")
    assert not Path(os.environ["EMBEDCACHE_DIR"], "v1", "vectors.sqlite3").exists()
    assert history.read(Path(os.environ["EMBEDCACHE_DIR"], "v1")) == {}, "counted there as well"
    (past,) = history.read(directory / "v1").values()
    assert (past.asked, past.loads) == (3 * (mode == "auto"), 1)


# ------------------------------------------------------------------------------ which model


def move(hub_cache: Path, commit: str) -> None:
    rewrite(hub_cache / "models--org--light" / "refs" / "main", commit.encode())


@needs_xdist
def test_all_workers_mean_one_model_though_the_branch_moves(
    light: LightSuite, hub_cache: Path, tiny: Path, cache_dir: Path, tmp_path: Path
) -> None:
    """It moves after the first worker's first use and before the second's: fixture, `get_model`
    and every spelling mean the commit that it was; the next run means the new one.
    """
    add_to_hub_cache(hub_cache, "org/light", tiny)
    other = tiny_bert(tmp_path / "other", seed=1)
    add_to_hub_cache(hub_cache, "org/light", other, commit=OTHER_COMMIT)
    move(hub_cache, COMMIT)
    light.write(
        test_it=f"""
        import os, time
        from pathlib import Path
        from pytest_embedcache import ModelSpec, default_registry, get_model

        MAIN = Path({str(hub_cache)!r}, "models--org--light", "refs", "main")

        def test_it(request, worker_id):
            moved = Path({str(tmp_path)!r}, "moved")
            if worker_id != "gw0":
                deadline = time.monotonic() + 300
                while not moved.exists():
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            model = request.getfixturevalue("embedding_model")
            assert get_model("org/light") is model
            first = model.encode("a cat").tobytes().hex()
            resolved = default_registry().resolve(ModelSpec("org/light", device="cpu"))
            if worker_id == "gw0":
                MAIN.write_text({OTHER_COMMIT!r})
                moved.touch()
            again = default_registry().identify(ModelSpec("org/light", revision="main"))
            assert again.fingerprint == model.fingerprint
            said = " ".join([model.fingerprint, resolved.revision, first])
            Path({str(tmp_path)!r}, f"said-{{worker_id}}").write_text(said)
        """
    )
    name = {"EMBEDCACHE_MODEL": "org/light"}
    counts = light.counts("--tx", "2*popen", "--dist=each", **name)
    said = {file.read_text() for file in tmp_path.glob("said-*")}
    (fingerprint, commit, vector) = said.pop().split()
    assert not said, "two workers had two models"
    assert commit == COMMIT
    assert vector == vector_of(tiny, "a cat").tobytes().hex()
    assert counts["notices"] == {}
    assert (counts["totals"]["asked"], counts["totals"]["computed"]) == (2, 1)
    assert [*(cache_dir / "v1" / "runs").iterdir()] == []

    (tmp_path / "moved").touch()
    light.counts("--tx", "2*popen", "--dist=each", **name)
    (new,) = {file.read_text() for file in tmp_path.glob("said-*")}
    assert new.split()[:2] != [fingerprint, commit]
    assert new.split()[1:] == [OTHER_COMMIT, vector_of(other, "a cat").tobytes().hex()]


@needs_xdist
@pytest.mark.parametrize("ending", ["crash", "interrupt"])
def test_a_run_that_ends_badly_leaves_no_notes(
    light: LightSuite, cache_dir: Path, ending: str
) -> None:
    """All workers died, or the run was stopped: what they agreed on is removed, and it is said
    whose counts are missing.
    """
    last = "os._exit(1)" if ending == "crash" else "assert False"
    light.write(
        test_it=f"""
        import os, pathlib, pytest
        from pytest_embedcache.files import cache_directory

        @pytest.mark.parametrize("number", range(2))
        def test_it(embedding_model, number):
            embedding_model.encode("a cat")
            assert [*(cache_directory() / "runs").iterdir()]
            {last}
        """
    )
    stop = ("--max-worker-restart=0",) if ending == "crash" else ("-x",)
    result = light.run("-n", "2", "--embedcache-json=counts.json", *stop)
    assert result.ret != 0
    complaints(result)
    assert [*(cache_dir / "v1" / "runs").iterdir()] == []
    counts = json.loads((light.path / "counts.json").read_text())
    assert set(counts["silent"]) <= {"gw0", "gw1"}
    if counts["silent"]:
        result.stdout.fnmatch_lines(["no counts from gw*totals are without"])
    assert counts["silent"] or ending == "interrupt"
    assert entries(cache_dir) == 1, "what was acknowledged is stored"


def test_other_weights_under_one_path_are_computed_anew(
    light: LightSuite, tiny: Path, tmp_path: Path, cache_dir: Path
) -> None:
    """Between runs the weights are swapped, then swapped back: each time the right vectors."""
    light.write(
        test_it="""
        from pathlib import Path
        def test_it(embedding_model):
            Path("vector").write_bytes(embedding_model.encode("a cat").tobytes())
        """
    )
    weights = tiny / "model.safetensors"
    contents = [weights.read_bytes()]
    contents.append(tiny_bert(tmp_path / "other", seed=1).joinpath(weights.name).read_bytes())
    assert len(contents[0]) == len(contents[1])
    for number, computed in ((0, 1), (1, 1), (0, 0)):
        rewrite(weights, contents[number])
        counts = light.counts()
        assert counts["totals"]["computed"] == computed
        assert (light.path / "vector").read_bytes() == vector_of(tiny, "a cat").tobytes()
    assert entries(cache_dir) == 2


def test_a_model_that_was_handed_out_stores_nothing_and_the_summary_says_so(
    light: LightSuite, cache_dir: Path
) -> None:
    """Its texts are computed past the store, those that are stored too."""
    light.write(
        test_it="""
        def test_it(embedding_model):
            embedding_model.encode("stored")
            embedding_model[0]
            embedding_model.encode(["stored", "new"])
        """
    )
    result = light.run("--embedcache-json=counts.json")
    counted = "2 by a model that may have been changed"
    result.stdout.fnmatch_lines([f"vectors: 3 texts asked, 0 found, 1 computed, {counted}"])
    result.stdout.fnmatch_lines(["vectors of * are neither read from the store nor written: *"])
    assert light.done()["text"] == ["new", "stored", "stored"]
    counts = json.loads((light.path / "counts.json").read_text())
    assert counts["totals"]["untrusted"] == 2
    assert entries(cache_dir) == 1


def test_fakes_never_reach_the_store_of_real_models(light: LightSuite, tmp_path: Path) -> None:
    """Nor does the real model's store move into a fake's private directory, whoever is first.

    The run has no directory of its own here, so that the fakes' environment could mislead it.
    """
    (light.path / "sentence_transformers.py").write_text("class SentenceTransformer:\n    pass\n")
    light.write(
        test_it="""
        from pytest_embedcache import get_model

        def test_fakes(fake_sentence_transformer, embedding_model_factory):
            embedding_model = embedding_model_factory()  # for the first time in this run
            fake = get_model("all-MiniLM-L6-v2").encode("a cat")
            assert fake_sentence_transformer.load_count() == 1
            assert embedding_model.encode("a cat").shape == (16,) != fake.shape

        def test_real(embedding_model, vector_store):
            embedding_model.encode("a cat")
            assert vector_store.stats().entries == 1
        """
    )
    home = tmp_path / "home"
    environment = {"EMBEDCACHE_DIR": "", "XDG_CACHE_HOME": str(home), "HOME": str(home)}
    counts = light.counts("-p", "no:randomly", **environment)
    (vectors,) = counts["vectors"]
    assert (vectors["asked"], vectors["computed"], vectors["found"]) == (2, 1, {"memory": 1})
    (database,) = home.rglob("vectors.sqlite3")
    store = SqliteStore(database.parents[1])
    assert [(use.label, use.entries) for use in store.models()] == [
        (os.environ["EMBEDCACHE_MODEL"], 1)
    ]
    store.close()
    assert not [path for path in light.path.rglob("vectors.sqlite3") if home not in path.parents]


# ------------------------------------------------------------------------------ Redis


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A server that asks for a password."""
    server = RedisServer("--requirepass", "hunter2", port=free_port()).start()
    yield server
    server.close()


def test_machines_share_redis_and_nobody_sees_its_password(
    light: LightSuite, redis: RedisServer, tmp_path: Path
) -> None:
    """Another directory is another machine. The keys' prefix is that of production. The password is
    in no header, summary, JSON or log, also where a test fails and shows its locals.
    """
    url = f"redis://:hunter2@127.0.0.1:{redis.port}/0"
    ini = tmp_path / "its" / "pytest.ini"
    ini.parent.mkdir()
    ini.write_text(f"[pytest]\nembedcache_redis_url = {url}\n")
    light.write(
        test_it="""
        import pytest
        from pytest_embedcache.vectors.api import StoreSettings

        @pytest.mark.parametrize("number", range(4))
        def test_texts(embedding_model, number):
            assert embedding_model.encode(f"text {number}").shape == (16,)

        def test_that_fails(embedding_model, vector_store, pytestconfig):
            settings = [pytestconfig.stash._storage[key] for key in pytestconfig.stash._storage]
            settings = [getattr(state, "settings", None) for state in settings]
            production = StoreSettings(redis_url=pytestconfig.getini("embedcache_redis_url"))
            assert production.redis_url.startswith("redis://:")
            stores = vector_store.stores
            assert embedding_model is None
        """
    )
    seen = ["-c", str(ini), "--rootdir", str(light.path), "-rA", "--showlocals"]
    seen += ["--log-level=DEBUG", "--log-file=log.txt", "--embedcache-json=counts.json", "-vv"]
    for number, found in enumerate(({}, {"redis": 4})):
        directory = f"--embedcache-dir={tmp_path / str(number)}"
        result = light.run(*seen, directory, EMBEDCACHE_REDIS_PREFIX="ours")
        assert outcome(result) == {"passed": 4, "failed": 1}
        counts = json.loads((light.path / "counts.json").read_text())
        assert counts["vectors"][0]["found"] == found
        assert counts["totals"]["computed"] == 4 - sum(found.values())
        assert counts["notices"] == {}
        shown = complaints(result) + (light.path / "log.txt").read_text()
        shown += (light.path / "counts.json").read_text()
        assert "hunter2" not in shown
        assert f"127.0.0.1:{redis.port}" in shown, "the log says where it is"
    result.stdout.fnmatch_lines(["embedcache: *redis_url=… (ini embedcache_redis_url)*"])
    store = RedisStore(url, prefix="ours")
    assert store.stats().entries == 4
    store.close()
    result = light.run(f"--embedcache-redis-url=http://:hunter2@127.0.0.1:{redis.port}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*redis_url = '…' (from --embedcache-redis-url)*rediss://*"])
    assert "hunter2" not in complaints(result)


def test_redis_may_die_in_the_middle_of_a_run(
    light: LightSuite, redis: RedisServer, tiny: Path
) -> None:
    """Every vector is right, and the summary has one line about it."""
    light.write(
        test_it="""
        import os, signal
        from support.light import vector_of

        def right(model, texts):
            rows = model.encode(texts)
            for text, row in zip(texts, rows, strict=True):
                assert row.tobytes() == vector_of(model.name, text).tobytes()

        def test_it(embedding_model):
            right(embedding_model, ["one", "two"])
            os.kill(int(os.environ["REDIS_PID"]), signal.SIGKILL)
            for number in range(5):
                right(embedding_model, ["one", f"text {number}", "two"])
        """
    )
    url = f"redis://:hunter2@127.0.0.1:{redis.port}/0"
    assert redis._process is not None
    result = light.run(
        f"--embedcache-redis-url={url}",
        "--embedcache-json=counts.json",
        REDIS_PID=str(redis._process.pid),
    )
    assert outcome(result) == {"passed": 1}
    counts = json.loads((light.path / "counts.json").read_text())
    assert (counts["totals"]["computed"], counts["totals"]["found"]) == (7, 10)
    (notice,) = counts["notices"]
    assert "redis" in notice
    assert lines_of(result)[3:] == [notice]
    assert "hunter2" not in complaints(result)


# ------------------------------------------------------------------------------ bad days

ONE = """
    from support.light import vector_of

    def test_it(embedding_model):
        texts = ["one", "two", "three"]
        for _ in range(2):
            for text, row in zip(texts, embedding_model.encode(texts), strict=True):
                assert row.tobytes() == vector_of(embedding_model.name, text).tobytes()
"""


def one_run(light: LightSuite, *arguments: str, notices: int = 1) -> dict[str, Any]:
    """Run it, which goes well and shows no traceback; its notices are in the summary."""
    result = light.run("--embedcache-json=counts.json", *arguments)
    assert outcome(result) == {"passed": 1}, result.stdout.str()
    assert "Traceback" not in complaints(result)
    found: dict[str, Any] = json.loads((light.path / "counts.json").read_text())
    assert len(found["notices"]) == notices, found["notices"]
    assert lines_of(result)[3:] == [" ".join(notice.split()) for notice in found["notices"]]
    assert found["totals"]["asked"] == 6
    return found


def test_a_damaged_database_is_begun_anew(light: LightSuite, cache_dir: Path) -> None:
    """Garbage, a torn file: one notice, right answers, and the next run finds all again."""
    light.write(test_it=ONE)
    one_run(light, notices=0)
    database = cache_dir / "v1" / "vectors.sqlite3"
    content = database.read_bytes()
    for damaged in (b"garbage" * 3000, content[: len(content) // 2 - 100]):
        database.write_bytes(damaged)
        counts = one_run(light)
        assert counts["totals"]["computed"] == 3
        assert "was damaged" in next(iter(counts["notices"]))
        assert one_run(light, notices=0)["totals"]["computed"] == 0


def test_a_flipped_bit_in_a_vector_costs_that_vector(light: LightSuite, cache_dir: Path) -> None:
    """It is computed again, and the others are found."""
    light.write(test_it=ONE)
    one_run(light, notices=0)
    with sqlite3.connect(cache_dir / "v1" / "vectors.sqlite3") as connection:
        ((number, value),) = connection.execute("SELECT id, value FROM vectors LIMIT 1")
        flipped = value[:-2] + bytes([value[-2] ^ 1]) + value[-1:]
        connection.execute("UPDATE vectors SET value = ? WHERE id = ?", (flipped, number))
    connection.close()
    counts = one_run(light, notices=0)
    assert counts["totals"]["computed"] == 1
    assert counts["vectors"][0]["found"] == {"sqlite": 2, "memory": 3}
    assert one_run(light, notices=0)["totals"]["computed"] == 0


@posix
def test_a_full_disk_costs_time_and_no_answer(light: LightSuite, cache_dir: Path) -> None:
    """Nothing can be written once the fixture has a model: vectors are computed, and it is said."""
    light.write(
        conftest="""
        import pytest, resource

        @pytest.hookimpl(wrapper=True)
        def pytest_pyfunc_call():
            before = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
            try:
                return (yield)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, before)
        """,
        test_it=ONE,
    )
    os.environ.pop("LIGHT_LOG")  # it could not be written either
    counts = one_run(light, "-p", "no:cacheprovider")
    assert counts["totals"]["computed"] == 3
    assert counts["vectors"][0]["found"] == {"memory": 3}
    assert "sqlite" in next(iter(counts["notices"]))
    assert entries(cache_dir) == 0


@pytest.fixture
def public(tmp_path: Path) -> Iterator[Path]:
    """A directory that another user can reach, which `tmp_path` is not."""
    directory = Path(tempfile.mkdtemp(prefix="embedcache-"))
    directory.chmod(0o755)
    yield directory
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755)
    shutil.rmtree(directory)


@posix
def test_a_read_only_directory_is_read(light: LightSuite, public: Path) -> None:
    """What is stored is found; a new text is computed; one notice says it is not kept."""
    store = public / "cache"
    model = shutil.copytree(os.environ["EMBEDCACHE_MODEL"], public / "model")
    arguments = [f"--embedcache-model={model}", f"--embedcache-dir={store}"]
    light.write(test_it=ONE.replace(', "three"', ""))
    light.run(*arguments)
    assert entries(store) == 2
    for path in (*store.rglob("*"), store):
        path.chmod(0o555 if path.is_dir() else 0o444)
    model.chmod(0o755)
    light.write(
        conftest="""
        import importlib, os, pkgutil, pytest
        import pytest_embedcache

        # The other user may not be able to read the package.
        for found in pkgutil.walk_packages(pytest_embedcache.__path__, "pytest_embedcache."):
            if found.name.split(".")[1] in ("models", "plugin", "vectors"):
                importlib.import_module(found.name)

        @pytest.hookimpl(wrapper=True)
        def pytest_pyfunc_call():
            root = os.geteuid() == 0
            if root:  # who may write everywhere
                os.seteuid(65534)
            try:
                return (yield)
            finally:
                if root:
                    os.seteuid(0)
        """,
        test_it=ONE,
    )
    os.environ.pop("LIGHT_LOG")
    counts = one_run(light, *arguments, "-p", "no:cacheprovider", notices=2)
    assert counts["totals"]["computed"] == 1
    assert counts["vectors"][0]["found"] == {"sqlite": 2, "memory": 3}
    assert "can only be read" in min(counts["notices"])
    assert entries(store) == 2


def test_a_directory_that_cannot_be_made_is_said(light: LightSuite, tmp_path: Path) -> None:
    """A file stands where it should be: everything is computed, in every run."""
    light.write(test_it=ONE)
    (tmp_path / "file").write_text("not a directory")
    for _ in range(2):
        result = light.run(f"--embedcache-dir={tmp_path / 'file'}", "--embedcache-json=c.json")
        assert outcome(result) == {"passed": 1}
        assert "Traceback" not in complaints(result)
        counts = json.loads((light.path / "c.json").read_text())
        assert counts["totals"]["computed"] == 3
        assert counts["notices"]
        assert len(lines_of(result)) < 9


# ------------------------------------------------------------------------------ not used


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["serial", "-n 2"])
def test_what_is_not_used_makes_no_directory(
    light: LightSuite, cache_dir: Path, arguments: tuple[str, ...]
) -> None:
    """Neither where tests are only collected, nor where none of them uses a model; with a setting
    of ours there is a header, and nothing else.
    """
    if arguments and find_spec("xdist") is None:
        pytest.skip("pytest-xdist is not installed")
    light.write(test_it=SUITE, test_other="def test_other(): pass")
    settings = [f"--embedcache-dir={cache_dir}", "--embedcache-redis-url=redis://127.0.0.1:1"]
    result = light.run("--collect-only", "--embedcache-json=counts.json", *settings, *arguments)
    assert result.ret == 0
    result = light.run("test_other.py", *settings, *arguments)
    assert outcome(result) == {"passed": 1}
    result.stdout.fnmatch_lines(["embedcache: *dir=*"])
    assert lines_of(result) == []
    assert light.done() == {"load": [], "text": []}
    assert not cache_dir.exists()
    assert not (light.path / "counts.json").exists()


def test_the_vectors_of_the_tests_are_what_they_are_said_to_be(tiny: Path) -> None:
    """The light model's vectors differ by text and weights: the tests above could fail."""
    one, other = vector_of(tiny, "a"), vector_of(tiny, "b")
    assert one.shape == (SIZE,)
    assert not np.array_equal(one, other)
