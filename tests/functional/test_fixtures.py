"""The fixtures in somebody's suite: one model for a run, however pytest is started."""

from __future__ import annotations

import inspect

import pytest
from support.suites import EVERYTHING, Suite, complaints, outcome

from pytest_embedcache import plugin

#: Five tests that need the model, since none of their texts is stored, and share it.
SUITE = """
    import pytest
    from pytest_embedcache import get_model

    @pytest.mark.parametrize("number", range(4))
    def test_it_encodes(embedding_model, number):
        assert embedding_model.encode([f"text {number}", "b"]).shape == (2, 8)

    def test_code_under_test_has_the_same_model(embedding_model, embedcache_model):
        model = get_model("all-MiniLM-L6-v2")
        assert model is embedding_model is embedcache_model
        assert model.encode("text of code").shape == (8,)
"""
MINILM = "all-MiniLM-L6-v2"


# ------------------------------------------------------------------------------ ways to start


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("-n", "0", "-p", "no:cacheprovider"),
        ("-p", "no:xdist", "-p", "no:terminal", "--import-mode=importlib"),
        ("-p", "embedcache", "-p", "no:randomly"),
    ],
    ids=" ".join,
)
def test_one_process_loads_one_model_once(suite: Suite, arguments: tuple[str, ...]) -> None:
    """However pytest is started: one load, and every test and text is counted."""
    suite.write(test_it=SUITE)
    counts = suite.counts(*arguments, **({} if arguments else EVERYTHING))
    assert [words[:2] for words in suite.noted()] == [["load", MINILM]]
    (model,) = counts["models"]
    assert (model["name"], model["device"]) == (MINILM, "cpu")
    assert (model["loads"], model["uses"], model["failures"]) == (1, 6, 0)
    assert (counts["totals"]["asked"], counts["totals"]["computed"]) == (9, 6)
    assert counts["silent"] == []


def test_each_worker_that_needs_a_model_loads_it_once(suite: Suite) -> None:
    """The merged counts are those that the workers' own log shows."""
    suite.write(test_it=SUITE)
    counts = suite.counts("-n", "2", "--dist=each", "--tx=2*popen", "--embedcache-mode=live")
    loads = suite.noted()
    assert len({words[-1] for words in loads}) == len(loads) == 2
    (model,) = counts["models"]
    assert (model["loads"], model["uses"]) == (2, 12)
    assert {name: row["loads"] for name, row in model["per_process"].items()} == {
        "gw0": 1,
        "gw1": 1,
    }
    assert counts["totals"]["asked"] == 18
    assert (counts["processes"], counts["silent"]) == (2, [])


def test_a_second_run_loads_nothing(suite: Suite) -> None:
    """All its vectors are stored; alone or on workers."""
    suite.write(test_it=SUITE)
    suite.counts()
    suite.noted()
    for arguments in ((), ("-n", "2")):
        counts = suite.counts(*arguments)
        assert suite.noted() == []
        assert counts["totals"]["loads"] == counts["totals"]["computed"] == 0
        assert counts["totals"]["found"] == 9
        assert counts["totals"]["uses"] == 6


def test_the_summary_is_printed_once_and_by_the_controller(suite: Suite) -> None:
    """Model, loads, uses; and in a quiet run, too."""
    suite.write(test_it=SUITE)
    for arguments in (("-q",), ("-n", "2")):
        result = suite.run(*arguments)
        text = complaints(result)
        assert outcome(result) == {"passed": 5}
        assert text.count(" embedcache ") == 1
        assert text.count(f"{MINILM} on cpu: ") == 1


def test_collecting_loads_nothing_and_says_nothing(suite: Suite) -> None:
    """Ids are as if the plugin were not there; a file that was asked for is not written."""
    suite.write(test_it=SUITE)
    for arguments in ((), ("-n", "2")):
        result = suite.run(
            "--collect-only", "-q", "--embedcache-json=counts.json", "-p", "no:randomly", *arguments
        )
        assert "test_it.py::test_it_encodes[3]" in result.outlines
        assert "embedcache ==" not in complaints(result)
    assert suite.noted() == []
    assert not (suite.path / "counts.json").exists()


def test_last_failed_runs_what_failed(suite: Suite) -> None:
    """Also a test that has its model by the marker, whose id has no trace of it."""
    suite.write(
        test_it="""
            import pytest

            def test_good(embedding_model): pass

            @pytest.mark.embedcache(model="other")
            def test_bad(embedding_model):
                assert embedding_model.name == "never"
        """
    )
    assert outcome(suite.run()) == {"passed": 1, "failed": 1}
    result = suite.run("--lf", "-v")
    assert outcome(result)["failed"] == 1
    assert "passed" not in outcome(result)
    result.stdout.re_match_lines([r"test_it\.py::test_bad FAILED.*"])


# ------------------------------------------------------------------------------ names


