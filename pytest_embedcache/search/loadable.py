"""sqlite-vec in a connection: through `sqlite3` where it loads extensions, else through `apsw`.

Many builds of Python have an sqlite3 without them, pyenv's and macOS's among them.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

__all__ = ["BUSY", "connect", "errors", "is_busy", "unavailable"]

#: Seconds that a reader waits for another process's transaction, before it does without.
BUSY = 0.25


def unavailable() -> str | None:
    """Why sqlite-vec cannot be loaded here, in a clause; None where it can."""
    try:
        connect(None).close()
    except ImportError as error:
        missing = error.name or "sqlite-vec"
        return (
            f"the package {missing.replace('_', '-')} is not installed "
            "(pip install 'pytest-embedcache[search]')"
        )
    except errors() as error:
        return f"SQLite does not load it ({error})"
    return None


def connect(path: Path | None, *, create: bool = False) -> Any:
    """A connection with sqlite-vec in it, to a file or to nothing (None).

    Of `sqlite3` or `apsw`: both have `execute`, `executemany` and `close`, and begin no transaction
    on their own. Raises `ImportError`, or one of `errors()`.
    """
    import sqlite_vec

    name = ":memory:" if path is None else f"file:{quote(str(path))}"
    if path is not None:
        name += "?mode=rwc" if create else "?mode=rw"
    extension = sqlite_vec.loadable_path()
    if hasattr(sqlite3.Connection, "enable_load_extension"):
        connection = sqlite3.connect(
            name, uri=True, timeout=BUSY, isolation_level=None, check_same_thread=False
        )
        connection.enable_load_extension(True)
        connection.load_extension(extension)
        connection.enable_load_extension(False)
        return connection
    import apsw

    flags = apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    other = apsw.Connection(name, flags=flags)
    other.set_busy_timeout(int(BUSY * 1000))
    other.enable_load_extension(True)
    other.load_extension(extension)
    other.enable_load_extension(False)
    return other


def errors() -> tuple[type[Exception], ...]:
    """What a connection raises."""
    try:
        import apsw
    except ImportError:
        return (sqlite3.Error, AttributeError)
    return (sqlite3.Error, apsw.Error, AttributeError)


def is_busy(error: BaseException) -> bool:
    """Whether another process's transaction was in the way."""
    # Of sqlite3, and of apsw.
    code = getattr(error, "sqlite_errorcode", None) or getattr(error, "result", None) or 0
    return int(code) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
