"""`@pytest.mark.embedcache(…)`: another model for a test, its class or its module."""

from __future__ import annotations

import pytest
from support.suites import Suite, complaints, outcome

MARKED = """
    import pytest

    pytestmark = pytest.mark.embedcache(model="of-module", device="cuda")

    def what(model):
        return model.name, model.spec.device

    def test_module(embedding_model, embedcache_model):
        assert embedding_model is embedcache_model
        assert what(embedding_model) == ("of-module", "cuda")

    @pytest.mark.embedcache(model="of-class")
    class TestClass:
        def test_class(self, embedding_model):
            assert what(embedding_model) == ("of-class", "cuda")

        @pytest.mark.embedcache(device="auto")
        def test_function(self, embedding_model):
            assert what(embedding_model) == ("of-class", None)

        @pytest.mark.embedcache(model="far")
        @pytest.mark.embedcache(model="near", device="mps")
        @pytest.mark.parametrize("number", [1, 2])
        def test_parameters(self, embedding_model, number):
            assert what(embedding_model)[1] == "mps"
"""
PLAIN = """
    def test_plain(embedding_model):
        assert (embedding_model.name, embedding_model.spec.device) == ("all-MiniLM-L6-v2", "cpu")
"""
IDS = [
    "test_it.py::TestClass::test_class",
    "test_it.py::TestClass::test_function",
    "test_it.py::TestClass::test_parameters[1]",
    "test_it.py::TestClass::test_parameters[2]",
    "test_it.py::test_module",
    "test_plain.py::test_plain",
]


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=" ".join)
def test_the_closest_marker_decides_each_key(suite: Suite, arguments: tuple[str, ...]) -> None:
    """Function before class before module before the run's settings; a bare test has the run's."""
    suite.write(test_it=MARKED, test_plain=PLAIN)
    result = suite.run(*arguments)
    complaints(result)
    assert outcome(result) == {"passed": 6}


def test_ids_are_as_without_the_marker(suite: Suite) -> None:
    """Nothing of it is in them."""
    suite.write(test_it=MARKED, test_plain=PLAIN)
    result = suite.run("--collect-only", "-q", "-p", "no:randomly")
    assert sorted(line for line in result.outlines if "::" in line) == IDS


def test_what_is_built_on_the_model_has_the_marked_one_and_is_built_once(suite: Suite) -> None:
    """A module's fixture over `embedding_model`: one for all tests of the module."""
    suite.write(
        conftest="""
            import pytest
            from support.inner import note

            @pytest.fixture(scope="module")
            def index(embedding_model):
                note("index", embedding_model.name)
                return embedding_model.encode(["a", "b"])
        """,
        test_one="""
            import pytest
            pytestmark = pytest.mark.embedcache(model="one")

            @pytest.mark.parametrize("number", range(3))
            def test_it(index, number, embedding_model):
                assert embedding_model.name == "one"
        """,
        test_two="""
            def test_it(index): pass
            def test_again(index): pass
        """,
    )
    result = suite.run("-p", "no:randomly")
    assert outcome(result) == {"passed": 5}
    built = [words[1] for words in suite.noted() if words[0] == "index"]
    assert built == ["one", "all-MiniLM-L6-v2"]


def test_models_that_alternate_are_loaded_once_each(suite: Suite) -> None:
    """pytest may set the session's fixture up again and again; that loads nothing."""
    suite.write(
        test_it="""
            import pytest

            @pytest.mark.embedcache(model="a")
            def test_1(embedding_model): embedding_model.encode(["1"])
            @pytest.mark.embedcache(model="b")
            def test_2(embedding_model): embedding_model.encode(["2"])
            @pytest.mark.embedcache(model="a")
            def test_3(embedding_model): embedding_model.encode(["3"])
            def test_4(embedding_model): embedding_model.encode(["4"])
        """
    )
    counts = suite.counts()
    assert sorted(words[1] for words in suite.noted()) == ["a", "all-MiniLM-L6-v2", "b"]
    assert {m["name"]: (m["loads"], m["uses"]) for m in counts["models"]} == {
        "a": (1, 2),
        "b": (1, 1),
        "all-MiniLM-L6-v2": (1, 1),
    }


