"""Every process of a run notes its peak memory and whether it imported torch, and ends."""

import json
import os
import resource
import sys
from pathlib import Path


def pytest_sessionfinish(session):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB; on macOS bytes
    facts = {
        "peak_mb": peak / (1e6 if sys.platform == "darwin" else 1e3),
        "torch": "torch" in sys.modules,
    }
    Path(os.environ["BENCH_FACTS"], f"{worker}.json").write_text(json.dumps(facts))
