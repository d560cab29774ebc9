"""How long a model takes, stage by stage, in fresh processes; `embedcache gate` reads the file."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

from pytest_embedcache.models.machine import describe_machine
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.testing.speedup.child import STAGES, run_child

__all__ = ["profile_model"]


def profile_model(
    spec: ModelSpec,
    strategy: str,
    *,
    rounds: int,
    directory: str | None = None,
    child: Callable[[ModelSpec, str | None], dict[str, Any]] = run_child,
) -> dict[str, Any]:
    """The file's content: of each stage the median of `rounds` processes, and all seconds.

    One process more goes first and is not counted: it fetches and prepares what is not there, and
    the operating system has read the files. `strategy` is the name of what decided the spec.

    Raises `ModelLoadError`, as a process's last words.
    """
    child(spec, directory)
    found = [child(spec, directory) for _ in range(rounds)]
    samples = {stage: [one[stage] for one in found] for stage in STAGES}
    return {
        "format": 1,
        "machine": describe_machine(),
        "model": found[0]["name"],
        "strategy": strategy,
        "backend": spec.backend,
        "form": spec.form,
        "device": spec.device,
        "stages": {
            stage: {"median": statistics.median(seconds), "seconds": seconds}
            for stage, seconds in samples.items()
        },
    }
