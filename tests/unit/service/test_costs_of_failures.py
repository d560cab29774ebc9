"""A call that fails on the way: what was paid for until then is counted, and is kept."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import numpy as np
import pytest
from support.own_defaults import own_defaults

from pytest_embedcache import get_model
from pytest_embedcache.errors import EncodeError, ProviderError
from pytest_embedcache.service.embedder import EmbedderService
from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fake_openai import FakeOpenAI, fake_openai
from pytest_embedcache.vectors.api import default_cache

pytest.importorskip("openai")

SMALL = "text-embedding-3-small"
#: US dollars for a token.
PRICE = Decimal("0.00000002")
#: More than one request may carry, and less than a batch of the table: two requests, 36 and 4.
TEXTS = [f"{number:02} {'long ' * 1700}" for number in range(40)]


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    """Its second answer is an error that asking again does not mend."""
    with own_defaults(), fake_openai() as found:
        found.reorder_next()
        found.fail_next(400)
        yield found


@pytest.fixture
def service(fake: FakeOpenAI) -> Iterator[EmbedderService]:
    with EmbedderService() as found:
        yield found


def test_requests_that_were_answered_before_one_that_was_not_are_paid_once(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """Counted when they were answered, and stored: the next try sends what is missing."""
    with pytest.raises(ProviderError) as caught:
        service.sync.embed_batch(TEXTS)
    assert caught.value.status == 400
    assert fake.batch_sizes == [36]
    spent = fake.tokens
    assert service.get_metrics()["total_tokens"] == spent > 0
    assert service.get_metrics()["total_cost_usd"] == spent * PRICE
    again = service.sync.embed_batch(TEXTS)
    assert (again.cached_count, fake.batch_sizes) == (36, [36, 4])
    assert again.cost == (fake.tokens - spent) * PRICE
    assert service.get_metrics()["total_cost_usd"] == fake.tokens * PRICE
    right = np.stack([fake_vector(SMALL, text, 1536) for text in TEXTS])
    assert np.array_equal(again.embeddings, right)


def test_they_are_paid_also_where_nothing_is_stored(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """`use_cache=False` computes anew, and that costs."""
    with pytest.raises(ProviderError):
        service.sync.embed_batch(TEXTS, use_cache=False)
    assert service.get_metrics()["total_tokens"] == fake.tokens > 0
    assert service.get_metrics()["total_embeddings_generated"] == 36


def test_a_model_without_a_service_keeps_them_too(fake: FakeOpenAI) -> None:
    """`get_model(…).encode` stores, and counts, request by request."""
    model = get_model(SMALL, backend="openai")
    with pytest.raises(ProviderError):
        model.encode(TEXTS)
    tally = default_cache().tallies.as_dict()[SMALL]
    assert (tally["computed"], tally["billed"], tally["tokens"]) == (36, 36, fake.tokens)
    model.encode(TEXTS)
    assert fake.batch_sizes == [36, 4]


def test_an_answer_without_vectors_is_paid_all_the_same(fake: FakeOpenAI) -> None:
    """Whatever the rows are: the provider has counted its tokens."""
    fake.next_fault(), fake.next_fault()
    fake.fewer_rows_next()
    with EmbedderService() as service:
        with pytest.raises(EncodeError):
            service.sync.embed_batch(["a cat", "a dog"])
        assert service.get_metrics()["total_tokens"] == fake.tokens == 4
