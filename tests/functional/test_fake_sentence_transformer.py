"""`fake_sentence_transformer`: no model in a test, wherever code under test has the class from."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.suites import EVERYTHING, Suite, complaints, needs_torch, outcome

#: A plugin for where the package is installed: it is not, then.
HIDE = """
    import importlib.abc
    import sys

    class Without(importlib.abc.MetaPathFinder):
        def __init__(self, finder):
            self.finder = finder

        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "sentence_transformers":
                return None
            return self.finder.find_spec(name, path, target)

        def __getattr__(self, name):
            return getattr(self.finder, name)

    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""
STUB = ("-p", "hide", "-o", "embedcache_stub_missing=true")


@pytest.fixture
def stubbed(real_suite: Suite) -> Suite:
    """A suite that can be run with `STUB`, without the package."""
    real_suite.write(hide=HIDE)
    real_suite.importable()
    return real_suite


#: Code under test, that has the class in all the ways in which a name is reached.
SERVICES = """
    import sentence_transformers
    import sentence_transformers as st
    from sentence_transformers import SentenceTransformer
    from sentence_transformers import SentenceTransformer as Encoder

    from pytest_embedcache import get_model

    WAYS = {
        "bound": lambda *a, **o: SentenceTransformer(*a, **o),
        "renamed": lambda *a, **o: Encoder(*a, **o),
        "package": lambda *a, **o: sentence_transformers.SentenceTransformer(*a, **o),
        "package renamed": lambda *a, **o: st.SentenceTransformer(*a, **o),
    }

    class Service:
        def __init__(self):
            self.model = get_model("all-MiniLM-L6-v2")
            self.vector = self.model.encode("hello")
"""
#: And in ways in which it is not.
UNREACHABLE = """
    import functools
    from sentence_transformers import SentenceTransformer

    class Mine(SentenceTransformer):
        pass

    class Attribute:
        kind = SentenceTransformer

    def default(kind=SentenceTransformer):
        return kind("m")

    TABLE = {"st": SentenceTransformer}
    PARTIAL = functools.partial(SentenceTransformer, "m")

    WAYS = {
        "subclass": lambda: Mine("m"),
        "attribute": lambda: Attribute.kind("m"),
        "default": default,
        "table": lambda: TABLE["st"]("m"),
        "partial": lambda: PARTIAL(),
    }
"""
TESTS = """
    import os
    from unittest.mock import MagicMock
    import pytest
    import numpy as np
    import sentence_transformers
    from sentence_transformers import SentenceTransformer

    import services
    import unreachable
    from pytest_embedcache import ModelRegistry, default_registry, get_model
    from pytest_embedcache.errors import UnresolvedBindingError
    from pytest_embedcache.models import defaults, registry
    from pytest_embedcache.testing.fakes import FakeSentenceTransformer
    from pytest_embedcache.vectors import api
    from pytest_embedcache.vectors.api import default_cache

    REAL = SentenceTransformer
    MINILM = "all-MiniLM-L6-v2"

    class TestInside:
        def test_two_services_have_one_load(self, fake_sentence_transformer):
            service_a, service_b = services.Service(), services.Service()
            assert fake_sentence_transformer.load_count("all-MiniLM-L6-v2") == 1
            assert service_a.model is service_b.model
            assert np.array_equal(service_a.vector, service_b.vector)
            assert len(fake_sentence_transformer.calls) == 1

        @pytest.mark.parametrize("way", services.WAYS)
        def test_every_name_is_reached(self, fake_sentence_transformer, way):
            model = services.WAYS[way](MINILM, device="cpu")
            assert isinstance(model, FakeSentenceTransformer)
            assert isinstance(model, SentenceTransformer)
            assert isinstance(model, sentence_transformers.SentenceTransformer)
            assert model.encode(["a"]).shape == (1, 384)
            assert fake_sentence_transformer.load_count(MINILM) == 1

        @pytest.mark.parametrize("way", unreachable.WAYS)
        def test_what_is_not_reached_fails_by_its_module(self, fake_sentence_transformer, way):
            with pytest.raises(UnresolvedBindingError, match="module 'unreachable'") as error:
                unreachable.WAYS[way]()
            assert error.value.module == "unreachable"

        def test_a_module_that_is_imported_now_has_the_fake(self, fake_sentence_transformer):
            import late
            assert late.SentenceTransformer is SentenceTransformer
            assert issubclass(late.SentenceTransformer, FakeSentenceTransformer)
            late.kept = late.SentenceTransformer(MINILM)
            assert late.kept.encode("a").shape == (384,)

        def test_dimensions_follow_names_and_wishes(self, fake_sentence_transformer):
            fake_sentence_transformer.dimensions["mine"] = 5
            names = (MINILM, "all-mpnet-base-v2", "mine")
            shapes = [get_model(name).encode("a").shape for name in names]
            assert shapes == [(384,), (768,), (5,)]

        def test_failures_are_those_of_code_under_test(self, fake_sentence_transformer):
            fake_sentence_transformer.fail_next_load(OSError("no weights"))
            with pytest.raises(OSError, match="no weights"):
                services.Service()
            fake_sentence_transformer.fail_next_encode(RuntimeError("out of memory"))
            with pytest.raises(RuntimeError, match="out of memory"):
                services.Service()
            services.Service()
            assert fake_sentence_transformer.load_count(MINILM) == 2

        def test_the_twin_is_the_same(
            self, embedcache_fake_sentence_transformer, fake_sentence_transformer
        ):
            assert fake_sentence_transformer is embedcache_fake_sentence_transformer
            services.WAYS["bound"](MINILM)
            assert fake_sentence_transformer.load_count() == 1

        def test_registries_have_fakes_whenever_they_were_made(
            self, model_registry, fake_sentence_transformer, embedcache_registry
        ):
            for one in (model_registry, embedcache_registry, ModelRegistry(), OWN):
                assert isinstance(one.get(MINILM), FakeSentenceTransformer)
            assert fake_sentence_transformer.load_count(MINILM) == 4

        def test_a_mock_that_was_there_comes_back(self, mocked, fake_sentence_transformer):
            assert services.WAYS["package"](MINILM).encode("a").shape == (384,)
            assert mocked.call_count == 0

    @pytest.fixture
    def mocked(monkeypatch):
        mock = MagicMock()
        monkeypatch.setattr("sentence_transformers.SentenceTransformer", mock)
        yield mock
        assert sentence_transformers.SentenceTransformer is mock

    OWN = ModelRegistry()

    class TestWorld:
        seen = []

        @pytest.mark.parametrize("time", [1, 2])
        def test_registry_store_and_directory_are_empty_ones(
            self, fake_sentence_transformer, time, tmp_path_factory
        ):
            assert default_registry().stats().models == ()
            cache = default_cache()
            assert cache.store.stats().entries == 0
            model = get_model(MINILM)
            model.encode(["a", "b"])
            model.encode(["a", "b"])
            assert len(fake_sentence_transformer.calls) == 1
            directory = os.environ["EMBEDCACHE_DIR"]
            assert directory.startswith(str(tmp_path_factory.getbasetemp()))
            assert str(default_registry().artifacts.directory).startswith(directory)
            state = (id(default_registry()), directory)
            assert state not in self.seen
            self.seen.append(state)

    class TestOutside:
        def test_everything_is_put_back(self):
            for found in (
                SentenceTransformer,
                sentence_transformers.SentenceTransformer,
                services.SentenceTransformer,
                services.Encoder,
                services.st.SentenceTransformer,
                unreachable.TABLE["st"],
                __import__("late").SentenceTransformer,
            ):
                assert found is REAL
            assert not issubclass(REAL, FakeSentenceTransformer)
            assert os.environ["EMBEDCACHE_DIR"] == os.environ["DIRECTORY_OF_THE_RUN"]
            assert (defaults.backends, registry._default, api._default) == (None, None, None)
            assert OWN.stats().loads == 1
            assert OWN._handles == {}

        def test_a_kept_fake_says_so(self):
            import late
            with pytest.raises(UnresolvedBindingError, match="kept a fake of a test that is over"):
                late.kept.encode("a")
"""
LATE = """
    from sentence_transformers import SentenceTransformer
    kept = None
"""
NUMBER = 20


