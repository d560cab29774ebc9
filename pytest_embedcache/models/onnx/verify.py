"""How far a prepared model is from the one that it was made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.onnx.child import RefusedError
from pytest_embedcache.models.onnx.texts import docstrings, hard_texts

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TOLERANCE", "agreement", "verified"]

#: Largest difference of any number of a vector, as a part of the longest vector's length. float32
#: has 1.2e-7; sums of a few hundred products in another order differ by some 4e-6 at most.
TOLERANCE = 1e-5
#: Texts that are compared by themselves, and under each prompt.
_FEW = 6


def verified(origin: Any, prepared: Any, special: tuple[str, ...] = ()) -> dict[str, Any]:
    """Compare on hard texts, in batches and alone, under every prompt; what was found.

    Raises `RefusedError` where a vector differs by more than `TOLERANCE`.
    """
    texts = hard_texts(special)
    worst, where = 0.0, ""
    for what, listed, options in _calls(texts, prepared):
        expected = origin.encode(listed, show_progress_bar=False, **options)
        try:
            found = prepared.encode(listed, show_progress_bar=False, **options)
        except Exception as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise RefusedError(f"its export does not run ({reason[:300]})") from error
        for text, difference in zip(listed, _differences(expected, found), strict=True):
            if difference > worst:
                worst, where = difference, f"{what}, {_short(text)}"
    if worst > TOLERANCE:
        raise RefusedError(
            f"its export gives other vectors than torch: they differ by {worst:.2g} of their "
            f"length, where {TOLERANCE:g} is allowed ({where})"
        )
    return {"difference": worst, "texts": len(texts)}


def _calls(texts: list[str], prepared: Any) -> Iterator[tuple[str, list[str], dict[str, Any]]]:
    yield "in a batch", texts, {}
    few = texts[:: max(1, len(texts) // _FEW)]
    for text in few:
        yield "alone", [text], {}
    prompts = [prompt for prompt in prepared.prompts.values() if prompt]
    for prompt in dict.fromkeys([*prompts, "query: "]):
        yield f"with the prompt {prompt!r}", [*few, texts[-1]], {"prompt": prompt}
    yield "normalized", few, {"normalize_embeddings": True}


def _differences(expected: np.ndarray, found: np.ndarray) -> list[float]:
    import numpy as np

    if expected.shape != found.shape:
        raise RefusedError(
            f"its export gives vectors of shape {found.shape[1:]}, and torch {expected.shape[1:]}"
        )
    scale = max(float(np.linalg.norm(expected, axis=1).max()), 1e-30)
    rows = np.abs(expected.astype(np.float64) - found).max(axis=1) / scale
    return [float(row) if np.isfinite(row) else float("inf") for row in rows]


def agreement(exact: Any, small: Any, texts: Sequence[str] | None = None) -> dict[str, Any]:
    """How well the vectors of `small` stand for those of `exact`, on real texts.

    Cosine between the two vectors of one text, mean and worst, and the share of texts whose
    nearest other text is the same one.
    """
    import numpy as np

    listed = docstrings() if texts is None else list(texts)
    one, other = (_unit(model.encode(listed, show_progress_bar=False)) for model in (exact, small))
    cosines = np.sum(one * other, axis=1)
    same = _nearest(one) == _nearest(other)
    return {
        "texts": len(listed),
        "cosine_mean": round(float(cosines.mean()), 6),
        "cosine_worst": round(float(cosines.min()), 6),
        "same_nearest": round(float(same.mean()), 4),
    }


def _unit(matrix: np.ndarray) -> np.ndarray:
    import numpy as np

    wide = matrix.astype(np.float64)
    unit: np.ndarray = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
    return unit


def _nearest(unit: np.ndarray) -> np.ndarray:
    import numpy as np

    similarities = unit @ unit.T
    np.fill_diagonal(similarities, -np.inf)
    nearest: np.ndarray = similarities.argmax(axis=1)
    return nearest


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")
