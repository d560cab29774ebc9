"""`replay`: vectors from the recordings, and nothing else; no weights, no torch, no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from pytest_embedcache import notices
from pytest_embedcache.errors import (
    EmbedCacheError,
    FetchError,
    MissingExtraError,
    ModelNotFoundError,
    RecordingMismatchError,
    RecordingNotFoundError,
    ReplayModelError,
    SnapshotError,
)
from pytest_embedcache.fingerprint import fingerprint_of
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.models.remote import RemoteModel
from pytest_embedcache.snapshot import is_commit, locate
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.policy import Policy
from pytest_embedcache.vectors.recording_header import Header, names_of
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.remote_source import RecordedRemote, RemoteSource
from pytest_embedcache.vectors.replay_misses import Misses
from pytest_embedcache.vectors.source import Keyed, ModelSource
from pytest_embedcache.vectors.store import VectorStore
from pytest_embedcache.vectors.tiered import TieredStore

__all__ = ["DirectStore", "RecordedModels", "RecordedSource", "ReplayPolicy", "TierPolicy"]


#: What helps where the same service has two addresses.
_ALIAS = (
    "Where its URL leads to the recorded service, say so: embedcache_aliases (URL=recorded URL)."
)


class DirectStore(TieredStore):
    """One store, whose errors are the caller's: recording and replaying promise to fail."""

    def __init__(self, store: VectorStore) -> None:
        super().__init__([store])

    def get_with_tiers(
        self, fingerprint: str, keys: Sequence[bytes]
    ) -> tuple[dict[bytes, np.ndarray], dict[str, int]]:
        found = self.stores[0].get_many(fingerprint, keys)
        return found, {self.stores[0].name: len(found)} if found else {}

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        return self.stores[0].put_many(fingerprint, items)


class RecordedModels:
    """Finds the recordings that a spec means.

    Args:
        store: The recordings.
        aliases: Alias -> name, beside those in the headers.
        cache_dir: Where the hashes of weights are remembered.
        command: What records; for errors.
    """

    def __init__(
        self,
        store: RecordingsStore,
        aliases: Mapping[str, str],
        *,
        cache_dir: str | None = None,
        command: Callable[[], str] = lambda: "pytest --embedcache-mode=record",
    ) -> None:
        self._store = store
        self._aliases = dict(aliases)
        self._cache_dir = cache_dir
        self._command = command

    def named(self, spec: ModelSpec) -> list[Header]:
        """The recorded models that have one of its names, whatever their weights."""
        names = names_of(spec, self._aliases)
        headers = [folder.header for folder in self._store.folders().values()]
        local = [header for header in headers if header.remote is None]
        return [header for header in local if names & {header.name, *header.aliases}]

    def remotely_named(self, remote: RemoteModel) -> list[Header]:
        """The recorded models of services that have this name, whatever the service."""
        headers = [folder.header for folder in self._store.folders().values()]
        return [h for h in headers if h.remote is not None and h.remote.name == remote.name]

    def find_remote(self, remote: RemoteModel) -> Header:
        """The recorded model of a service; nothing but its names tells whether it is the same.

        Raises:
            RecordingNotFoundError: There is none of that name.
            RecordingMismatchError: It is of another service, dimension or version.
            RecordingError: A header is damaged.
        """
        named = self.remotely_named(remote)
        if not named:
            self._not_found(remote.name, "nothing is recorded under that name")
        for header in named:
            if header.remote == remote:
                return header
        urls = [header.remote.base_url for header in named if header.remote is not None]
        elsewhere = remote.base_url not in urls
        raise RecordingMismatchError(
            remote.name, _described(named), remote.described, _ALIAS if elsewhere else ""
        )

    def find(self, spec: ModelSpec) -> Header:
        """The recorded model of `spec`.

        Raises:
            RecordingNotFoundError: There is none of that name, or several.
            RecordingMismatchError: It is another than the one that is here, or that is pinned.
            RecordingError: A header is damaged.
        """
        named = self.named(spec)
        if not named:
            self._not_found(spec.name, "nothing is recorded under that name")
        fitting = [h for h in named if spec.form == h.form and spec.dtype in (None, h.dtype)]
        if not fitting:
            asked = f"{spec.name} as {spec.dtype or spec.form}"
            raise RecordingMismatchError(spec.name, _described(named), asked)
        if spec.revision is not None and is_commit(spec.revision):
            pinned = [h for h in fitting if h.commit in (spec.revision, None)]
            if not pinned:
                raise RecordingMismatchError(
                    spec.name, _described(fitting), f"pinned to commit {spec.revision}"
                )
            fitting = pinned
        here = {h.dtype: self._here(spec, h.dtype) for h in fitting}
        same = [h for h in fitting if here[h.dtype] in (None, h.fingerprint)]
        if not same:
            fingerprint = here[fitting[0].dtype] or ""
            place = locate(spec).path
            raise RecordingMismatchError(
                spec.name, _described(fitting), f"fingerprint {fingerprint[:12]} in {place}"
            )
        if len(same) > 1:
            self._not_found(spec.name, "several models are recorded under that name", pin=True)
        return same[0]

    def _here(self, spec: ModelSpec, dtype: str) -> str | None:
        """The fingerprint of the weights on this machine, if there are any."""
        try:
            if locate(spec).path is None:
                return None
            asked = spec.replace(dtype=dtype)
            return fingerprint_of(asked, cache_dir=self._cache_dir).digest
        except (ModelNotFoundError, SnapshotError):
            return None  # not here, or not whole

    def _not_found(self, name: str, reason: str, *, pin: bool = False) -> NoReturn:
        recorded = tuple(folder.header.described for folder in self._store.folders().values())
        remedy = (
            "Pin one (revision=), or remove the other's folder: a complete run with "
            "--embedcache-mode=record --embedcache-prune-recordings drops what is not used."
            if pin
            else f"Record it with: {self._command()}; a model under another name needs "
            "embedcache_aliases (alias=name)."
        )
        raise RecordingNotFoundError(name, str(self._store.directory), recorded, reason, remedy)