def write(suite: Suite) -> None:
    suite.write(services=SERVICES, unreachable=UNREACHABLE, late=LATE, test_it=TESTS)


def in_order(suite: Suite, *arguments: str) -> pytest.RunResult:
    directory = suite.path / "directory-of-the-run"
    environment = {"EMBEDCACHE_DIR": str(directory), "DIRECTORY_OF_THE_RUN": str(directory)}
    return suite.run("-p", "no:randomly", *arguments, **environment)


@needs_torch
def test_it_stands_in_for_the_real_class(real_suite: Suite) -> None:
    """Where the package is installed; nothing is loaded, counted or left behind."""
    write(real_suite)
    result = in_order(real_suite, "--import-mode=prepend")
    complaints(result)
    assert outcome(result) == {"passed": NUMBER}
    assert " embedcache ==" not in result.stdout.str()
    assert not (real_suite.path / "directory-of-the-run").exists()


def test_it_stands_in_where_the_package_is_missing(stubbed: Suite) -> None:
    """The ini key provides a stub before the first conftest is imported."""
    write(stubbed)
    (stubbed.path / "conftest.py").write_text("import services, unreachable\n", encoding="utf-8")
    result = in_order(stubbed, *STUB)
    complaints(result)
    assert outcome(result) == {"passed": NUMBER}


