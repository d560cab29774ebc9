"""Twenty consumers of one model against one."""

from __future__ import annotations

import gc
import statistics

from benchmarks.harness import Report, Target, in_turns, ratio, seconds_of
from examples.embedding_manager import EmbeddingManager
from examples.real_model import real_model
from pytest_embedcache import ModelRegistry, ModelSpec

CONSUMERS = 20
MS = 1e3


def run(*, quick: bool = False) -> Report:
    from sentence_transformers import SentenceTransformer

    gc.freeze()
    with real_model() as name:
        path = ModelRegistry().resolve(ModelSpec(name, device="cpu")).path

        def consume(count: int) -> float:
            gc.collect()
            registry = ModelRegistry()

            def all_of_them() -> None:
                for _ in range(count):
                    _ = EmbeddingManager({"model": name}, registry=registry).model

            return seconds_of(all_of_them)

        def without(count: int) -> float:
            gc.collect()

            def all_of_them() -> None:
                for _ in range(count):
                    SentenceTransformer(path, device="cpu")

            return seconds_of(all_of_them)

        one, many = "one consumer", f"{CONSUMERS} consumers"
        alone = f"{CONSUMERS} consumers without a registry"
        consume(1)
        samples = in_turns(
            {
                one: lambda: consume(1),
                many: lambda: consume(CONSUMERS),
                alone: lambda: without(2 if quick else CONSUMERS),
            },
            2 if quick else 21,
        )
    report = Report(
        f"consumers: {CONSUMERS} of one model",
        ("ms (median)", "of one load", "95 % interval"),
    )
    for label, values in samples.items():
        times, low, high = ratio(values, samples[one])
        report.row(
            label,
            f"{statistics.median(values) * MS:.1f}",
            f"{times:.3f} x",
            f"{low:.3f} to {high:.3f}",
        )
    times, low, high = ratio(samples[many], samples[one])
    report.targets.append(Target(many, 1.1, times, "loads", interval=(low, high)))
    report.notes.append(
        f"{len(samples[one])} rounds in turns, each with a new registry; from the first question "
        "to the last model in hand. Importing torch, which a process pays once, is in none of them."
    )
    return report
