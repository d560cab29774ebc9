"""One injective encoding for everything that is hashed into an identity.

Concatenating fields is not injective (`"a" + "bc"` is `"ab" + "c"`), and a separator can occur in
a text. So every field is preceded by its length, and a sequence by its number of fields.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

__all__ = ["canonical_json", "digest", "frame", "is_hex"]


def frame(fields: Iterable[bytes]) -> bytes:
    """Return the fields as one byte string from which they can be told apart again.

    Count and lengths are unsigned 64-bit little-endian integers.
    """
    listed = list(fields)
    parts = [len(listed).to_bytes(8, "little")]
    for field in listed:
        parts.append(len(field).to_bytes(8, "little"))
        parts.append(field)
    return b"".join(parts)


def digest(*fields: str | bytes) -> str:
    """SHA-256, as 64 hexadecimal digits, of the framed fields (text as UTF-8, exactly as given)."""
    encoded = (f.encode("utf-8", "surrogatepass") if isinstance(f, str) else f for f in fields)
    return hashlib.sha256(frame(encoded)).hexdigest()


def is_hex(text: str, digits: int) -> bool:
    """Whether `text` is that many hexadecimal digits, in lower case.

    Not a regular expression: to compile one takes as long as to import a module.
    """
    return len(text) == digits and not text.strip("0123456789abcdef")


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys and no white space: order and layout of a document do not count.

    Numbers are compared as they are written: `1` and `1.0` are two.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
