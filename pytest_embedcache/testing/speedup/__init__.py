"""A speed-up that is asserted: both sides measured in one run, until the answer is sure."""

from pytest_embedcache.testing.speedup.gate import measure, speedup
from pytest_embedcache.testing.speedup.result import Outcome, Speedup

__all__ = ["Outcome", "Speedup", "measure", "speedup"]
