"""Asks a running `embedcache serve`, with Python's own HTTP client and, where it is, with OpenAI's.

    redis-server examples/service/redis.conf
    EMBEDCACHE_REDIS_URL=redis://127.0.0.1:6379 embedcache serve
    python examples/service/client.py http://127.0.0.1:8000

A server that asks for a token finds it in EMBEDCACHE_TOKEN.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from typing import Any

import numpy as np

TEXTS = ["a cat sleeps in the sun", "a kitten naps", "quarterly revenue rose"]


def ask(base: str, path: str, body: dict[str, Any] | None = None) -> tuple[bytes, Any]:
    """The answer's content and headers."""
    headers = {"Content-Type": "application/json"}
    if token := os.environ.get("EMBEDCACHE_TOKEN"):
        headers["Authorization"] = f"Bearer {token}"
    content = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(base.rstrip("/") + path, content, headers)
    with urllib.request.urlopen(request, timeout=120) as answer:
        return answer.read(), answer.headers


def main(base: str) -> None:
    batch = json.loads(ask(base, "/embed/batch", {"texts": TEXTS})[0])
    cat, kitten, revenue = np.array(batch["embeddings"], dtype=np.float32)
    print(f"model: {batch['model']}, {batch['dimension']} dimensions")
    print(f"cat and kitten are closer than cat and revenue: {cat @ kitten > cat @ revenue}")

    again, headers = ask(base, "/embed/raw", {"texts": TEXTS})
    rows = np.frombuffer(again, "<f4").reshape(-1, int(headers["X-Embedcache-Dimension"]))
    print(f"the second time, found: {headers['X-Embedcache-Cached']} of {len(rows)}")
    print(f"the raw rows are the same: {np.array_equal(rows[0], cat)}")

    try:
        from openai import OpenAI
    except ImportError:
        return
    token = os.environ.get("EMBEDCACHE_TOKEN") or "no key is needed"
    with OpenAI(base_url=f"{base.rstrip('/')}/v1", api_key=token) as client:
        answer = client.embeddings.create(model=batch["model"], input=TEXTS)
    same = np.array_equal(np.array(answer.data[0].embedding, dtype=np.float32), cat)
    print(f"the openai client has the same: {same}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8000")
