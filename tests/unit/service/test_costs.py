"""What texts cost and would have cost, exactly: the real client, and a fake of OpenAI."""

from __future__ import annotations

import decimal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.own_defaults import own_defaults
from support.serving import eventually
from support.toys import DEADLOCK

from pytest_embedcache.errors import EmptyTextError, EncodeError, ModelLoadError, ProviderError
from pytest_embedcache.models.openai.answers import apportioned, estimated_tokens
from pytest_embedcache.service.embedder import EmbedderService
from pytest_embedcache.service.pricing import add_costs, cost_of
from pytest_embedcache.testing.fake_model import fake_vector
from pytest_embedcache.testing.fake_openai import FakeOpenAI, fake_openai

SMALL = "text-embedding-3-small"
#: US dollars for a token.
PRICE = Decimal("0.00000002")


@pytest.fixture
def fake() -> Iterator[FakeOpenAI]:
    pytest.importorskip("openai")
    with own_defaults(), fake_openai() as found:
        yield found


@pytest.fixture
def service(fake: FakeOpenAI) -> Iterator[EmbedderService]:
    with EmbedderService() as found:
        yield found


def expected(*texts: str) -> np.ndarray:
    return np.stack([fake_vector(SMALL, text, 1536) for text in texts])


# ----------------------------------------------------------------------------------- arithmetic


@settings(max_examples=30)
@given(st.integers(0, 10**12), st.decimals(0, 10, places=9))
def test_a_cost_is_exact(tokens: int, price: Decimal) -> None:
    """To the last digit, in whatever context the application computes."""
    with decimal.localcontext() as context:
        context.prec = 60
        exact = tokens * price / 1000
        context.prec = 3
        assert cost_of(tokens, price) == exact
        total = Decimal(0)
        for _ in range(3):
            total = add_costs(total, cost_of(tokens, price) or Decimal(0))
    with decimal.localcontext() as context:
        context.prec = 60
        assert total == 3 * exact


def test_a_price_that_is_not_known_is_not_nothing() -> None:
    """But what was not sent cost nothing at any price."""
    assert cost_of(7, None) is None
    assert cost_of(0, None) == 0
    assert cost_of(7, Decimal(0)) == 0


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.lists(st.text(max_size=9), min_size=1, max_size=9))
def test_shares_add_up_to_the_whole(tokens: int, texts: list[str]) -> None:
    """Each within a token of what its length says."""
    shares = apportioned(tokens, texts)
    assert sum(shares) == tokens
    whole = sum(max(1, len(text)) for text in texts)
    for share, text in zip(shares, texts, strict=True):
        assert abs(share - tokens * max(1, len(text)) / whole) < 1


def test_an_estimate_is_a_token_for_four_characters() -> None:
    """Rounded up."""
    assert [estimated_tokens(text) for text in ("", "a", "four", "fifth")] == [0, 1, 1, 2]


# ----------------------------------------------------------------------------------- a call


