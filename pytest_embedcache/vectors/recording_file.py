"""One recorded vector as a file: its text, all that its key is made of, and its exact bytes."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pytest_embedcache.encoding import digest
from pytest_embedcache.errors import KeyFieldError, RecordingError
from pytest_embedcache.vectors.keys import KeyFields, KeyMaker, canonical
from pytest_embedcache.vectors.recorded_text import joined, pieces, readable_json

__all__ = ["Recording", "can_be_recorded", "name_of", "read_recording", "relative_path"]

SUFFIX = ".json"
#: Components in a line of base64: 96 characters, and a changed component changes one line.
_PER_LINE = 18


@dataclass(frozen=True, eq=False)
class Recording:
    """A text, the fields of its key but for the fingerprint, and its vector (1-D, float32)."""

    text: str
    vector: np.ndarray
    role: str | None = None
    prompt: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, fields: KeyFields, text: str, vector: np.ndarray) -> Recording:
        """The recording of `text` under these fields of a key."""
        return cls(text, vector, fields.role, fields.prompt, fields.options, fields.state)

    def fields(self, fingerprint: str) -> KeyFields:
        """The fields of its key."""
        return KeyFields(fingerprint, self.role, self.prompt, self.options, self.state)

    def key(self, fingerprint: str) -> bytes:
        """Its key, 32 bytes."""
        return KeyMaker(self.fields(fingerprint)).key(self.text)

    def to_bytes(self, fingerprint: str) -> bytes:
        """The content of its file: the same for the same recording, on every machine."""
        raw = self.vector.astype("<f4").tobytes()
        lines = [raw[i : i + 4 * _PER_LINE] for i in range(0, len(raw), 4 * _PER_LINE)]
        content: dict[str, Any] = {
            "text": pieces(self.text),
            "role": self.role,
            "prompt": None if self.prompt is None else pieces(self.prompt),
            "options": dict(sorted(self.options.items())),
        }
        if self.state:
            content["state"] = dict(sorted(self.state.items()))
        content["dimension"] = len(self.vector)
        content["checksum"] = _checksum(self.key(fingerprint), raw)
        content["vector"] = [base64.b64encode(line).decode() for line in lines]
        return readable_json(content)


def can_be_recorded(fields: KeyFields) -> bool:
    """Whether JSON gives back what is in these fields: it knows neither bytes nor other keys."""
    told = (dict(fields.options), dict(fields.state))
    try:
        again = json.loads(json.dumps(told))
        return canonical(told, "fields") == canonical(again, "fields")
    except (TypeError, ValueError, KeyFieldError):
        return False


def relative_path(key: bytes) -> str:
    """Where in a model's folder the file of `key` is: 256 folders, so that none is large."""
    name = key.hex()
    return f"{name[:2]}/{name[2:]}{SUFFIX}"


def name_of(path: Path) -> bytes | None:
    """The key that a file in a model's folder is named by; None for any other file."""
    name = path.parent.name + path.name.removesuffix(SUFFIX)
    if len(name) != 64 or path.suffix != SUFFIX:
        return None
    try:
        key = bytes.fromhex(name)
    except ValueError:
        return None
    return key if key.hex() == name else None


def read_recording(path: str, fingerprint: str, key: bytes) -> Recording:
    """The recording in the file of `key`.

    Everything is checked: text and fields against the key, the vector against its checksum.

    Raises:
        FileNotFoundError: There is no such file.
        RecordingError: It cannot be read, or is not what was recorded.
    """
    try:
        with open(path, "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordingError(path, f"it cannot be read ({error.strerror or error})") from error
    try:
        found = json.loads(content)
        if not isinstance(found, dict):
            raise ValueError("it is not a JSON object")
        raw = base64.b64decode("".join(found["vector"]), validate=True)
        prompt = found["prompt"]
        recording = Recording(
            joined(found["text"]),
            np.frombuffer(raw, "<f4").astype(np.float32, copy=False),
            found["role"],
            None if prompt is None else joined(prompt),
            found["options"],
            found.get("state", {}),
        )
        if recording.key(fingerprint) != key:
            raise ValueError("text, role, prompt or options are not those of its name")
        if len(recording.vector) != found["dimension"] or not len(recording.vector):
            raise ValueError(f"{len(recording.vector)} components, not {found['dimension']}")
        if found["checksum"] != _checksum(key, raw):
            raise ValueError("the vector is not that of its checksum")
    except KeyError as error:
        raise RecordingError(path, f"{error} is missing") from error
    except (ValueError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        raise RecordingError(path, " ".join(str(error).split())) from error
    return recording


def _checksum(key: bytes, raw: bytes) -> str:
    return digest(key, raw)[:16]
