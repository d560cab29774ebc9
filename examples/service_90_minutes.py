#!/usr/bin/env python3
"""90 minutes of a service: 84 loads become 12.

Simulated: the clock, and the processes. 4 workers, each replaced by a fresh one every 30 minutes
(as servers do against leaks), make 12 processes. In each of them 7 components come to need the
model, the last after 20 minutes, and from then on use it every minute. A simulated process is a
registry of its own: nothing is shared between two.

Real: every load, and the first vector of every component. First the components load for themselves,
as they do when nothing keeps them from it; then they ask their process's registry.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from embedding_manager import EmbeddingManager
from scenario import Scenario, duration, run

from pytest_embedcache import ModelRegistry, ModelSpec

MINUTES = 90
WORKERS = 4
LIFETIME = 30
#: Component -> the minute of its process in which it first needs the model.
COMPONENTS = {
    "search": 0,
    "health check": 1,
    "import": 2,
    "duplicate check": 5,
    "memory": 9,
    "ranking": 14,
    "summary": 20,
}


class Clock:
    """Minutes since the service started."""

    def __init__(self) -> None:
        self.now = 0

    def advance(self, minutes: int) -> None:
        self.now += minutes


@dataclass
class Process:
    """One life of a worker process: its components, and how they get a model."""

    started: int
    get: Callable[[], Any]
    have_one: set[str] = field(default_factory=set)


@dataclass
class Service:
    """`new_process` returns how components of one process get the model."""

    clock: Clock
    new_process: Callable[[], Callable[[], Any]]
    processes: list[Process | None] = field(default_factory=lambda: [None] * WORKERS)
    started: int = 0
    requests: int = 0
    #: Seconds that components really waited for the model.
    waited: float = 0.0

    def minute(self) -> None:
        """Everything that happens in one minute."""
        for slot, process in enumerate(self.processes):
            if process is None or self.clock.now - process.started >= LIFETIME:
                process = self.processes[slot] = Process(self.clock.now, self.new_process())
                self.started += 1
            for component, first in COMPONENTS.items():
                if self.clock.now - process.started >= first:
                    self.request(process, component)

    def request(self, process: Process, component: str) -> None:
        self.requests += 1
        if component in process.have_one:
            return
        process.have_one.add(component)
        start = time.perf_counter()
        model = process.get()
        self.waited += time.perf_counter() - start
        model.encode(f"The first text of the {component}.", show_progress_bar=False)
        # A component would keep its model. 28 of them at once are 3 GB, of which nothing is learned
        # here: those that no registry keeps are let go.
        del model
        gc.collect()


def simulate(new_process: Callable[[], Callable[[], Any]]) -> Service:
    """Run the service through its minutes."""
    clock = Clock()
    service = Service(clock, new_process)
    while clock.now < MINUTES:
        service.minute()
        clock.advance(1)
    return service


def service_90_minutes(scenario: Scenario) -> str:
    spec = ModelRegistry().resolve(ModelSpec(scenario.model, device="cpu"))
    import sentence_transformers

    gc.freeze()  # what was imported stays: no collection above has to walk over it
    loaded: list[int] = []

    def load() -> Any:
        loaded.append(1)
        return sentence_transformers.SentenceTransformer(spec.path, device="cpu")

    registries: list[ModelRegistry] = []

    def with_registry() -> Callable[[], Any]:
        registry = ModelRegistry()
        registries.append(registry)
        for gone in registries[:-WORKERS]:
            gone.clear()  # its process was replaced; the counts stay
        return lambda: EmbeddingManager({"model": scenario.model}, registry=registry).model

    each = simulate(lambda: load)
    shared = simulate(with_registry)
    loads = sum(registry.stats().loads for registry in registries)

    scenario.count("processes", shared.started, 12)
    scenario.same("the requests that both served", each.requests == shared.requests)
    print(f"  requests: {shared.requests}")
    scenario.count("loads, each component for itself", len(loaded), 84)
    scenario.count("loads, one registry per process", loads, 12)
    print(f"  waited for them: {duration(each.waited)}, and {duration(shared.waited)}")
    return f"{len(loaded)} loads became {loads} in {MINUTES} simulated minutes"


if __name__ == "__main__":
    run(service_90_minutes, about=__doc__)