def test_what_the_provider_counted_is_what_it_cost(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """Not an estimate of ours; and a hit costs nothing."""
    fake.count_tokens = lambda text: 11
    first = service.sync.embed_text("a cat")
    assert (first.tokens, first.cost, first.is_estimate) == (11, 11 * PRICE, False)
    assert (first.saved_tokens, first.saved) == (0, 0)
    again = service.sync.embed_text("a cat")
    assert (again.tokens, again.cost, again.is_estimate) == (0, 0, False)
    assert (again.saved_tokens, again.saved) == (2, 2 * PRICE)
    assert fake.texts == ["a cat"]
    assert np.array_equal(again.embedding, expected("a cat")[0])


def test_a_partly_cached_batch_pays_for_what_was_sent(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """A text that is in it twice is sent once; spent and saved are apart."""
    service.sync.embed_batch(["a cat", "a dog"])
    before = fake.tokens
    texts = ["a cat", "a bird that sings", "a dog", "a bird that sings"]
    batch = service.sync.embed_batch(texts)
    assert np.array_equal(batch.embeddings, expected(*texts))
    assert fake.texts == ["a cat", "a dog", "a bird that sings"]
    assert batch.cached_count == 2
    assert batch.tokens == fake.tokens - before == 5
    assert (batch.cost, batch.saved) == (5 * PRICE, 4 * PRICE)


def test_a_large_batch_is_sent_by_the_batch_size(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """That of the table, or of the call; the sum is what all requests counted."""
    batch = service.sync.embed_batch([f"text {i}" for i in range(250)])
    assert sorted(fake.batch_sizes) == [50, 100, 100]
    assert batch.tokens == fake.tokens
    assert not batch.is_estimate
    fake.requests.clear()
    service.sync.embed_batch([f"other {i}" for i in range(7)], batch_size=3)
    assert sorted(fake.batch_sizes) == [1, 3, 3]


def test_calls_that_share_a_request_share_what_it_cost(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """By length, marked as an estimate; together it is what the provider counted."""
    fake.count_tokens = lambda text: 7
    hang = fake.hang_next()
    with ThreadPoolExecutor(9) as pool:
        # As many requests as may be under way, so that who comes now has to wait.
        fake.delay = 0
        first = pool.submit(service.sync.embed_text, "first")
        assert hang.reached.wait(DEADLOCK)
        service._calls.models.all()[0].lane("document", 100, True)._at_once = 1
        one = pool.submit(service.sync.embed_text, "short")
        other = pool.submit(service.sync.embed_text, "rather longer than short")
        eventually(lambda: service.queued == 2)
        hang.release()
        found = [one.result(DEADLOCK), other.result(DEADLOCK)]
        assert not first.result(DEADLOCK).is_estimate
    assert fake.batch_sizes == [1, 2]
    assert sum(result.tokens for result in found) == 14
    assert found[0].tokens < found[1].tokens
    assert all(result.is_estimate for result in found)
    metrics = service.get_metrics()
    assert (metrics["total_tokens"], metrics["estimated_tokens"]) == (21, 0)
    assert metrics["total_cost_usd"] == 21 * PRICE


def test_without_usage_it_is_an_estimate_and_says_so(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """A token for four characters."""
    fake.count_tokens = lambda text: 0
    found = service.sync.embed_text("twelve chars")
    assert (found.tokens, found.cost, found.is_estimate) == (3, 3 * PRICE, True)
    assert service.get_metrics()["estimated_tokens"] == 3


def test_a_price_that_is_not_in_the_table_is_unknown(fake: FakeOpenAI, tmp_path: Path) -> None:
    """Cost and saving are None, and the tokens without a price are counted."""
    fake.models["theirs"] = 16
    file = tmp_path / "models.toml"
    file.write_text('[models.mine]\nbackend = "openai"\nmodel = "theirs"\n')
    with EmbedderService(models_file=file) as service:
        first, again = (service.sync.embed_text("a cat", model="mine") for _ in range(2))
        assert (first.cost, first.tokens, first.dimension) == (None, 2, 16)
        assert (again.cost, again.saved) == (0, None)
        metrics = service.get_metrics()
        assert (metrics["total_cost_usd"], metrics["unpriced_tokens"]) == (0, 2)


def test_an_empty_text_is_an_error_and_nothing_is_sent(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """Of the batch, which is never shortened: what was left out would move the rows."""
    with pytest.raises(EmptyTextError) as caught:
        service.sync.embed_batch(["a", "", "b"])
    assert caught.value.position == 1
    assert fake.requests == []


def test_a_text_that_the_provider_refuses_fails_alone(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """One that is too long fails its own call, not those that were in its request."""
    fake.count_tokens = lambda text: 9000 if text == "long" else 1
    hang = fake.hang_next()
    with ThreadPoolExecutor(3) as pool:
        pool.submit(service.sync.embed_text, "first")
        assert hang.reached.wait(DEADLOCK)
        service._calls.models.all()[0].lane("document", 100, True)._at_once = 1
        good = pool.submit(service.sync.embed_text, "good")
        bad = pool.submit(service.sync.embed_text, "long")
        eventually(lambda: service.queued == 2)
        hang.release()
        assert np.array_equal(good.result(DEADLOCK).embedding, expected("good")[0])
        with pytest.raises(ProviderError) as caught:
            bad.result(DEADLOCK)
    assert caught.value.status == 400


def test_requests_to_an_api_run_beside_each_other(
    fake: FakeOpenAI, service: EmbedderService
) -> None:
    """A text does not wait for the answer to another's request."""
    hang = fake.hang_next()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(service.sync.embed_text, "slow")
        assert hang.reached.wait(DEADLOCK)
        assert np.array_equal(service.sync.embed_text("quick").embedding, expected("quick")[0])
        assert not slow.done()
        hang.release()
        assert np.array_equal(slow.result(DEADLOCK).embedding, expected("slow")[0])


def test_a_key_of_its_own_is_the_one_that_is_sent(
    fake: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two services with two keys do not use each other's."""
    monkeypatch.delenv("OPENAI_API_KEY")
    with (
        EmbedderService(openai_api_key="wrong") as wrong,
        EmbedderService(openai_api_key=fake.api_key) as right,
    ):
        with pytest.raises(ProviderError) as caught:
            wrong.sync.embed_text("a")
        assert caught.value.status == 401
        assert right.sync.embed_text("a").dimension == 1536
        with pytest.raises(ProviderError):
            wrong.sync.embed_text("b")


def test_an_answer_of_another_dimension_than_its_rows_is_not_stored(
    fake: FakeOpenAI, tmp_path: Path
) -> None:
    """Each try asks again, and fails: what is in no store can come out of none."""
    fake.models["theirs"] = 16
    file = tmp_path / "models.toml"
    file.write_text('[models.mine]\nbackend = "openai"\nmodel = "theirs"\ndimension = 24\n')
    with EmbedderService(models_file=file) as service:
        for tries in (1, 2):
            with pytest.raises(EncodeError):
                service.sync.embed_text("a cat", model="mine")
            assert len(fake.requests) == tries


def test_rows_with_keys_of_their_own_send_each_its_own(
    fake: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One model under two names is two accounts; a key that is not set is no other's."""
    fake.models["theirs"] = 16
    file = tmp_path / "models.toml"
    rows = '[models.{0}]\nbackend = "openai"\nmodel = "theirs"\nkey_variable = "{0}_KEY"\n'
    file.write_text(rows.format("a") + rows.format("b") + rows.format("c"))
    monkeypatch.setenv("a_KEY", "wrong")
    monkeypatch.setenv("b_KEY", fake.api_key)
    with EmbedderService(models_file=file) as service:
        with pytest.raises(ProviderError):
            service.sync.embed_text("a cat", model="a")
        assert service.sync.embed_text("a cat", model="b").dimension == 16
        # What is stored needs no key.
        assert service.sync.embed_text("a cat", model="c").cached
        with pytest.raises(ModelLoadError, match="c_KEY is not set"):
            service.sync.embed_text("a dog", model="c")
