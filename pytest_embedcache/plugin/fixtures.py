"""The fixtures. Each has a prefixed twin, and none requests another.

A short name may be one that a suite already has; its conftest then wins, at whatever scope, and the
twin is still there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin.table import Mode
from pytest_embedcache.plugin.waking import wake

if TYPE_CHECKING:
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.plugin.gates import Gate, WarmLoadGate
    from pytest_embedcache.testing.fake_model import FakeEmbeddingModel
    from pytest_embedcache.testing.fake_openai import FakeOpenAI
    from pytest_embedcache.testing.fakes import FakeEmbeddingModels, FakeSentenceTransformers
    from pytest_embedcache.vectors.store import VectorStore

__all__ = ["FIXTURES", "GATE_FIXTURES", "MODEL_FIXTURES"]

_OPENAI: pytest.StashKey[FakeOpenAI] = pytest.StashKey()


def _model(request: pytest.FixtureRequest) -> Any:
    """The run's embedding model, loaded once per process.

    Its name and device are those of `--embedcache-model` and `--embedcache-device`, or of
    `@pytest.mark.embedcache(model=, device=)` on the test, its class or its module.
    """
    from pytest_embedcache.errors import EmbedCacheError

    try:
        return wake(request.config).model(getattr(request, "param", None))
    except EmbedCacheError as error:
        said = f"{type(error).__name__}: {error}"
    # Out here: inside, pytest would show the error again, and the one behind it.
    pytest.fail(said, pytrace=False)


def _model_factory(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """`factory(name, **spec)`: any model, loaded once per process; `spec` as in `ModelSpec`.

    What is left out is the run's setting.
    """
    run = wake(request.config)

    def factory(name: str | None = None, **spec: Any) -> Any:
        return run.model(spec if name is None else {"model": name, **spec})

    return factory


def _registry(request: pytest.FixtureRequest) -> Iterator[ModelRegistry]:
    """A fresh `ModelRegistry` for one test."""
    run = wake(request.config)
    registry = run.registries.make()
    yield registry
    run.registries.retire(registry)


def _store(request: pytest.FixtureRequest) -> VectorStore:
    """The run's vector store: what all workers and runs of this machine share."""
    store = wake(request.config).cache(Mode.AUTO).store
    assert store is not None
    return store


def _fake(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakeSentenceTransformers]:
    """`sentence_transformers.SentenceTransformer` is a fake for this test.

    The default registry and store are empty and the cache directory a private one meanwhile. What
    `embedding_model` gives is real all the same.
    """
    run = wake(request.config)
    if run.fakes is not None:  # the test has the twin, too
        yield run.fakes
        return
    from pytest_embedcache.testing.fakes import fake_sentence_transformers

    with fake_sentence_transformers(tmp_path_factory.mktemp("embedcache")) as run.fakes:
        try:
            yield run.fakes
        finally:
            run.fakes = None


def _fake_openai(request: pytest.FixtureRequest) -> Iterator[FakeOpenAI]:
    """OpenAI's embeddings endpoint in this process, to which the real client talks in this test."""
    if (found := request.node.stash.get(_OPENAI, None)) is not None:  # the test has the twin, too
        yield found
        return
    from pytest_embedcache.testing.fake_openai import fake_openai

    with fake_openai() as fake:
        request.node.stash[_OPENAI] = fake
        yield fake
        del request.node.stash[_OPENAI]


def _fake_model(request: pytest.FixtureRequest) -> Iterator[FakeEmbeddingModel]:
    """A fake of the run's model: deterministic vectors in which similar texts are similar.

    It notes its calls, and misbehaves on request (`fake_embedding_model.faults`).
    """
    from pytest_embedcache.plugin.fakes import fakes_of

    with fakes_of(request) as fakes:
        yield fakes.one


def _fake_model_factory(request: pytest.FixtureRequest) -> Iterator[FakeEmbeddingModels]:
    """`factory(name, kind=…, dimension=…)`: any fake; all of them note in `factory`."""
    from pytest_embedcache.plugin.fakes import fakes_of

    with fakes_of(request) as fakes:
        yield fakes.factory