def test_it_stands_in_on_workers(stubbed: Suite) -> None:
    """Also where plugins are only those that are named: a worker imports its conftest as early."""
    write(stubbed)
    (stubbed.path / "conftest.py").write_text("import services, unreachable\n", encoding="utf-8")
    for more in ({}, EVERYTHING):
        result = stubbed.run(*STUB, "-n", "1", "-k", "TestInside", **more)
        complaints(result)
        assert outcome(result) == {"passed": NUMBER - 4}


def test_without_the_stub_the_fixture_says_what_is_missing(stubbed: Suite) -> None:
    """The extra, and the ini key that goes without it."""
    stubbed.write(test_it="def test_it(fake_sentence_transformer): pass")
    result = stubbed.run("-p", "hide")
    text = complaints(result)
    assert outcome(result) == {"errors": 1}
    assert "pytest-embedcache[sentence-transformers]" in text
    assert "embedcache_stub_missing" in text


def test_the_stub_outside_of_the_fixture_says_what_is_missing(stubbed: Suite) -> None:
    """By the extra's name, from the class itself and from a model; and it is gone after the run."""
    stubbed.write(
        test_it="""
            import pytest
            from sentence_transformers import SentenceTransformer
            from pytest_embedcache.errors import MissingExtraError

            def test_class():
                with pytest.raises(MissingExtraError, match=r"\\[sentence-trans") as error:
                    SentenceTransformer("all-MiniLM-L6-v2")
                assert (error.value.package, error.value.extra) == (
                    "sentence_transformers",
                    "sentence-transformers",
                )

            def test_import_of_more():
                with pytest.raises(ImportError):
                    from sentence_transformers import CrossEncoder
        """,
        program="""
            import sys
            import hide
            import pytest
            assert pytest.main(["-q", "-o", "embedcache_stub_missing=true"]) == 0
            assert "sentence_transformers" not in sys.modules
            print("GONE")
        """,
    )
    result = stubbed.program("program")
    assert "GONE" in result.stdout.str(), result.stdout.str() + result.stderr.str()


def test_the_stub_is_not_provided_unasked_or_over_the_package(stubbed: Suite) -> None:
    """Without the ini key the package is simply missing."""
    stubbed.write(
        test_it="""
            import sys

            def test_it():
                assert "sentence_transformers" not in sys.modules
        """
    )
    assert outcome(stubbed.run("-p", "hide")) == {"passed": 1}


@needs_torch
def test_the_stub_leaves_an_installed_package_alone(real_suite: Suite) -> None:
    """And does not import it."""
    real_suite.write(
        test_it="""
            import sys

            def test_it():
                assert "sentence_transformers" not in sys.modules
                import importlib.util
                assert importlib.util.find_spec("sentence_transformers").origin
        """
    )
    assert outcome(real_suite.run("-o", "embedcache_stub_missing=true")) == {"passed": 1}


SHARED = """
    import numpy as np
    import pytest
    from sentence_transformers import SentenceTransformer

    kept = {}

    def test_1_first_asked_for_among_fakes(request, fake_sentence_transformer):
        model = request.getfixturevalue("embedding_model")
        factory = request.getfixturevalue("embedding_model_factory")
        kept["vector"] = model.encode(["a cat"])
        assert factory() is model
        assert fake_sentence_transformer.load_count() == 0
        assert fake_sentence_transformer.calls == []

    def test_2_first_needed_among_fakes(embedding_model, fake_sentence_transformer):
        kept["other"] = embedding_model.encode(["a dog"])
        assert SentenceTransformer("m").encode(["a dog"]).shape == (1, 384)
        assert fake_sentence_transformer.load_count() == 1

    def test_3_it_is_the_real_one(embedding_model):
        assert isinstance(embedding_model.unwrap(copy=True), REAL)
        for name, text in (("vector", "a cat"), ("other", "a dog")):
            found = embedding_model.encode([text])
            assert np.array_equal(found, kept[name])
            fresh = embedding_model.unwrap(copy=True).encode([text])
            assert np.allclose(found, fresh, atol=1e-5)

    REAL = SentenceTransformer
"""


@needs_torch
def test_a_model_of_the_run_is_real_whoever_asks_first(real_suite: Suite, tiny: Path) -> None:
    """A test with fakes gets the real embedding model by the fixture, and leaves no fake in it."""
    real_suite.write(test_it=SHARED)
    counts = real_suite.counts("-p", "no:randomly", f"--embedcache-model={tiny}")
    (model,) = counts["models"]
    assert (model["loads"], model["uses"]) == (1, 2)
    assert counts["totals"]["computed"] == 2
