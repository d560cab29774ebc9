"""The backend `torch`: sentence-transformers."""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import FakeModelError, MissingExtraError, ModelLoadError
from pytest_embedcache.fingerprint import default_dtype, dtype_keyword
from pytest_embedcache.installed import is_installed
from pytest_embedcache.layout import code_repositories, module_directories
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.identity import Identity, files_signature, identify_snapshot
from pytest_embedcache.models.metadata import ModelMetadata, read_metadata
from pytest_embedcache.models.resources import concrete_device
from pytest_embedcache.models.snapshots import prepare_snapshot
from pytest_embedcache.models.stats import OF_THE_CALLER
from pytest_embedcache.snapshot import hub_cache_around, locate
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.hub import Fetcher

__all__ = ["BECOME_REAL", "TorchBackend"]

#: In the namespace of a package that waits for its first use: makes it the real one.
BECOME_REAL = "__embedcache_become_real__"

_TRUST = "Read the code in the model's repository; if you trust it, give trust_remote_code=True."


class TorchBackend:
    """Loads a `sentence_transformers.SentenceTransformer` from files on this machine.

    `fetcher` brings a model that is not here, None from the Hub; tests give it a local one.
    """

    def __init__(self, fetcher: Fetcher | None = None) -> None:
        self.fetcher = fetcher

    def prepare(self, spec: ModelSpec, artifacts: ArtifactStore) -> ModelSpec:
        place = prepare_snapshot(spec, artifacts, self.fetcher)
        assert place.path is not None
        return ModelSpec(
            name=place.name,
            revision=place.commit,
            backend=spec.backend,
            form=spec.form,
            device=concrete_device(spec.device),
            dtype=spec.dtype or default_dtype(place.path),
            trust_remote_code=spec.trust_remote_code,
            token=spec.token,
            path=place.path,
        )

    def identify(self, spec: ModelSpec, artifacts: ArtifactStore) -> Identity:
        return identify_snapshot(spec, artifacts)

    def metadata(self, spec: ModelSpec) -> ModelMetadata | None:
        path = locate(spec).path
        return read_metadata(path) if path is not None else None

    def signature(self, spec: ModelSpec) -> str | None:
        assert spec.path is not None
        return files_signature(spec.path, trust_remote_code=spec.trust_remote_code)

    def state(self, model: Any) -> tuple[tuple[str, str], ...]:
        first = next(iter(model._modules.values()))  # model[0], in a sixth of the time
        inner: Any = getattr(first, "auto_model", None)
        # transformers sets the flag when an adapter was added, and only then knows active ones.
        adapters = getattr(inner, "_hf_peft_config_loaded", False) and inner.active_adapters()
        parameter = _parameter(model)
        return (
            ("max_seq_length", str(getattr(first, "max_seq_length", None))),
            ("dtype", str(getattr(parameter, "dtype", None))),
            ("adapters", str(adapters or [])),
            ("prompts", str(sorted(model.prompts.items()))),
            ("default_prompt_name", str(model.default_prompt_name)),
            ("truncate_dim", str(model.truncate_dim)),
            *_autocast(parameter),
        )

    def import_libraries(self) -> bool:
        there = sys.modules.get("sentence_transformers")
        if there is not None and BECOME_REAL not in getattr(there, "__dict__", ()):
            return False
        importing = _import()
        next(importing)
        _suspended.append(importing)
        return True

    def missing(self) -> MissingExtraError | None:
        """sentence-transformers, where it is not installed."""
        if is_installed("sentence_transformers"):
            return None
        package, extra = "sentence_transformers", "sentence-transformers"
        return MissingExtraError("the backend 'torch'", package, extra)

    def load(self, spec: ModelSpec) -> Any:
        assert spec.path is not None
        try:
            if spec.trust_remote_code and code_repositories(Path(spec.path)):
                with contextlib.suppress(Exception):  # the code has been fetched before
                    return _build(spec, spec.path)
                return _build(spec, spec.path, local_files_only=False)
            _refuse_code(spec, spec.path)
            return _build(spec, spec.path)
        except (FakeModelError, ModelLoadError):
            raise
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split()).rstrip(".")
            raise ModelLoadError(spec.name, "torch", reason, _remedy(spec, error)) from error


