"""`--embedcache-dropin` on the real library and the real model, in a suite as people write them."""

from __future__ import annotations

from pathlib import Path

from support.suites import Suite, complaints, needs_torch, outcome

pytestmark = needs_torch

SUITE = """
    import importlib.util
    import sys
    import unittest
    import warnings

    import pytest
    import sentence_transformers
    from sentence_transformers import SentenceTransformer, util

    made_early = SentenceTransformer("all-MiniLM-L6-v2")
    NAMES = ["all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"]

    @pytest.fixture(scope="module", params=NAMES)
    def model(request):
        return SentenceTransformer(request.param, device="cpu")

    def test_meaning(model):
        cat, kitten, revenue = model.encode(["a cat", "a kitten", "quarterly revenue"])
        assert cat @ kitten > cat @ revenue
        assert cat.shape == (384,) == (model.get_embedding_dimension(),)
        assert (made_early.encode("a cat") == cat).all()

    class TestOfUnittest(unittest.TestCase):
        def test_scans_of_all_modules(self):
            with self.assertWarns(UserWarning):
                warnings.warn("a warning")

        def test_it_is_installed(self):
            self.assertIsNotNone(importlib.util.find_spec("sentence_transformers"))
            self.assertTrue(sentence_transformers.__version__[0].isdigit())
"""
NO_TORCH = """
    def test_nothing_was_imported():
        assert "torch" not in sys.modules
        assert "transformers" not in sys.modules
"""
WITH_TORCH = """
    def test_a_part_of_a_model():
        import torch

        class Whole(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.encoder = SentenceTransformer("all-MiniLM-L6-v2", device="cpu")

        whole = Whole()
        assert "transformers" not in sys.modules  # it is known to be a module without the library
        assert dict(whole.named_children()) == {"encoder": whole.encoder}
        assert whole.encoder.encode("a cat").shape == (384,)
        assert sum(p.numel() for p in whole.parameters()) > 20_000_000
        assert isinstance(whole.encoder, SentenceTransformer)
        assert util.cos_sim(made_early.encode("a cat"), whole.encoder.encode("a cat")) > 0.9999
        assert type(made_early) is SentenceTransformer is not type(whole.encoder)
"""


def test_cold_then_warm_then_real(real_suite: Suite, minilm_in_hub_cache: Path) -> None:
    """One load for all objects of the model; warm no torch, serially and on workers; and where a
    real model is needed in a warm run, there is one."""
    arguments = ("--embedcache-dropin", "-p", "no:randomly")
    real_suite.write(test_it=SUITE)
    cold = real_suite.counts(*arguments)["totals"]
    assert (cold["loads"], cold["computed"]) == (1, 3)
    real_suite.write(test_it=SUITE + NO_TORCH)
    for more in ((), ("-n", "2")):
        result = real_suite.run(*arguments, *more)
        assert outcome(result) == {"passed": 5}, complaints(result)
    real_suite.write(test_it=SUITE + WITH_TORCH)
    result = real_suite.run(*arguments)
    assert outcome(result) == {"passed": 5}, complaints(result)
    assert "became a real one, whose vectors are not stored" in complaints(result)
