"""A Redis behind TLS, reached by `rediss://`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from support.redis_server import RedisServer
from support.tls import TlsFront

from pytest_embedcache.errors import StoreError
from pytest_embedcache.testing.contracts import MODEL, equal, items_of, key_of
from pytest_embedcache.vectors.redis import RedisStore


@pytest.fixture
def front(tmp_path: Path) -> Iterator[TlsFront]:
    server = RedisServer("--requirepass", "s3cret")
    try:
        front = TlsFront(server.start().socket, tmp_path)
        yield front
        front.close()
    finally:
        server.close()


def test_vectors_go_through_tls_and_only_to_whom_the_url_trusts(
    front: TlsFront, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that nobody vouches for gets nothing, and no message has the password."""
    trusted = f"ssl_ca_certs={quote(str(front.certificate))}"
    store = RedisStore(f"rediss://:s3cret@localhost:{front.port}/2?{trusted}", timeout=10)
    stranger = RedisStore(f"rediss://:s3cret@localhost:{front.port}/2", timeout=10)
    with caplog.at_level(logging.INFO, logger="pytest_embedcache"):
        assert store.put_many(MODEL, items_of(*range(200))) == {}
        assert equal(store.get_many(MODEL, [key_of(n) for n in range(200)]), items_of(*range(200)))
        store.close()
        with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED") as refused:
            stranger.get_many(MODEL, [key_of(0)])
        stranger.close()
    assert f"Redis at localhost:{front.port}/2 connected" in caplog.text
    assert "s3cret" not in f"{caplog.text}{store!r}{refused.value}"
