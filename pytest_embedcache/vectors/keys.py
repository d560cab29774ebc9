"""The key of a vector: SHA-256 over everything that changes it, and nothing else.

The pre-image is a frame (`encoding.frame`) of these fields, in this order: the version, the
fingerprint, the role, the prompt, the options of the call, the state of the model, the text. Not
in it, because they change no vector: batch size, device, progress bar, conversion.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pytest_embedcache.encoding import frame
from pytest_embedcache.errors import KeyFieldError

__all__ = ["KeyExplanation", "KeyFields", "KeyMaker", "differences", "explain_key"]

VERSION = b"embedcache-key-1"
_NONE: Mapping[str, Any] = {}


class KeyFields(NamedTuple):
    """What is the same for all texts of one call.

    Values in `options` and `state` are None, bool, int, float, str, bytes, and lists, tuples and
    dicts of these. `1`, `1.0` and `True` differ; a list and a tuple of the same items do not.

    Attributes:
        fingerprint: The model's, 64 hexadecimal digits.
        role: `query`, `document` or another task; None where the model knows no roles.
        prompt: The resolved prompt, the very string; None, not "", where there is none.
        options: Other arguments of the call that change a vector.
        state: What can be changed on a loaded model: max_seq_length, truncate_dim, dtype, adapters.
    """

    fingerprint: str
    role: str | None = None
    prompt: str | None = None
    options: Mapping[str, Any] = _NONE
    state: Mapping[str, Any] = _NONE


class KeyMaker:
    """Makes the keys of one call.

    The constant fields are hashed once, and only the text is added for each key: that is why the
    text comes last.

    Raises:
        KeyFieldError: A value in the options or the state has no canonical bytes.
    """

    def __init__(self, fields: KeyFields) -> None:
        self.fields = fields
        constant = [
            VERSION,
            _text(fields.fingerprint),
            canonical(fields.role, "role"),
            canonical(fields.prompt, "prompt"),
            canonical(dict(fields.options), "options"),
            canonical(dict(fields.state), "state"),
        ]
        # The frame of the constant fields and an empty text, without that text's length.
        self._head = frame([*constant, b""])[:-8]
        self._hasher = hashlib.sha256(self._head)

    def preimage(self, text: str) -> bytes:
        """The bytes whose SHA-256 is the key of `text`."""
        data = _text(text)
        return self._head + len(data).to_bytes(8, "little") + data

    def key(self, text: str) -> bytes:
        """The key of `text`, 32 bytes."""
        return self.keys((text,))[0]

    def keys(self, texts: Iterable[str]) -> list[bytes]:
        """The keys of the texts, in their order."""
        copy, encode = self._hasher.copy, str.encode
        keys = []
        for text in texts:
            data = encode(text, "utf-8", "surrogatepass")
            hasher = copy()
            hasher.update(len(data).to_bytes(8, "little") + data)
            keys.append(hasher.digest())
        return keys


class KeyExplanation(NamedTuple):
    """What went into a key, for people: `key` as hexadecimal digits, and the named fields.

    Options and state are spread out, as in `state.max_seq_length`.
    """

    key: str
    fields: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """The same as plain builtins."""
        return {"key": self.key, "fields": dict(self.fields)}

    def lines(self) -> list[str]:
        """One line for the key and one for each field."""
        width = max(map(len, self.fields))
        named = [f"{name:{width}}  {value!r}" for name, value in self.fields.items()]
        return [f"{'key':{width}}  {self.key}", *named]


def explain_key(fields: KeyFields, text: str) -> KeyExplanation:
    """What goes into the key of `text`.

    Raises:
        KeyFieldError: As in `KeyMaker`.
    """
    key = KeyMaker(fields).key(text)
    named: dict[str, Any] = {
        "version": VERSION.decode(),
        "fingerprint": fields.fingerprint,
        "role": fields.role,
        "prompt": fields.prompt,
    }
    for group, values in (("options", fields.options), ("state", fields.state)):
        for name in sorted(values):
            named[f"{group}.{name}"] = values[name]
    named["text"] = text
    return KeyExplanation(key.hex(), named)


_ABSENT = "(not given)"


def differences(one: KeyExplanation, other: KeyExplanation) -> dict[str, tuple[Any, Any]]:
    """The fields in which two keys differ, each with its two values; empty if the keys are one.

    A field that only one of them has stands as "(not given)" in the other.
    """
    found = {}
    for name in dict.fromkeys([*one.fields, *other.fields]):
        pair = (one.fields.get(name, _ABSENT), other.fields.get(name, _ABSENT))
        both = name in one.fields and name in other.fields
        if not both or canonical(pair[0], name) != canonical(pair[1], name):
            found[name] = pair
    return found


def canonical(value: Any, where: str) -> bytes:
    """Bytes that differ for different values: a letter for the kind, then the content, framed.

    Not JSON: there `{1: …}` and `{"1": …}` are one, and so are an emoji and the two surrogates
    that spell it.

    Raises:
        KeyFieldError: The value at `where` is of another kind.
    """
    match value:
        case None:
            return b"n"
        case bool():  # before int, which it is
            return b"b1" if value else b"b0"
        case int():
            return b"i%d" % value
        case float():
            return b"f" + struct.pack("<d", value)
        case str():
            return b"s" + _text(value)
        case bytes():
            return b"y" + value
        case list() | tuple():
            return b"l" + frame(canonical(v, f"{where}[{i}]") for i, v in enumerate(value))
        case dict():
            pairs = sorted(
                (canonical(name, f"a name in {where}"), canonical(item, f"{where}.{name}"))
                for name, item in value.items()
            )
            return b"d" + frame(part for pair in pairs for part in pair)
        case _:
            raise KeyFieldError(where, value)


def _text(text: str) -> bytes:
    # The exact text: nothing is normalised or stripped, and a lone surrogate passes.
    return text.encode("utf-8", "surrogatepass")
