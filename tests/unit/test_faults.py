"""Misbehaviour comes at the call that was said, and at no other."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import numpy as np
import pytest
from support.toys import DEADLOCK, start

from pytest_embedcache.testing.fake_model import FakeEmbeddingModel
from pytest_embedcache.testing.faults import Faults, RateLimited

TEXTS = ["a", "b", "c"]


@pytest.fixture
def model() -> FakeEmbeddingModel:
    return FakeEmbeddingModel(kind="hash", dimension=4)


def test_an_error_comes_at_the_nth_call(model: FakeEmbeddingModel) -> None:
    """And as often as was asked for; the calls around it are answered."""
    right = model.encode(TEXTS)
    model.faults.fail(ConnectionError("reset"), call=2, times=2)
    assert np.array_equal(model.encode(TEXTS), right)
    for _ in range(2):
        with pytest.raises(ConnectionError, match="reset"):
            model.encode(TEXTS)
    assert np.array_equal(model.encode(TEXTS), right)
    assert model.batch_sizes == [3] * 5


def test_a_rate_limit_says_when_to_come_back(model: FakeEmbeddingModel) -> None:
    """In the places where clients look for it."""
    model.faults.rate_limit(2.5)
    with pytest.raises(RateLimited, match=r"429 .* Retry-After: 2\.5") as caught:
        model.encode(TEXTS)
    error = caught.value
    assert (error.status_code, error.retry_after) == (429, 2.5)
    assert error.response.headers["retry-after"] == "2.5"
    assert pickle.loads(pickle.dumps(error)).retry_after == 2.5
    assert model.encode(TEXTS).shape == (3, 4)


SHAPES: dict[str, tuple[Callable[[Faults], object], Callable[[np.ndarray], np.ndarray]]] = {
    "fewer": (lambda faults: faults.fewer_rows(), lambda rows: rows[:2]),
    "many fewer": (lambda faults: faults.fewer_rows(2), lambda rows: rows[:1]),
    "reordered": (lambda faults: faults.reorder_rows(), lambda rows: rows[::-1]),
    "narrow": (lambda faults: faults.wrong_dimension(), lambda rows: rows[:, :3]),
    "wide": (
        lambda faults: faults.wrong_dimension(2),
        lambda rows: np.pad(rows, ((0, 0), (0, 2))),
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_answers_come_out_wrong(model: FakeEmbeddingModel, name: str) -> None:
    """In one call, and right again in the next."""
    ask, wrong = SHAPES[name]
    right = model.encode(TEXTS)
    ask(model.faults)
    assert np.array_equal(model.encode(TEXTS), wrong(right))
    assert np.array_equal(model.encode(TEXTS), right)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_number_can_be_none(model: FakeEmbeddingModel, value: float) -> None:
    """In the row that was said alone."""
    model.faults.not_finite(1, value)
    rows = model.encode(TEXTS)
    assert np.isfinite(rows).all(axis=1).tolist() == [True, False, True]
    assert np.isfinite(model.encode(TEXTS)).all()


def test_faults_of_one_call_add_up(model: FakeEmbeddingModel) -> None:
    """In the order in which they were asked for."""
    right = model.encode(TEXTS)
    model.faults.reorder_rows()
    model.faults.fewer_rows()
    assert np.array_equal(model.encode(TEXTS), right[::-1][:2])


def test_a_hang_ends_when_it_is_released(model: FakeEmbeddingModel) -> None:
    """The test learns that a call is in there; other calls are answered meanwhile."""
    hold = model.faults.hang()
    hanging = start(lambda: model.encode("a"))
    assert hold.reached.wait(DEADLOCK)
    assert model.encode(TEXTS).shape == (3, 4)
    assert not hanging.done()
    hold.release()
    assert hanging.result(DEADLOCK).shape == (4,)


def test_a_delay_waits_for_the_test_not_for_the_clock(model: FakeEmbeddingModel) -> None:
    """An hour is over when it is released; a clock that is given gets the seconds."""
    hold = model.faults.delay(3600)
    slow = start(lambda: model.encode("a"))
    assert hold.reached.wait(DEADLOCK)
    hold.release()
    assert slow.result(DEADLOCK).shape == (4,)

    waited: list[float] = []
    model.faults.delay(1.5, wait=waited.append)
    model.encode("a")
    assert waited == [1.5]


def test_a_delay_that_nobody_releases_passes(model: FakeEmbeddingModel) -> None:
    """After its seconds, of which there are next to none here."""
    model.faults.delay(0.001)
    assert model.encode("a").shape == (4,)


def test_a_hang_that_nobody_releases_is_an_error(model: FakeEmbeddingModel) -> None:
    """So that no suite stands still for ever; after a minute, here sooner."""
    model.faults.hang(limit=0.001)
    with pytest.raises(TimeoutError, match=r"nobody released it: call release\(\)"):
        model.encode("a")


def test_the_end_of_a_test_releases_everybody(model: FakeEmbeddingModel) -> None:
    """And what was planned for later calls is forgotten."""
    hold = model.faults.hang()
    model.faults.fail(OSError("never"), call=2)
    hanging = start(lambda: model.encode("a"))
    assert hold.reached.wait(DEADLOCK)
    model.spy.end()
    assert hanging.result(DEADLOCK).shape == (4,)
    assert model.encode("a").shape == (4,)


def test_calls_count_from_one(model: FakeEmbeddingModel) -> None:
    """The call before the next has been made already."""
    with pytest.raises(ValueError, match="count from 1"):
        model.faults.fail(OSError(), call=0)
    with pytest.raises(ValueError, match="count from 1"):
        model.faults.fewer_rows(times=0)
