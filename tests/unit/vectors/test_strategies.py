"""One contract for all strategies: whenever a model is loaded, and whatever of it, its vectors are
right, it is loaded once, and what goes wrong is said and can be tried again."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.children import python
from support.encoders import Files, PureBackend, right
from support.toys import DEADLOCK, Gate, start

import pytest_embedcache
from pytest_embedcache import (
    ModelRegistry,
    ModelSpec,
    get_embedding_provider,
    get_model,
    notices,
    preload,
    preload_embeddings,
    reset,
)
from pytest_embedcache.errors import (
    ExportError,
    LoadTimeoutError,
    MissingExtraError,
    ModelLoadError,
    ModelNotFoundError,
    ModelSpecError,
    SettingsError,
)
from pytest_embedcache.models import background, defaults
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.registry import swap_default_registry
from pytest_embedcache.models.strategies import STRATEGIES
from pytest_embedcache.vectors.api import swap_default_cache
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.tiered import TieredStore

STARTS_AT_ONCE = {"background", "progressive"}

each = pytest.mark.parametrize("strategy", STRATEGIES)


class Prepared(PureBackend):
    """Models in a prepared form: `int8` is another model, `float32` the same one.

    Attributes:
        refuses: Raised where a model should be prepared.
        late: What can be had is not known before.
    """

    refuses: Exception | None = None
    late = False

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        if self.refuses is not None:
            raise self.refuses
        return super().prepare(spec, artifacts)

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        if self.refuses is not None and not self.late:
            raise self.refuses
        found = super().identify(self._plain(spec), artifacts)
        return replace(found, signature=None) if self.late else found

    def signature(self, spec: ModelSpec) -> str:
        return super().signature(self._plain(spec))

    def load(self, spec: ModelSpec) -> Any:
        return super().load(self._plain(spec))

    @staticmethod
    def _plain(spec: ModelSpec) -> ModelSpec:
        name = spec.name if spec.form == "float32" else f"{spec.name}_{spec.form}"
        return spec.replace(name=name, form="float32")


class Process:
    """The default registry and store of a process, over backends that count."""

    def __init__(self) -> None:
        self.torch = PureBackend(m=Files(), other=Files(weights="other"))
        self.onnx = Prepared(m=Files(), m_int8=Files(weights="w8"))
        backends = {"torch": self.torch, "onnx": self.onnx}
        self.registry = ModelRegistry(backends=backends)
        self.cache = VectorCache(TieredStore([MemoryStore()]))

    @property
    def loads(self) -> list[str]:
        return [*self.torch.loads, *self.onnx.loads]

    def on_load(self, action: Any) -> None:
        self.torch.on_load = self.onnx.on_load = action


@pytest.fixture
def process() -> Iterator[Process]:
    made = Process()
    before = swap_default_registry(made.registry), swap_default_cache(made.cache)
    yield made
    assert background.wait(DEADLOCK)
    swap_default_registry(before[0])
    swap_default_cache(before[1])


def weights(strategy: str) -> str:
    return "w8" if strategy == "quantized" else "w"


# ------------------------------------------------------------------------------ the contract


@each
def test_the_vectors_are_those_of_the_form(process: Process, strategy: str) -> None:
    """float32 has the vectors of `lazy`; the small form its own, under keys of its own."""
    texts = ["a", "b", "a"]
    lazy = get_model("m", strategy="lazy")
    model = get_model("m", strategy=strategy)
    assert model.encode(texts).tobytes() == right(texts, weights=weights(strategy))
    assert lazy.encode(texts).tobytes() == right(texts)
    assert (model.fingerprint == lazy.fingerprint) == (strategy != "quantized")
    assert (model.keys(["a"]) == lazy.keys(["a"])) == (strategy != "quantized")


@each
def test_however_many_ask_there_is_one_load_and_one_object(process: Process, strategy: str) -> None:
    """Sixteen threads, each by preload, get_model and a first text."""
    ready = threading.Barrier(16)

    def ask() -> tuple[int, bytes]:
        ready.wait(DEADLOCK)
        preload("m", strategy=strategy)
        model = get_model("m", strategy=strategy)
        return id(model), model.encode(["a"]).tobytes()

    found = {future.result(DEADLOCK) for future in [start(ask) for _ in range(16)]}
    assert background.wait(DEADLOCK)
    assert len(found) == 1
    assert {vector for _, vector in found} == {right(["a"], weights=weights(strategy))}
    assert len(process.loads) == 1


@each
def test_it_is_loaded_when_the_strategy_says(process: Process, strategy: str) -> None:
    """At once in a thread, or at the first text whose vector is in no store."""
    gate = Gate()
    process.on_load(gate)
    model = get_model("m", strategy=strategy)
    at_once = strategy in STARTS_AT_ONCE
    if at_once:
        assert gate.reached.wait(DEADLOCK)
    gate.open.set()
    assert background.wait(DEADLOCK)
    assert len(process.loads) == at_once
    assert model.is_loaded is at_once
    model.encode(["a"])
    model.encode(["a"])
    assert len(process.loads) == 1


@each
def test_a_preload_makes_it_ready(process: Process, strategy: str) -> None:
    """What was preloaded is what get_model gives afterwards, loaded; `lazy` loads nothing."""
    preloaded = preload("m", strategy=strategy)
    model = preloaded.wait(DEADLOCK)
    assert get_model("m") is model
    assert model.is_loaded is (strategy != "lazy")
    assert (preloaded.is_done, preloaded.error) == (True, None)
    assert preloaded.metadata.dimension == 8
    assert repr(preloaded) == "<Preload of 'm': ready>"
    assert model.encode(["a"]).tobytes() == right(["a"], weights=weights(strategy))
    assert len(process.loads) == 1


@each
def test_a_load_that_fails_is_said_and_tried_again(
    process: Process, strategy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An error where a vector is needed; the next time it works."""

    def fail(name: str) -> None:
        raise ModelLoadError(name, "pure", "no such weights", "Look.")

    process.on_load(fail)
    model = get_model("m", strategy=strategy)
    assert background.wait(DEADLOCK)
    said = [r.getMessage() for r in caplog.records if "no such weights" in r.getMessage()]
    assert len(said) == (strategy in STARTS_AT_ONCE)
    with pytest.raises(ModelLoadError, match="no such weights"):
        model.encode(["a"])
    assert model.handle.status == "failed"
    process.on_load(lambda name: None)
    assert model.encode(["a"]).tobytes() == right(["a"], weights=weights(strategy))
    assert model.handle.status == "ready"