def _no_real_models(request: pytest.FixtureRequest) -> Iterator[None]:
    """Loading a real model is an error, for as long as a test has this."""
    with wake(request.config).guard.set(True):
        yield


def _speedup(request: pytest.FixtureRequest) -> Gate:
    """`speedup(baseline=, contender=, at_least=)` fails unless the one takes so many times as long
    as the other, measured in this run, in turns, until that is sure."""
    from pytest_embedcache.plugin.gates import Gate

    return Gate(wake(request.config), request.node)


def _warm_load_speedup(request: pytest.FixtureRequest) -> WarmLoadGate:
    """`warm_load_speedup(model, at_least=10)`: a warm model gives its vector so many times sooner
    than a cold one, and no load is made twice."""
    from pytest_embedcache.plugin.gates import WarmLoadGate

    return WarmLoadGate(wake(request.config), request.node)


embedding_model = pytest.fixture(scope="session", name="embedding_model")(_model)
embedcache_model = pytest.fixture(scope="session", name="embedcache_model")(_model)
embedding_model_factory = pytest.fixture(scope="session", name="embedding_model_factory")(
    _model_factory
)
embedcache_model_factory = pytest.fixture(scope="session", name="embedcache_model_factory")(
    _model_factory
)
vector_store = pytest.fixture(scope="session", name="vector_store")(_store)
embedcache_store = pytest.fixture(scope="session", name="embedcache_store")(_store)
model_registry = pytest.fixture(name="model_registry")(_registry)
embedcache_registry = pytest.fixture(name="embedcache_registry")(_registry)
fake_sentence_transformer = pytest.fixture(name="fake_sentence_transformer")(_fake)
embedcache_fake_sentence_transformer = pytest.fixture(name="embedcache_fake_sentence_transformer")(
    _fake
)
fake_openai = pytest.fixture(name="fake_openai")(_fake_openai)
embedcache_fake_openai = pytest.fixture(name="embedcache_fake_openai")(_fake_openai)
fake_embedding_model = pytest.fixture(name="fake_embedding_model")(_fake_model)
embedcache_fake_model = pytest.fixture(name="embedcache_fake_model")(_fake_model)
fake_embedding_model_factory = pytest.fixture(name="fake_embedding_model_factory")(
    _fake_model_factory
)
embedcache_fake_model_factory = pytest.fixture(name="embedcache_fake_model_factory")(
    _fake_model_factory
)
no_real_models = pytest.fixture(name="no_real_models")(_no_real_models)
embedcache_no_real_models = pytest.fixture(name="embedcache_no_real_models")(_no_real_models)
speedup = pytest.fixture(name="speedup")(_speedup)
embedcache_speedup = pytest.fixture(name="embedcache_speedup")(_speedup)
warm_load_speedup = pytest.fixture(name="warm_load_speedup")(_warm_load_speedup)
embedcache_warm_load_speedup = pytest.fixture(name="embedcache_warm_load_speedup")(
    _warm_load_speedup
)

#: Those that the marker reaches.
MODEL_FIXTURES = {"embedding_model": _model, "embedcache_model": _model}
GATE_FIXTURES = frozenset(
    ("speedup", "embedcache_speedup", "warm_load_speedup", "embedcache_warm_load_speedup")
)
#: All of them, by name.
FIXTURES = GATE_FIXTURES | {
    *MODEL_FIXTURES,
    *("embedding_model_factory", "embedcache_model_factory", "vector_store", "embedcache_store"),
    *("model_registry", "embedcache_registry", "fake_openai", "embedcache_fake_openai"),
    *("fake_sentence_transformer", "embedcache_fake_sentence_transformer"),
    *("fake_embedding_model", "embedcache_fake_model"),
    *("fake_embedding_model_factory", "embedcache_fake_model_factory"),
    *("no_real_models", "embedcache_no_real_models"),
}
