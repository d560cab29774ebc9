"""float32 as a service writes it."""

from __future__ import annotations

import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pytest_embedcache.vectors.decimals import as_written

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(arrays(np.float32, (2, 7), elements=finite))
def test_it_is_the_shortest_decimal_of_the_same_float32(matrix: np.ndarray) -> None:
    """As numpy prints each, whatever its size; so the bits survive a way through JSON."""
    found = as_written(matrix)
    assert found == [[float(str(value)) for value in row] for row in matrix]
    again = np.array(json.loads(json.dumps(found)), dtype=np.float32)
    assert again.tobytes() == matrix.tobytes()


def test_vectors_of_unit_length_are_written_with_at_most_nine_digits() -> None:
    """What services send, in bulk: 153,600 components, none of them longer."""
    matrix = np.random.default_rng(0).standard_normal((100, 1536)).astype(np.float32) / 40
    found = as_written(matrix)
    assert max(len(repr(value).partition("e")[0].lstrip("-0.")) for value in found[0]) <= 9
    assert np.array_equal(np.array(found, dtype=np.float32), matrix)
    sample = [(row, column) for row in range(100) for column in range(0, 1536, 97)]
    assert all(found[i][j] == float(str(matrix[i, j])) for i, j in sample)


def test_what_is_no_number_stays_what_it_is() -> None:
    """NaN, the infinities and both zeros."""
    values = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0]], dtype=np.float32)
    ((nan, *infinities, zero, minus),) = as_written(values)
    assert math.isnan(nan)
    assert infinities == [math.inf, -math.inf]
    assert (math.copysign(1, zero), math.copysign(1, minus)) == (1, -1)
