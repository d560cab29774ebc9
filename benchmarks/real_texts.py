"""Real texts in number: the docstrings of what is installed, and what Debian says of its packages.

Of both the distinct ones, in an order that is the same wherever the same packages are.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from examples.real_model import MODEL
from pytest_embedcache import get_model

__all__ = ["descriptions", "docstrings", "pieces", "texts", "vectors"]

#: Characters; shorter ones say nothing, and of longer ones a model reads only the beginning.
SHORTEST, LONGEST = 20, 1000
_BATCH = 5_000


def texts(count: int) -> list[str]:
    """`count` texts, half of each kind as far as both last.

    Raises `RuntimeError` where there are not that many.
    """
    both = itertools.zip_longest(docstrings(), descriptions())
    found = list(itertools.islice(_distinct(t for pair in both for t in pair if t), count))
    if len(found) < count:
        raise RuntimeError(
            f"only {len(found):,} of {count:,} texts are here: install more packages, or fetch "
            "Debian's lists with `apt-get update`"
        )
    return found


def pieces(whole: Iterable[str], count: int) -> list[str]:
    """`count` texts: the sentences of `whole`, then runs of words from them.

    More real texts than there are, without noise: each was written by someone, though two of them
    may overlap. Raises `RuntimeError` where there are not that many.
    """
    sentences = list(_distinct(s for text in whole for s in _sentences(text)))
    cut = (
        run for width in (12, 8, 16, 6, 10, 20, 5, 14) for s in sentences for run in _runs(s, width)
    )
    found = list(itertools.islice(_distinct(itertools.chain(sentences, cut)), count))
    if len(found) < count:
        raise RuntimeError(f"these texts have only {len(found):,} of {count:,} pieces")
    return found


def vectors(whole: list[str], say: Callable[[str], object]) -> np.ndarray:
    """The real model's, float32, shape (n, 384), of length 1, inside `real_model()`.

    They are encoded once for each cache directory; a run that is broken off goes on where it was.
    By the backend onnx, which is the faster one (`onnx_throughput`): a million take a while.
    """
    model = get_model(MODEL, backend="onnx")
    found = np.empty((len(whole), 384), np.float32)
    for first in range(0, len(whole), _BATCH):
        found[first : first + _BATCH] = model.encode(whole[first : first + _BATCH])
        say(f"{min(first + _BATCH, len(whole)):,} of {len(whole):,} vectors")
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def docstrings() -> Iterator[str]:
    """Of the modules, classes and functions of the installed packages."""
    for file in sorted(file for place in _installed() for file in place.rglob("*.py")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of others' escapes
                tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError, RecursionError, OSError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) >= SHORTEST:
                    yield text[:LONGEST]


def _installed() -> list[Path]:
    return [Path(place) for place in sys.path if place.endswith(("site-packages", "dist-packages"))]


def descriptions() -> Iterator[str]:
    """Of the packages in Debian's lists; none where there is no apt."""
    try:
        listed = subprocess.run(
            ["apt-cache", "dumpavail"], capture_output=True, check=True, text=True, errors="replace"
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return
    for paragraph in sorted(listed.split("\n\n")):
        name = re.search(r"^Package: (.+)$", paragraph, re.MULTILINE)
        about = re.search(r"^Description(?:-en)?: (.+(?:\n .+)*)", paragraph, re.MULTILINE)
        if name and about:
            text = re.sub(r"\s*\n \.?\s*", " ", about[1])
            yield f"{name[1]}: {text}"[:LONGEST]


def _sentences(text: str) -> Iterator[str]:
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n", text):
        words = " ".join(sentence.split())
        if len(words) >= SHORTEST:
            yield words


def _runs(sentence: str, width: int) -> Iterator[str]:
    words = sentence.split()
    for first in range(0, len(words) - width + 1, width // 2):
        yield " ".join(words[first : first + width])


def _distinct(found: Iterable[str]) -> Iterator[str]:
    """Each once, as it comes: parsing all that is installed takes minutes."""
    seen: set[str] = set()
    for text in found:
        if text not in seen:
            seen.add(text)
            yield text
