"""`--embedcache-strategy`, its ini key, its variable, and the marker."""

from __future__ import annotations

from support.suites import Suite, complaints, outcome


def test_a_run_has_a_strategy_and_a_test_its_own(suite: Suite) -> None:
    """By the option a model loads though no text needs it, in fixtures and in code under test;
    by the marker another one does not."""
    suite.write(
        test_it="""
            import pytest
            from pytest_embedcache import get_model
            from pytest_embedcache.models import background

            def test_fixture(embedding_model):
                assert background.wait(60)
                assert embedding_model.is_loaded

            def test_code_under_test():
                model = get_model("of-the-code")
                assert background.wait(60)
                assert model.is_loaded

            @pytest.mark.embedcache(model="marked", strategy="lazy")
            def test_marked(embedding_model, embedding_model_factory):
                embedding_model_factory("made", strategy="lazy")
                assert background.wait(60)
                assert not embedding_model.is_loaded
        """
    )
    result = suite.run("--embedcache-strategy=background")
    text = complaints(result)
    assert outcome(result) == {"passed": 3}
    assert "strategy" in text
    assert {words[1] for words in suite.noted()} == {"all-MiniLM-L6-v2", "of-the-code"}


def test_the_environment_sets_both_and_a_run_obeys(suite: Suite) -> None:
    """A variable is a setting like any other: loaded without a text, and gone after the first."""
    suite.write(
        test_it="""
            from pytest_embedcache.models import background

            def test_it(embedding_model, model_registry):
                assert background.wait(60)
                assert embedding_model.is_loaded
                embedding_model.encode(["a"])
                assert not embedding_model.is_loaded
                assert model_registry.idle_timeout == 0
        """
    )
    result = suite.run(EMBEDCACHE_STRATEGY="progressive", EMBEDCACHE_MODEL_TIMEOUT="0")
    complaints(result)
    assert outcome(result) == {"passed": 1}
