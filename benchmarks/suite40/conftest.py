"""With BENCHMARK_PLAIN the suite is as people write it without the plugin.

BENCHMARK_REPORT names a directory in which each process leaves what it weighs at its end.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

if os.environ.get("BENCHMARK_PLAIN"):

    @pytest.fixture(scope="session")
    def embedding_model() -> Any:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer("all-MiniLM-L6-v2", device="cpu")


if folder := os.environ.get("BENCHMARK_REPORT"):

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(session: pytest.Session) -> None:
        worker = getattr(session.config, "workerinput", {}).get("workerid")
        report = {"worker": worker, "torch": "torch" in sys.modules, **_memory()}
        Path(folder, f"{os.getpid()}.json").write_text(json.dumps(report), encoding="ascii")

    def _memory() -> dict[str, float]:
        """Resident megabytes now, and at the most; empty where the system does not tell."""
        status = Path("/proc/self/status")
        if not status.exists():
            return {}
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        names = {"resident": "VmRSS", "peak": "VmHWM"}
        return {name: int(lines[field].split()[0]) / 1024 for name, field in names.items()}
