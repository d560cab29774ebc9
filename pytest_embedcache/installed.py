"""Which other packages are installed, and in which version, known without importing them."""

from __future__ import annotations

import importlib.util

__all__ = ["installed_version", "is_installed"]


def installed_version(package: str) -> str | None:
    """The version of `package`, None where it is not installed.

    `importlib.metadata.version` parses the whole file, with the package's README in it: 2 to 4 ms
    for each of transformers and sentence-transformers, in every process.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    _, _, after = (found.read_text("METADATA") or "").partition("\nVersion:")
    return after.partition("\n")[0].strip() or found.version


def is_installed(package: str) -> bool:
    """Whether `import package` would find something."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a module that a test put into sys.modules
        return True
    except ImportError:  # somebody's finder forbids it
        return False