def test_a_parametrization_of_the_users_own_is_left_alone(suite: Suite) -> None:
    """`indirect`, by name or by a dictionary of the marker's keys, with its ids; also if marked."""
    suite.write(
        test_it="""
            import pytest

            @pytest.mark.parametrize("embedding_model", ["a", "b"], indirect=True)
            def test_names(embedding_model, request):
                assert f"[{embedding_model.name}]" in request.node.name

            @pytest.mark.embedcache(model="marked")
            @pytest.mark.parametrize(
                "other, embedding_model", [(1, "a")], indirect=["embedding_model"]
            )
            def test_marked(embedding_model, other):
                assert embedding_model.name == "a"

            @pytest.mark.parametrize(
                "embedding_model", [{"model": "c", "device": "cuda"}], indirect=True, ids=["c"]
            )
            def test_mapping(embedding_model):
                assert (embedding_model.name, embedding_model.spec.device) == ("c", "cuda")
        """
    )
    result = suite.run("-v")
    complaints(result)
    assert outcome(result) == {"passed": 4}
    assert "test_names[a]" in result.stdout.str()


def test_a_conftest_with_a_fixture_of_that_name_is_left_alone(suite: Suite) -> None:
    """It knows no parameter of ours; the twin beside it has the marked model."""
    suite.write(
        conftest="""
            import pytest

            @pytest.fixture(scope="session")
            def embedding_model(request):
                assert not hasattr(request, "param")
                return "theirs"
        """,
        test_it="""
            import pytest

            @pytest.mark.embedcache(model="marked")
            def test_it(embedding_model, embedcache_model):
                assert (embedding_model, embedcache_model.name) == ("theirs", "marked")
        """,
    )
    assert outcome(suite.run()) == {"passed": 1}


def test_a_conftest_with_a_fixture_built_on_ours_has_the_marked_model(suite: Suite) -> None:
    """Under the same name, at the session's scope or a test's."""
    suite.write(
        conftest="""
            import pytest

            @pytest.fixture(scope="session")
            def embedding_model(embedding_model):
                return "theirs, on " + embedding_model.name
        """,
        test_it="""
            import pytest

            @pytest.mark.embedcache(model="marked")
            def test_it(embedding_model):
                assert embedding_model == "theirs, on marked"

            class TestClass:
                @pytest.fixture
                def embedding_model(self, embedding_model):
                    return "mine, being " + embedding_model

                @pytest.mark.embedcache(model="other")
                def test_it(self, embedding_model):
                    assert embedding_model == "mine, being theirs, on other"

            def test_plain(embedding_model):
                assert embedding_model == "theirs, on all-MiniLM-L6-v2"
        """,
    )
    result = suite.run()
    complaints(result)
    assert outcome(result) == {"passed": 3}


#: A bad marker, and what has to be said of it.
BAD = {
    "modle='x'": ["takes the keywords", "model", "device", "it does not know modle"],
    "'x'": ["takes the keywords", "it does not know 'x'"],
    "model=''": ["model=''", "all-MiniLM-L6-v2"],
    "model=3": ["model=3", "all-MiniLM-L6-v2"],
    "device='GPU 0'": ["device='GPU 0'", "'cpu'", "'cuda'"],
    "strategy='eager'": ["strategy='eager'", "lazy, background, progressive"],
    "mode='fast'": ["mode='fast'", "auto or live"],
}


def test_a_bad_marker_is_named_with_what_would_be_good(suite: Suite) -> None:
    """The test, the wrong part, the right ones; the run fails, with nothing of our insides."""
    for number, marker in enumerate(BAD):
        suite.write(
            **{
                f"test_{number}": f"""
                import pytest

                @pytest.mark.embedcache({marker})
                def test_wrong(embedding_model): pass
            """
            }
        )
    result = suite.run()
    text = complaints(result)
    assert result.ret == 2
    assert outcome(result) == {"errors": len(BAD)}
    for number, said in enumerate(BAD.values()):
        (line,) = (line for line in result.outlines if f"test_{number}.py::test_wrong: " in line)
        assert all(part in line for part in said), line
    assert "Traceback" not in text


def test_a_bad_marker_is_an_error_on_workers_too(suite: Suite) -> None:
    """And of the workers none ends for it; a test that has none of our fixtures is checked, too."""
    suite.write(
        test_it="""
            import pytest

            @pytest.mark.embedcache(modle="x")
            def test_wrong(): pass
        """,
        test_good="def test_good(): pass",
    )
    result = suite.run("-n", "2")
    text = complaints(result)
    assert result.ret not in (0, 5)
    assert "it does not know modle" in text
    assert "crashed" not in text
