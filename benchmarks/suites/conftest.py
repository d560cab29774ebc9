"""Every process of a run notes its peak memory and whether it imported torch, and ends."""

import json
import os
import resource
import sys
from pathlib import Path


def pytest_sessionfinish(session):
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    facts = {"peak_mb": peak_mb(), "torch": "torch" in sys.modules}
    Path(os.environ["BENCH_FACTS"], f"{worker}.json").write_text(json.dumps(facts))


def peak_mb():
    """Megabytes that were resident at once in this process."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not ru_maxrss: on Linux that has the peak of the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) * 1024 / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kB; on macOS bytes
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