#: All that pytest finds in the plugin.
FIXTURES = sorted(
    name for name, it in vars(plugin).items() if type(it).__name__ == "FixtureFunctionDefinition"
)
TWINS = [name for name in FIXTURES if name.startswith("embedcache_")]
SHORT = [name for name in FIXTURES if name not in TWINS]
SCOPES = ("function", "class", "module", "package", "session")

THEIRS = """
    from pytest_embedcache import ModelRegistry, plugin
    from pytest_embedcache.vectors.store import VectorStore

    class TestThem:
        def test_theirs(self, {short}):
            assert [{short}] == [f"theirs: {{name}}" for name in {short!r}.split(", ")]

        def test_ours(self, request, embedcache_model, embedcache_model_factory,
                      embedcache_registry, embedcache_store):
            assert embedcache_model.encode("a").shape == (8,)
            assert embedcache_model_factory("all-MiniLM-L6-v2") is embedcache_model
            assert isinstance(embedcache_registry, ModelRegistry)
            assert isinstance(embedcache_store, VectorStore)
            for name in {twins!r}:
                found = request._fixturemanager.getfixturedefs(name, request.node)
                assert [one.baseid for one in found] == [""], name
"""


def test_every_short_name_has_a_twin() -> None:
    """Half of the fixtures are the other half under a name that nobody else has."""
    assert len(TWINS) == len(SHORT) > 0
    functions = [getattr(plugin, name)._get_wrapped_function() for name in SHORT]
    assert {getattr(plugin, name)._get_wrapped_function() for name in TWINS} == set(functions)


@pytest.mark.parametrize("name", FIXTURES)
def test_no_fixture_requests_another_of_ours(name: str) -> None:
    """A conftest that has one of the names for itself would be asked by the others."""
    function = getattr(plugin, name)._get_wrapped_function()
    assert set(inspect.signature(function).parameters).isdisjoint(FIXTURES)


def test_a_conftest_may_have_every_short_name_for_itself(suite: Suite) -> None:
    """At any scope; the twins still give ours, and neither is mixed into the other."""
    for scope in SCOPES:
        fixtures = "\n".join(
            f"@pytest.fixture(scope={scope!r})\ndef {name}(): return 'theirs: {name}'"
            for name in SHORT
        )
        folder = suite.path / scope
        folder.mkdir()
        (folder / "conftest.py").write_text(f"import pytest\n{fixtures}\n", encoding="utf-8")
        text = THEIRS.format(short=", ".join(SHORT), twins=TWINS)
        suite.write(**{f"{scope}/test_{scope}": text})
    result = suite.run()
    complaints(result)
    assert outcome(result) == {"passed": 2 * len(SCOPES)}


def test_fixtures_are_listed_with_what_they_are(suite: Suite) -> None:
    """`pytest --fixtures` has a sentence for each."""
    lines = suite.run("--fixtures", "-q").outlines
    for name in FIXTURES:
        (place,) = (
            i for i, line in enumerate(lines) if line.startswith((f"{name} [", f"{name} --"))
        )
        assert lines[place + 1].startswith("    ")
        assert "no docstring" not in lines[place + 1]


# ------------------------------------------------------------------------------ the others


def test_the_factory_gives_any_model_once(suite: Suite) -> None:
    """By name and by what a spec takes; what is left out is the run's."""
    suite.write(
        test_it="""
            import pytest
            from pytest_embedcache.errors import ModelSpecError

            def test_it(embedding_model_factory, embedding_model):
                assert embedding_model_factory() is embedding_model
                other = embedding_model_factory("other", device="cuda")
                assert other is embedding_model_factory("other", device="cuda")
                assert other is not embedding_model_factory("other")
                assert embedding_model_factory("other").spec.device == "cpu"
                with pytest.raises(ModelSpecError):
                    embedding_model_factory("")

            def test_uses_of_a_factory_are_no_negative_numbers(embedding_model_factory):
                embedding_model_factory("other").encode("x")
        """
    )
    counts = suite.counts()
    rows = {(model["name"], model["device"]): model for model in counts["models"]}
    assert rows["other", "cpu"]["loads"] == 1
    assert all(value >= 0 for row in rows.values() for value in row.values() if type(value) is int)


def test_every_test_has_a_registry_of_its_own_that_is_counted(suite: Suite) -> None:
    """Fresh, and let go at the end; its loads are in the summary."""
    suite.write(
        test_it="""
            import gc
            import weakref
            import pytest

            seen = []

            @pytest.mark.parametrize("time", range(3))
            def test_it(model_registry, embedcache_registry, time):
                assert model_registry is not embedcache_registry
                assert model_registry.stats().models == ()
                model = model_registry.get("m")
                assert model_registry.get("m") is model
                gc.collect()
                assert [old() for old in seen] == [None] * len(seen)
                seen.append(weakref.ref(model))
        """
    )
    counts = suite.counts()
    (model,) = counts["models"]
    assert (model["loads"], model["gets"]) == (3, 6)
    assert len(suite.noted()) == 3