@each
def test_a_name_that_means_nothing_is_an_error_and_no_provider(
    process: Process, strategy: str, caplog: pytest.LogCaptureFixture
) -> None:
    """get_model raises; a provider is None, and one line says why."""
    gone = ModelNotFoundError("gone", "it is nowhere", "Give another.")
    for backend in (process.torch, process.onnx):
        backend.identify = lambda *_: (_ for _ in ()).throw(gone)  # type: ignore[method-assign]
        backend.prepare = lambda *_: (_ for _ in ()).throw(gone)  # type: ignore[method-assign]
    with pytest.raises(ModelNotFoundError, match="it is nowhere"):
        get_model("gone", strategy=strategy)
    assert get_embedding_provider("gone", strategy=strategy) is None
    assert [r.levelname for r in caplog.records if "it is nowhere" in r.getMessage()] == ["WARNING"]
    with pytest.raises(ModelNotFoundError, match="it is nowhere"):
        preload("gone", strategy=strategy).wait(DEADLOCK)
    with pytest.raises(ModelNotFoundError, match="it is nowhere"):
        _ = preload("gone", strategy=strategy).metadata
    assert process.loads == []


@each
def test_after_a_reset_it_is_loaded_again(process: Process, strategy: str) -> None:
    """Another object, the same vectors; what was preloaded how is forgotten."""
    before = get_embedding_provider("m", strategy=strategy)
    assert before is not None
    before.encode(["a"])
    reset()
    assert not before.is_loaded
    model = get_model("m")
    assert model.spec.backend == "torch"
    again = get_model("m", strategy=strategy)
    assert again is not before
    assert again.encode(["a"]).tobytes() == right(["a"], weights=weights(strategy))
    again.encode(["b"])
    assert background.wait(DEADLOCK)
    assert len(process.loads) == 2


