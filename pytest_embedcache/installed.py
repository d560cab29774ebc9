"""Which other packages are installed, and in which version, known without importing them."""

from __future__ import annotations

import importlib.util
import os
import sys

__all__ = ["importable_version", "installed_version", "is_installed"]


def installed_version(package: str) -> str | None:
    """The version of `package`, None where it is not installed.

    The name of a directory beside the package says it. `importlib.metadata`, which is asked where
    there is no such directory, takes 8 ms to import, and 2 to 4 more to parse the README of each
    of transformers and sentence-transformers.
    """
    beginning = f"{package.replace('-', '_').replace('.', '_').lower()}-"
    for place in sys.path:
        try:
            names = os.listdir(place or ".")
        except OSError:  # a zip file, or nothing
            continue
        for name in names:
            if name.endswith(".dist-info") and name.lower().startswith(beginning):
                return name[len(beginning) : -len(".dist-info")]
    return _by_its_metadata(package)


def _by_its_metadata(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = distribution(package)
    except PackageNotFoundError:
        return None
    _, _, after = (found.read_text("METADATA") or "").partition("\nVersion:")
    return after.partition("\n")[0].strip() or found.version


def importable_version(package: str) -> str | None:
    """`installed_version` of a package that is imported under its name.

    Looked for first: where it is not, a hit is not to import `importlib.metadata` to be told so.
    """
    return installed_version(package) if is_installed(package.replace("-", "_")) else None


def is_installed(package: str) -> bool:
    """Whether `import package` would find something."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # a module that a test put into sys.modules
        return True
    except ImportError:  # somebody's finder forbids it
        return False