def _described(headers: Sequence[Header]) -> str:
    return " and ".join(header.described for header in headers)


class RecordedSource(ModelSource):
    """The model behind recorded vectors: its header. It is never loaded."""

    def __init__(self, registry: ModelRegistry, spec: ModelSpec, header: Header) -> None:
        self.registry = registry
        self.asked = spec
        # One spelling for all, so that they are one object.
        self.spec = spec.replace(name=header.name, revision=header.commit, dtype=header.dtype)
        self.identity = header.identity()
        self._keyed = {}

    def is_outdated(self) -> bool:
        return False

    def loaded(self) -> ModelHandle | None:
        return None

    def handle(self, needed: str = "this") -> ModelHandle:
        raise ReplayModelError(self.identity.name, needed)

    def preload(self, *, pin: bool = False) -> None:
        pass  # the recordings are all there is

    def start_loading(self) -> None:
        pass


class _UnavailableSource(RecordedSource):
    """The same in `auto`, where the model's files are not here and cannot be had: `error`."""

    def __init__(
        self, registry: ModelRegistry, spec: ModelSpec, header: Header, error: EmbedCacheError
    ) -> None:
        super().__init__(registry, spec, header)
        self._error = error

    def handle(self, needed: str = "this") -> ModelHandle:
        raise self._error.with_traceback(None)


class ReplayPolicy(Policy):
    """Models are those that are recorded, and a text that is not is an error."""

    replays = True

    def __init__(self, models: RecordedModels, misses: Misses) -> None:
        self._models = models
        self._misses = misses

    def source(self, registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        if spec.backend == "openai" and (remote := registry.identify(spec).remote) is not None:
            return RecordedSource(registry, spec, self._models.find_remote(remote))
        return RecordedSource(registry, spec, self._models.find(spec))

    def remote(self, remote: RemoteModel) -> ModelSource:
        self._models.find_remote(remote)
        return RecordedRemote(remote)

    def missing(self, texts: Mapping[bytes, str], keyed: Keyed) -> None:
        raise self._misses.error(texts, keyed)

    def computing(self, compute: Callable[[Any, list[str]], Any]) -> NoReturn:
        raise AssertionError("replay computes nothing")


class TierPolicy(Policy):
    """`auto` where there are recordings: says so where they are of another model.

    A model that cannot be had is what is recorded under its name, as in replay, until a text is
    missing; then it is the error that it would have been.
    """

    def __init__(self, models: RecordedModels) -> None:
        self._models = models

    def source(self, registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        try:
            source = self.real(registry, spec)
        except (FetchError, MissingExtraError, ModelNotFoundError, SnapshotError) as error:
            return self._recorded(registry, spec, error)
        if (remote := source.identity.remote) is not None:
            _compare(source.identity, self._models.remotely_named(remote), remote.described)
            return source
        here = f"fingerprint {source.identity.fingerprint[:12]}"
        _compare(source.identity, self._models.named(spec), here)
        return source

    def _recorded(
        self, registry: ModelRegistry, spec: ModelSpec, error: EmbedCacheError
    ) -> ModelSource:
        if not self._models.named(spec):
            raise error
        try:
            header = self._models.find(spec)
        except EmbedCacheError as why:
            error.add_note(f"Its recordings cannot stand in for it: {why}")
            raise error from None
        notices.degraded(
            f"{header.name} is answered from its recordings alone, as in --embedcache-mode=replay: "
            "its files are not here"
        )
        error.add_note("Its recordings stand in for it, and this is not among them.")
        return _UnavailableSource(registry, spec, header, error)

    def remote(self, remote: RemoteModel) -> ModelSource:
        source = RemoteSource(remote)
        _compare(source.identity, self._models.remotely_named(remote), remote.described)
        return source


def _compare(identity: Identity, named: Sequence[Header], here: str) -> None:
    """Say it where all that is recorded under a name is something else."""
    if named and all(header.fingerprint != identity.fingerprint for header in named):
        notices.degraded(
            f"recordings of {identity.name} are not used: recorded is {_described(named)}, here it "
            f"is {here}"
        )
