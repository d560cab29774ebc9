"""No real model is loaded where that is forbidden; fakes and stored vectors are to be had."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.encoders import world
from support.toys import ToyBackend

from pytest_embedcache import ModelRegistry
from pytest_embedcache.errors import RealModelError
from pytest_embedcache.models import defaults
from pytest_embedcache.models.backends import Backend
from pytest_embedcache.testing.fake_backend import FakeBackend
from pytest_embedcache.testing.fakes import FakeEmbeddingModel, FakeEmbeddingModels
from pytest_embedcache.testing.no_models import NoModels

PACKAGE = "sentence_transformers"


@pytest.fixture
def guard() -> NoModels:
    return NoModels(lambda: "tests/test_it.py::test_it", "; or say so")


class Base:
    def __init__(self, name: str = "", **options: Any) -> None:
        self.name = name


class Inheriting(Base):
    pass


class Own(Base):
    def __init__(self, name: str = "", **options: Any) -> None:
        self.name = f"own {name}"


@pytest.fixture(params=[Inheriting, Own])
def package(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The package, imported, with a class of either make."""
    module = ModuleType(PACKAGE)
    module.SentenceTransformer = request.param  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, PACKAGE, module)
    return module


def test_a_registry_loads_nothing(guard: NoModels) -> None:
    """The error names the model, the test and the fixture to take; afterwards all is as before."""
    backend = ToyBackend()
    registry = ModelRegistry(backends={"torch": backend})
    with guard.forbidden(), pytest.raises(RealModelError) as caught:
        registry.get("all-MiniLM-L6-v2")
    assert backend.loads == []
    assert caught.value.test == "tests/test_it.py::test_it"
    assert caught.value.model == "sentence-transformers/all-MiniLM-L6-v2"
    for words in ("tests/test_it.py::test_it loads", "fake_embedding_model", "; or say so."):
        assert words in str(caught.value)
    registry.get("all-MiniLM-L6-v2")
    assert backend.loads == ["all-MiniLM-L6-v2"]


def test_a_loaded_model_is_not_used_either(guard: NoModels) -> None:
    """So that no test passes only because another one ran before."""
    registry = ModelRegistry(backends={"torch": ToyBackend()})
    model = registry.get("m")
    with guard.forbidden(), pytest.raises(RealModelError, match="'sentence-transformers/m'"):
        registry.get("m")
    assert registry.get("m") is model


def test_stored_vectors_are_found(guard: NoModels) -> None:
    """Only what would be computed is refused."""
    here = world()
    stored = here.model().encode("a")
    with guard.forbidden():
        assert here.model().encode("a").tobytes() == stored.tobytes()
        with pytest.raises(RealModelError):
            here.model().encode("b")
    assert here.batches() == [["a"]]
    assert here.model().encode("b").shape == (8,)


def test_fakes_are_no_models(guard: NoModels, package: ModuleType) -> None:
    """By themselves, behind a registry, or in the place of the class."""
    fakes = FakeEmbeddingModels()
    backend: Backend = FakeBackend(fakes, fakes)
    registry = ModelRegistry(backends={"torch": backend, "fake": backend})
    package.SentenceTransformer = FakeEmbeddingModel  # type: ignore[attr-defined]
    with guard.forbidden():
        assert registry.get("m").encode("a").shape == (384,)
        assert package.SentenceTransformer("m").encode("a").shape == (384,)


def test_the_class_constructs_nothing(guard: NoModels, package: ModuleType) -> None:
    """Whoever has it, a subclass included; afterwards it is as it was."""
    cls: Any = package.SentenceTransformer
    before = dict(vars(cls))
    mine = type("Mine", (cls,), {})
    with guard.forbidden():
        for construct in (cls, mine):
            with pytest.raises(RealModelError, match=r"'m' \(SentenceTransformer\(…\)\)") as e:
                construct("m", device="cpu")
            assert "fake_sentence_transformer" in str(e.value)
        with pytest.raises(RealModelError, match="'n'"):
            cls(model_name_or_path="n")
        with guard.allowed():
            assert cls("m").name.endswith("m")
        with guard.forbidden(), pytest.raises(RealModelError):
            cls("m")
    assert cls("m").name.endswith("m")
    assert dict(vars(cls)) == before


def test_a_mock_in_its_place_is_left_alone(guard: NoModels, package: ModuleType) -> None:
    """It loads nothing."""
    package.SentenceTransformer = lambda name: name  # type: ignore[attr-defined]
    with guard.forbidden():
        assert package.SentenceTransformer("m") == "m"


def test_a_package_that_is_imported_later_is_guarded(
    guard: NoModels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing it is no error, and the guard imports nothing itself."""
    (tmp_path / PACKAGE).mkdir()
    code = "class SentenceTransformer:\n    def __init__(self, name):\n        self.name = name\n"
    (tmp_path / PACKAGE / "__init__.py").write_text(code)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    with guard.forbidden():
        assert PACKAGE not in sys.modules
        module = importlib.import_module(PACKAGE)
        assert Path(module.__file__ or "").parent == tmp_path / PACKAGE
        with pytest.raises(RealModelError, match="'m'"):
            module.SentenceTransformer("m")
    assert sys.meta_path == finders
    assert module.SentenceTransformer("m").name == "m"
    del sys.modules[PACKAGE]  # for good: monkeypatch would bring this one back


def test_a_package_that_is_missing_stays_missing(
    guard: NoModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`importorskip` skips as before."""
    monkeypatch.setattr(sys, "path", [])
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", sys.meta_path[-1:])
    with guard.forbidden(), pytest.raises(ModuleNotFoundError):
        importlib.import_module(PACKAGE)


def test_nothing_is_left_behind(guard: NoModels) -> None:
    """Also after an error inside."""
    finders = list(sys.meta_path)
    with pytest.raises(KeyError), guard.forbidden():
        raise KeyError
    assert (defaults.refuse, sys.meta_path) == (None, finders)
