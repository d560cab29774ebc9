"""The fixture `fake_openai`, as a suite has it."""

from __future__ import annotations

import pytest
from support.suites import Suite, outcome

pytest.importorskip("openai")


def test_a_suite_gets_a_service_for_each_test(suite: Suite) -> None:
    """The twin is the same service, the next test's is another; nothing of it is left behind."""
    suite.write(
        test_it="""
        import os
        import threading

        SMALL = "text-embedding-3-small"
        seen = []

        def test_one(fake_openai, embedcache_fake_openai):
            assert fake_openai is embedcache_fake_openai
            import openai  # in the test: the fixture needs no package
            client = openai.OpenAI()
            client.embeddings.create(model=SMALL, input=["a", "b"])
            client.close()
            assert fake_openai.texts == ["a", "b"]
            seen.append(fake_openai.base_url)

        def test_two(embedcache_fake_openai):
            client = embedcache_fake_openai.client()
            client.embeddings.create(model=SMALL, input="c")
            assert embedcache_fake_openai.texts == ["c"]
            seen.append(embedcache_fake_openai.base_url)

        def test_afterwards():
            assert len(set(seen)) == 2
            assert "OPENAI_BASE_URL" not in os.environ
            assert "fake-openai" not in {thread.name for thread in threading.enumerate()}
        """
    )
    result = suite.run("-p", "embedcache", "-p", "no:randomly")
    assert outcome(result) == {"passed": 3}, result.stdout.str()
    assert "= embedcache =" not in result.stdout.str()
