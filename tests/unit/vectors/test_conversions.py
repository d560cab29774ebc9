"""From a matrix of float32 to what the caller asked for: number formats, quantization, similarity.

Without torch: what it does beside torch is compared with sentence-transformers itself in
tests/integration/test_cached_model_parity.py.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pytest_embedcache.errors import MissingExtraError
from pytest_embedcache.models import precision
from pytest_embedcache.models.convert import converted, empty
from pytest_embedcache.models.precision import quantized
from pytest_embedcache.vectors import similarity


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither torch nor an older sentence-transformers is there."""
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(precision, "_older_version", lambda: None)


def matrix(rows: int = 5, columns: int = 12) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((rows, columns), dtype=np.float32)


# ------------------------------------------------------------------------------ form


def test_a_single_text_has_the_only_row() -> None:
    """And a batch the matrix, without a copy: it is the caller's already."""
    rows = matrix()
    options = {"tensor": False, "numpy": True, "dtype": "float32", "device": "cpu"}
    assert converted(rows, single=False, **options) is rows
    assert converted(rows[:1], single=True, **options).shape == (12,)


def test_half_precision_is_restored_only_where_nothing_is_lost() -> None:
    """float16 values are float16 again, NaN among them; others stay float32."""
    options = {"single": False, "tensor": False, "numpy": True, "device": None}
    half = matrix().astype(np.float16)
    half[0, 0] = np.nan
    found = converted(half.astype(np.float32), dtype="float16", **options)
    assert found.dtype == np.float16
    assert found.tobytes() == half.tobytes()
    assert converted(matrix(), dtype="float16", **options).dtype == np.float32
    assert converted(matrix(), dtype="bfloat16", **options).dtype == np.float32


def test_a_quantized_matrix_keeps_its_format() -> None:
    """Whatever the model's own is."""
    options = {"single": False, "tensor": False, "numpy": True, "device": None}
    packed = quantized(matrix(), "binary")
    assert converted(packed, dtype="float16", **options).dtype == np.int8


def test_nothing_has_shape_0() -> None:
    """As an array or a list."""
    assert empty(tensor=False, numpy=True).shape == (0,)
    assert empty(tensor=False, numpy=False) == []


def test_a_tensor_without_torch_is_an_error_that_names_the_extra() -> None:
    """An ImportError too."""
    with pytest.raises(MissingExtraError, match="sentence-transformers"):
        empty(tensor=True, numpy=False)
    with pytest.raises(ImportError, match="tensor"):
        converted(matrix(), single=False, tensor=True, numpy=False, dtype="float32", device=None)


# ------------------------------------------------------------------------------ quantized


@pytest.mark.parametrize("columns", [8, 12, 384])
def test_binary_has_a_bit_for_each_sign(columns: int) -> None:
    """Eight columns to a byte, row by row; `binary` is `ubinary` shifted by 128."""
    rows = matrix(5, columns)
    packed = quantized(rows, "ubinary")
    assert (packed.dtype, packed.shape) == (np.uint8, (5, -(-columns // 8)))
    bits = np.unpackbits(packed, axis=-1)[:, :columns]
    assert (bits == (rows > 0)).all()
    signed = quantized(rows, "binary")
    assert signed.dtype == np.int8
    assert (signed.astype(int) == packed.astype(int) - 128).all()


@pytest.mark.parametrize(("precision", "low", "dtype"), [("uint8", 0, "u1"), ("int8", -128, "i1")])
def test_int8_spreads_each_column_over_its_range(precision: str, low: int, dtype: str) -> None:
    """The least value of a column is the lowest level, the greatest the highest."""
    rows = matrix(200)
    rows[:, 3] = 0.5  # a column without a range
    levels = quantized(rows, precision)
    assert levels.dtype == np.dtype(dtype)
    spread = np.delete(levels.astype(int), 3, axis=1)
    assert (spread.min(axis=0) == low).all()
    assert (spread.max(axis=0) >= low + 254).all()  # 255 steps of rounded width
    assert (levels[:, 3] == low).all()
    order = np.argsort(rows[:, 0])
    assert (np.diff(levels[order, 0].astype(int)) >= 0).all()


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_int8_of_one_row_is_an_error(precision: str) -> None:
    """It has no range, and any answer would be a wrong one."""
    with pytest.raises(ValueError, match="single embedding"):
        quantized(matrix(1), precision)


def test_few_rows_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    """Ranges of a handful of texts are those of no corpus."""
    quantized(matrix(5), "int8")
    quantized(matrix(100), "int8")
    assert [record.levelname for record in caplog.records] == ["WARNING"]


# ------------------------------------------------------------------------------ similarity


def expected(name: str, a: np.ndarray, b: np.ndarray) -> float:
    if name == "cosine":
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))
    if name == "dot":
        return float(a @ b)
    return -float(np.abs(a - b).sum() if name == "manhattan" else np.sqrt(((a - b) ** 2).sum()))


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_similarity_is_that_of_each_with_each(name: str) -> None:
    """Shape (n, m), more alike is larger; and pairwise the i-th with the i-th."""
    a, b = matrix(4), matrix(6)[::-1]
    table = similarity.similarity(name, a, b)
    assert table.shape == (4, 6)
    right = [[expected(name, one, other) for other in b] for one in a]
    np.testing.assert_allclose(table, right, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        similarity.pairwise(name, a, b[:4]), np.diagonal(right), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("name", ["cosine", "dot", "euclidean", "manhattan"])
def test_one_vector_is_a_matrix_of_one_row(name: str) -> None:
    """And lists are matrices too."""
    a, b = matrix(1)[0], matrix(3)
    table = similarity.similarity(name, a.tolist(), list(b))
    assert table.shape == (1, 3)
    np.testing.assert_allclose(table[0, 2], expected(name, a, b[2]), rtol=1e-5)


def test_a_row_of_zeros_is_like_nothing() -> None:
    """Its cosine is 0, not NaN."""
    assert similarity.similarity("cosine", np.zeros(12), matrix(1)).tolist() == [[0.0]]
