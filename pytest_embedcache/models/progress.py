"""A progress bar, where the package for it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(total: int | None) -> Iterator[Callable[[int], object]]:
    """A bar over `total` texts; without a total, and without tqdm, nothing is shown."""
    from importlib import import_module

    try:
        tqdm = import_module("tqdm.auto").tqdm if total is not None else None
    except ImportError:
        tqdm = None
    if tqdm is None:
        yield lambda done: None
    else:
        with tqdm(total=total, desc="Texts", unit="text") as bar:
            yield bar.update
