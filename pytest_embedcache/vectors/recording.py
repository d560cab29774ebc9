"""`record` and `rerecord`: the store that computes what is not recorded, and keeps it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from pytest_embedcache import notices
from pytest_embedcache.errors import RecordingError
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.registry import ModelRegistry
from pytest_embedcache.models.remote import RemoteModel
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors import forking
from pytest_embedcache.vectors.alone import one_by_one
from pytest_embedcache.vectors.codec import check_vectors, same
from pytest_embedcache.vectors.counts import Counts
from pytest_embedcache.vectors.drift import agree
from pytest_embedcache.vectors.keys import KeyFields
from pytest_embedcache.vectors.policy import Policy
from pytest_embedcache.vectors.recording_file import Recording, can_be_recorded
from pytest_embedcache.vectors.recording_header import Header
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.remote_source import RemoteSource
from pytest_embedcache.vectors.source import Keyed, ModelSource
from pytest_embedcache.vectors.spool import Spool
from pytest_embedcache.vectors.store import StoreStats

__all__ = ["RecordPolicy", "RecordStore"]


class RecordStore:
    """A `VectorStore` of what is recorded, and of what this run adds to it.

    Args:
        recordings: What is recorded; a damaged file of it is an error.
        spool: Takes what is new.
        anew: `rerecord`: what is recorded is not read, only compared with.
    """

    name = "recordings"

    def __init__(self, recordings: RecordingsStore, spool: Spool, *, anew: bool) -> None:
        self.recordings = recordings
        #: The keys that this run asked for and that are, or will be, recorded.
        self.used = recordings.used
        self._spool = spool
        self._anew = anew
        self._lock = threading.Lock()
        self._headers: dict[str, Header] = {}
        self._described: dict[bytes, tuple[KeyFields, str]] = {}
        #: Of this run and this process.
        self._made: dict[bytes, np.ndarray] = {}
        self._counts = Counts()
        forking.tell(self)

    def before_fork(self) -> None:
        """Come to rest."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on."""
        self._lock.release()

    def meet(self, header: Header) -> None:
        """Learn of a model whose vectors may come."""
        with self._lock:
            self._headers.setdefault(header.fingerprint, header)

    def describe(self, texts: Mapping[bytes, str], fields: KeyFields, header: Header) -> None:
        """Learn what the vectors of these keys, which are to come, are made of."""
        with self._lock:
            self._described.update({key: (fields, text) for key, text in texts.items()})
            self._headers[fields.fingerprint] = header

    def get_many(self, fingerprint: str, keys: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        found = {} if self._anew else self.recordings.get_many(fingerprint, keys)
        header = self._headers.get(fingerprint)
        missing = [key for key in keys if key not in found]
        spooled = self._spool.folder(header) if header is not None and missing else None
        for key in missing:
            vector = self._made.get(key)
            if vector is None and spooled is not None:
                vector = self._of_others(spooled, key)
            if vector is not None:
                found[key] = vector
        self.used.setdefault(fingerprint, set()).update(found)
        self._counts.add(hits=len(found), misses=len(keys) - len(found))
        return found

    def _of_others(self, spooled: Any, key: bytes) -> np.ndarray | None:
        try:
            vector: np.ndarray | None = spooled.vector(key)
        except RecordingError:
            return None  # of a process that was killed: it is written again
        return vector

    def put_many(
        self, fingerprint: str, items: Mapping[bytes, np.ndarray]
    ) -> dict[bytes, np.ndarray]:
        """Spool them. In `rerecord` a recorded vector that agrees to the tolerance wins.

        Raises:
            StoreError: The spool cannot be written.
            RecordingError: In `record`, for a damaged file.
        """
        won = {}
        for key, vector in check_vectors(items).items():
            with self._lock:
                described = self._described.pop(key, None)
                header = self._headers.get(fingerprint)
            if described is None or header is None:
                continue  # a vector without its text
            fields, text = described
            kept = self._recorded(fingerprint, key) if self._anew else None
            if kept is not None and agree(vector, kept):
                if not same(vector, kept):
                    won[key] = kept
                vector = kept
            self._made[key] = vector
            if not can_be_recorded(fields):
                notices.degraded(
                    f"vectors of {header.name} with options that JSON cannot hold are not recorded"
                )
                continue
            self._spool.write(header, key, Recording.of(fields, text, vector))
            self.used.setdefault(fingerprint, set()).add(key)
        return won

    def _recorded(self, fingerprint: str, key: bytes) -> np.ndarray | None:
        try:
            folder = self.recordings.folders().get(fingerprint)
            return folder.vector(key) if folder is not None else None
        except RecordingError:
            return None  # damaged: it is replaced

    def delete_many(self, fingerprint: str, keys: Sequence[bytes]) -> int:
        return 0

    def clear(self, fingerprint: str | None = None) -> int:
        return 0

    def stats(self) -> StoreStats:
        recorded = self.recordings.stats()
        return StoreStats(
            entries=recorded.entries + len(self._made),
            bytes=recorded.bytes,
            hits=self._counts["hits"],
            misses=self._counts["misses"],
            details=recorded.details,
        )

    def close(self) -> None:
        self.recordings.close()


class RecordPolicy(Policy):
    """Each new text is encoded alone, and described to the store before its vector is put there.

    Args:
        store: Keeps what is new.
        aliases: Alias -> name, of the settings; those of a model go into its header.
    """

    #: Each is in the spool before the next is computed.
    together = 1
    here = True

    def __init__(self, store: RecordStore, aliases: Mapping[str, str]) -> None:
        self._store = store
        self._aliases = aliases
        self._specs: dict[str, ModelSpec] = {}

    def source(self, registry: ModelRegistry, spec: ModelSpec) -> ModelSource:
        source = self.real(registry, spec)
        # Of a service, what is missing of a call is one request, as with the drop-in.
        source.in_one_call = source.identity.remote is not None
        self._specs[source.identity.name] = source.spec
        self._store.meet(self._header(source.identity))
        return source

    def remote(self, remote: RemoteModel) -> ModelSource:
        source = RemoteSource(remote)
        self._store.meet(self._header(source.identity))
        return source

    def computing(
        self, compute: Callable[[Any, list[str]], Any]
    ) -> Callable[[Any, list[str]], Any]:
        return one_by_one(compute)

    def computed(self, texts: Mapping[bytes, str], keyed: Keyed, model: Any) -> None:
        header = self._header(keyed.identity).learned(model)
        self._store.describe(texts, keyed.maker.fields, header)

    def _header(self, identity: Identity) -> Header:
        # Without: a model that was made before the run began.
        spec = self._specs.get(identity.name) or ModelSpec(identity.name)
        header = Header.of(spec, identity)
        names = {header.name, *header.aliases}
        aliases = tuple(alias for alias, name in self._aliases.items() if name in names)
        return Header.of(spec, identity, aliases)