@each
def test_it_is_unloaded_and_loaded_as_any_other(process: Process, strategy: str) -> None:
    """A strategy says when a model comes, and its timeout when it goes."""
    model = get_model("m", strategy=strategy)
    model.ensure_loaded()
    assert model.handle.unload(DEADLOCK)
    assert model.encode(["a"]).tobytes() == right(["a"], weights=weights(strategy))


@each
def test_a_pinned_preload_stays(process: Process, strategy: str) -> None:
    """Where it loads at all."""
    process.registry.idle_timeout = 0
    model = preload("m", strategy=strategy, pin=True).wait(DEADLOCK)
    model.encode(["a"])
    assert model.is_loaded is (strategy != "lazy")


# ------------------------------------------------------------------------------ waiting


def test_a_text_that_is_stored_does_not_wait_for_the_model(process: Process) -> None:
    """And one that is not waits, with one line that it is loading."""
    get_model("m").encode(["stored"])
    reset()
    gate = Gate()
    process.on_load(gate)
    model = get_model("m", strategy="background")
    assert gate.reached.wait(DEADLOCK)
    assert model.encode(["stored"]).tobytes() == right(["stored"])
    assert model.handle.is_loading
    gate.open.set()


def test_who_asks_for_a_text_meanwhile_reads_that_it_is_loading(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """One line, for however many texts."""
    caplog.set_level(logging.INFO, logger="pytest_embedcache")
    gate, said = Gate(), threading.Event()
    process.on_load(gate)

    class Listening(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is loading" in record.getMessage():
                said.set()

    logger, listening = logging.getLogger("pytest_embedcache"), Listening()
    logger.addHandler(listening)
    try:
        preload("m")
        assert gate.reached.wait(DEADLOCK)
        encoding = [start(lambda n=n: get_model("m").encode([str(n)])) for n in range(5)]  # type: ignore[misc]
        assert said.wait(DEADLOCK)
        gate.open.set()
        for future in encoding:
            future.result(DEADLOCK)
    finally:
        logger.removeHandler(listening)
    assert sum("is loading" in record.getMessage() for record in caplog.records) == 1


def test_a_provider_that_is_not_ready_in_time_is_none(
    process: Process, caplog: pytest.LogCaptureFixture
) -> None:
    """The line says what is being done; the load goes on, and is there the next time."""
    gate = Gate()
    process.on_load(gate)
    assert get_embedding_provider("m", timeout=0.01) is None
    assert any("a thread is " in record.getMessage() for record in caplog.records)
    assert gate.reached.wait(DEADLOCK)
    with pytest.raises(LoadTimeoutError, match="a thread is loading it"):
        preload("m").wait(0.2)
    gate.open.set()
    assert get_embedding_provider("m", timeout=DEADLOCK) is get_model("m")
    assert process.loads == ["m"]


def test_progressive_has_the_metadata_before_the_model(process: Process) -> None:
    """And `background` has it with the model."""
    gate = Gate()
    process.on_load(gate)
    preloaded = preload("m", strategy="progressive")
    assert preloaded.metadata.dimension == 8
    assert not preloaded.is_done
    later = preload("m", strategy="background")
    metadata = start(lambda: later.metadata)
    assert gate.reached.wait(DEADLOCK)
    assert not metadata.done()
    gate.open.set()
    assert metadata.result(DEADLOCK).max_seq_length == 64


def test_the_default_model_is_that_of_the_environment(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`EMBEDCACHE_MODEL`, for those who name none."""
    monkeypatch.setenv("EMBEDCACHE_MODEL", "m")
    assert preload_embeddings().wait(DEADLOCK).name == "m"
    provider = get_embedding_provider()
    assert provider is not None
    assert provider.name == "m"


# ------------------------------------------------------------------------------ which strategy


def test_short_and_full_name_are_preloaded_alike(process: Process) -> None:
    """A preload of one is what the other means."""
    preload("sentence-transformers/m", strategy="quantized")
    assert get_model("m").spec.form == "int8"
    assert background.wait(DEADLOCK)


def test_the_strategy_is_the_calls_or_the_runs_or_the_environments(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order; and `lazy` otherwise. The variable is read once, and again after a `reset`."""
    assert get_model("m").spec.form == "float32"
    monkeypatch.setenv("EMBEDCACHE_STRATEGY", "quantized")
    assert get_model("m").spec.form == "float32"
    reset()
    assert get_model("m").spec.form == "int8"
    monkeypatch.setattr(defaults, "strategy", "lazy")
    assert get_model("m").spec.form == "float32"
    assert get_model("m", strategy="quantized").spec.form == "int8"


def test_a_backend_that_the_call_names_wins_over_a_strategy_that_it_does_not(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And contradicts one that it does: an error that says what the strategy means."""
    monkeypatch.setenv("EMBEDCACHE_STRATEGY", "quantized")
    assert get_model("m", backend="torch").spec.backend == "torch"
    assert get_model("m", backend="onnx").spec.form == "int8"
    with pytest.raises(ModelSpecError, match="it means backend 'onnx' and form 'int8'"):
        get_model("m", backend="torch", strategy="quantized")
    assert get_model("m", backend="onnx", strategy="background").spec.backend == "onnx"
    assert background.wait(DEADLOCK)


def test_a_strategy_that_there_is_not_is_an_error_at_once(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lists those that there are, and says where it was given."""
    for call in (get_model, preload, get_embedding_provider):
        with pytest.raises(ModelSpecError, match="use one of lazy, background, progressive, qu"):
            call("m", strategy="eager")  # type: ignore[operator]
    monkeypatch.setenv("EMBEDCACHE_STRATEGY", "eager")
    with pytest.raises(SettingsError, match=r"from EMBEDCACHE_STRATEGY.*lazy, background"):
        get_model("m")


# ------------------------------------------------------------------------------ in torch's place


def test_a_refusal_at_the_first_text_is_torchs_turn_too(process: Process) -> None:
    """What was asked for by its keys before has the same keys afterwards."""
    process.onnx.refuses = ExportError("m", "float32", "a module cannot be traced", "Use torch.")
    process.onnx.late = True
    model = get_model("m", strategy="cached")
    keys = model.keys(["a", "b"])
    assert process.loads == []
    assert model.encode(["a", "b"]).tobytes() == right(["a", "b"])
    assert model.spec.backend == "torch"
    assert model.keys(["a", "b"]) == keys
    assert get_model("m", strategy="cached") is model
    said = [message for message in notices.counts() if "is served by the backend torch" in message]
    assert len(said) == 1
    small = get_model("m", strategy="quantized")
    with pytest.raises(ExportError, match="cannot be traced"):
        small.encode(["a"])
    assert process.torch.loads == ["m"]


def test_what_is_not_installed_is_known_before_a_text(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a prepared model the identity is known all the same, and would be no reason to fail."""
    missing = MissingExtraError("the backend 'onnx'", "onnxruntime", "onnx")
    # A class of its own: from Python 3.12 on, what a class is found to have is remembered.
    probing = type("Probing", (Prepared,), {"missing": lambda self: missing})
    monkeypatch.setattr(process.onnx, "__class__", probing)
    assert get_model("m", strategy="cached").spec.backend == "torch"
    assert any("onnxruntime" in message for message in notices.counts())


@pytest.mark.parametrize(
    "refusal",
    [
        ExportError("m", "float32", "a module cannot be traced", "Use torch."),
        MissingExtraError("the backend 'onnx'", "onnxruntime", "onnx"),
    ],
    ids=["refused", "extra missing"],
)
def test_where_it_cannot_be_prepared_torch_serves_and_says_so_once(
    process: Process, refusal: Exception
) -> None:
    """The same vectors, under the same keys; the small form has no stand-in, and is an error."""
    process.onnx.refuses = refusal
    models = {get_model("m", strategy="cached") for _ in range(3)}
    assert {model.spec.backend for model in models} == {"torch"}
    assert models.pop().encode(["a"]).tobytes() == right(["a"])
    said = [message for message in notices.counts() if "is served by the backend torch" in message]
    assert len(said) == 1
    assert str(refusal) in said[0]
    with pytest.raises(type(refusal)):
        get_model("m", strategy="quantized")
    with pytest.raises(type(refusal)):
        get_model("m", backend="onnx")
    assert process.torch.loads == ["m"]


# ------------------------------------------------------------------------------ processes


def test_a_preload_returns_before_anything_heavy_is_imported() -> None:
    """In the calling thread: not this package's registry, not numpy, not logging."""
    code = (
        "import sys, threading\n"
        "begun = threading.Event()\n"
        "from pytest_embedcache.models import background\n"
        "background.start = lambda work, what: begun.set()\n"
        "from pytest_embedcache import preload\n"
        "preload('m')\n"
        "heavy = {'logging', 'numpy', 'pathlib', 'dataclasses', 'typing', 'torch'}\n"
        "ours = {'pytest_embedcache.spec', 'pytest_embedcache.models.registry'}\n"
        "print(begun.is_set(), sorted(sys.modules.keys() & (heavy | ours)))"
    )
    assert python("\n".join(["import os", code]), PYTHONNOUSERSITE="1") == "True []"


def test_the_names_are_there_without_importing_what_is_behind() -> None:
    """`from pytest_embedcache import …` for each of them."""
    for name in ("preload", "preload_embeddings", "get_embedding_provider", "reset"):
        assert name in pytest_embedcache.__all__
        assert callable(getattr(pytest_embedcache, name))


EXIT = """
import sys, threading
sys.path.insert(0, sys.argv[1])
from support.encoders import Files, PureBackend
from pytest_embedcache import ModelRegistry, preload
from pytest_embedcache.models.registry import swap_default_registry
backend, reached = PureBackend(m=Files()), threading.Event()
def load(name):
    reached.set()
    try:
        while True:  # what a library's import may look like
            try:
                sum(range(1000))
            except Exception:
                pass
    finally:
        print("stopped", flush=True)
backend.on_load = load
swap_default_registry(ModelRegistry(backends={"torch": backend}))
preload("m")
assert reached.wait(60)
print("end", flush=True)
"""


def test_a_process_ends_while_a_model_is_loading() -> None:
    """The load is stopped before the interpreter is taken down; nothing crashes, or complains."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    assert python(EXIT, here).split() == ["end", "stopped"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_during_a_preload_loads_for_itself() -> None:
    """The thread is not there; who waits for it in the child is not left waiting."""
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    said = python(
        """
import os, signal, sys, warnings
signal.alarm(60)
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later: forking with threads
sys.path.insert(0, sys.argv[1])
from support.encoders import Files, PureBackend, right
from support.toys import Gate
from pytest_embedcache import ModelRegistry, get_model, preload
from pytest_embedcache.models.registry import swap_default_registry
backend, gate = PureBackend(m=Files()), Gate()
backend.on_load = gate
swap_default_registry(ModelRegistry(backends={"torch": backend}))
preloaded = preload("m")
assert gate.reached.wait(120)
child = os.fork()
if not child:
    status = 1
    try:
        backend.on_load = lambda name: None
        model = preloaded.wait(120)
        status = 0 if model.encode(["a"]).tobytes() == right(["a"]) else 2
        assert preloaded.metadata.dimension == 8
    finally:
        os._exit(status)
status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
gate.open.set()
print(status, preloaded.wait(120) is get_model("m"))
""",
        here,
    )
    assert said == "0 True"