#: The first parameter of each model: to look for it takes as long as a third of a hit.
_parameters: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()


def _parameter(model: Any) -> Any:
    found = _parameters.get(model)
    if found is None and (found := next(model.parameters(), None)) is not None:
        _parameters[model] = found
    return found


def _autocast(parameter: Any) -> tuple[tuple[str, str], ...]:
    """The dtype in which a block of `torch.autocast` makes this thread compute, where it is in one.

    The vectors that come out of it are float32 all the same, and up to 1e-2 away.
    """
    if parameter is None:
        return ()
    torch, kind = sys.modules["torch"], parameter.device.type
    try:
        if torch.is_autocast_enabled(kind):
            return ((OF_THE_CALLER, str(torch.get_autocast_dtype(kind))),)
    except RuntimeError:  # a device that knows none
        pass
    return ()


_suspended: list[Iterator[None]] = []


def _import() -> Iterator[None]:
    """Import sentence-transformers, apart from whoever asks for it.

    torch leaves garbage that holds the frames of its own import (`torch.fx.wrap`), and through
    their callers everybody's, with all that is in their variables when they end. Where the garbage
    collector is frozen after the import, that is for ever: a model would never be freed. A
    generator that has yielded, and is not resumed, has no caller.
    """
    try:
        import sentence_transformers

        if become_real := vars(sentence_transformers).get(BECOME_REAL):
            become_real()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not missing or is_installed(missing):
            raise  # two packages whose versions do not fit: the error names both
        raise MissingExtraError("the backend 'torch'", missing, "sentence-transformers") from error
    yield


def _build(spec: ModelSpec, path: str, *, local_files_only: bool = True) -> Any:
    import sentence_transformers

    from pytest_embedcache.models.importing import importing

    # Looked up when it is used: somebody may have put a class of his own in its place. A test's
    # fake says what it stands for. It is not meant for this registry, which outlives the test.
    found = sentence_transformers.SentenceTransformer
    build = getattr(found, "__embedcache_real__", found)
    options: dict[str, Any] = {}
    if around := hub_cache_around(path):
        # Where an adapter's base was put, and code that lies in another repository.
        options["cache_folder"] = str(around)
    if spec.dtype != default_dtype(path):
        # Only what was asked for: not every kind of first module accepts a dtype.
        options["model_kwargs"] = {dtype_keyword(): spec.dtype}
    if getattr(build, "embedcache_fake", False):
        # Its vectors would be stored as those of the model whose files these are.
        raise FakeModelError(
            spec.name,
            f"cannot be loaded: {build.__name__}, a fake, stands in the place of the real class",
            "Use the fixture fake_sentence_transformer, which has a registry and a store of fakes.",
        )
    with importing():  # transformers imports the model's own modules only now
        return build(
            path,  # absolute: a relative path would be asked for on the Hub
            device=spec.device,
            trust_remote_code=spec.trust_remote_code,
            local_files_only=local_files_only,
            token=spec.token,
            **options,
        )


def _refuse_code(spec: ModelSpec, path: str) -> None:
    """Raise `ModelLoadError` where a module is code of the model's own.

    sentence-transformers before version 6 trusts whatever lies in a directory, and a directory is
    what it gets here, for a model from the Hub too.
    """
    if spec.trust_remote_code:
        return
    for _, kind in module_directories(Path(path)):
        if kind != "Transformer" and not kind.startswith("sentence_transformers."):
            reason = f"its module {kind} is code that is not part of sentence-transformers"
            raise ModelLoadError(spec.name, "torch", reason, _TRUST)


def _remedy(spec: ModelSpec, error: Exception) -> str:
    text = str(error)
    if "trust_remote_code" in text:
        return _TRUST
    if spec.device != "cpu" and any(word in text.lower() for word in ("device", "cuda", "mps")):
        return f"Check that the device {spec.device!r} is there, or give device='cpu'."
    if isinstance(error, ImportError):
        return "Install the package that the model's code needs."
    return (
        f"Try sentence_transformers.SentenceTransformer({spec.path!r}) alone; it should fail alike."
    )
