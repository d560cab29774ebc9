"""What was asked for in replay and is not recorded: an error that helps, and a list of all."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pytest_embedcache.errors import EmbedCacheError, ReplayMissError
from pytest_embedcache.vectors import forking
from pytest_embedcache.vectors.keys import differences, explain_key
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.source import Keyed

__all__ = ["Miss", "Misses", "shortened"]

_LENGTH = 80
#: Misses of a process for which the recordings are looked through.
_EXPLAINED = 50
_GRAM = 3


def shortened(text: str) -> str:
    """The text as a literal, not above 80 characters, its beginning and end kept."""
    if len(text) > _LENGTH:
        half = _LENGTH // 2
        return f"{text[:half]!r}…{text[-half:]!r} ({len(text)} characters)"
    return repr(text)


@dataclass(frozen=True)
class Miss:
    """A text that is not recorded."""

    model: str
    text: str
    role: str | None
    differs: str | None
    nearest: str | None
    command: str

    def as_dict(self) -> dict[str, Any]:
        """The same in built-in types."""
        return asdict(self)


class Misses:
    """Collects them, from any thread.

    Args:
        store: The recordings.
        command: Returns what records what is asked for now.
        because: Why the mode is `replay`, where nobody chose it.
    """

    def __init__(
        self, store: RecordingsStore, command: Callable[[], str], because: str | None = None
    ) -> None:
        self._store = store
        self._command = command
        self._because = because
        self._lock = threading.Lock()
        self._found: dict[bytes, Miss] = {}
        self._texts: dict[str, list[tuple[bytes, str]]] = {}
        self._raised: ReplayMissError | None = None
        forking.tell(self)

    def before_fork(self) -> None:
        """Come to rest."""
        self._lock.acquire()

    def after_fork(self) -> None:
        """Go on."""
        self._lock.release()

    def all(self) -> list[Miss]:
        """What was missed, in order."""
        with self._lock:
            return list(self._found.values())

    def take(self) -> ReplayMissError | None:
        """The first error since this was called last, whoever caught it; it has its traceback."""
        with self._lock:
            taken, self._raised = self._raised, None
        return taken

    def error(self, texts: Mapping[bytes, str], keyed: Keyed) -> ReplayMissError:
        """Note these misses; returns the error that tells of the first."""
        command = self._command()
        first: Miss | None = None
        for key, text in texts.items():
            with self._lock:
                miss = self._found.get(key)
            if miss is None:
                differs, nearest = None, None
                if len(self._found) < _EXPLAINED:
                    differs, nearest = self._like(text, keyed)
                role = keyed.maker.fields.role
                miss = Miss(keyed.identity.name, text, role, differs, nearest, command)
                with self._lock:
                    self._found[key] = miss
            first = first or miss
        assert first is not None
        error = ReplayMissError(
            first.model,
            shortened(first.text),
            len(texts),
            first.differs,
            None if first.nearest is None else shortened(first.nearest),
            command,
            self._because,
        )
        with self._lock:
            self._raised = self._raised or error
        return error

    def _like(self, text: str, keyed: Keyed) -> tuple[str | None, str | None]:
        """In what a recording of the same text differs, and which recorded text is the nearest."""
        fingerprint = keyed.identity.fingerprint
        recorded = self._recorded(fingerprint)
        wanted = explain_key(keyed.maker.fields, text)
        folder = self._store.folders().get(fingerprint)
        for key, other in recorded:
            if other == text and folder is not None:
                fields = folder.read(key).fields(fingerprint)
                pairs = differences(wanted, explain_key(fields, text)).items()
                told = [f"{name} is {there!r}, not {here!r}" for name, (here, there) in pairs]
                return ", ".join(told), text
        grams = _grams(text)
        best = max(recorded, key=lambda one: _likeness(grams, one[1]), default=None)
        return None, best[1] if best is not None else None

    def _recorded(self, fingerprint: str) -> list[tuple[bytes, str]]:
        """Key and text of all recordings of a model; read once, when the first one is missed."""
        if fingerprint not in self._texts:
            found = []
            folder = self._store.folders().get(fingerprint)
            for key in folder.recorded() if folder is not None else ():
                try:
                    found.append((key, folder.read(key).text))  # type: ignore[union-attr]
                except (EmbedCacheError, OSError):
                    continue  # whoever asks for it will be told
            self._texts[fingerprint] = found
        return self._texts[fingerprint]


def _grams(text: str) -> frozenset[str]:
    folded = f"  {text.casefold()} "
    return frozenset(folded[i : i + _GRAM] for i in range(len(folded) - _GRAM + 1))


def _likeness(grams: frozenset[str], other: str) -> float:
    """Shared n-grams of all n-grams: 1 for the same, 0 for nothing in common."""
    others = _grams(other)
    return len(grams & others) / max(1, len(grams | others))
