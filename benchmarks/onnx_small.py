"""Small forms: size, and agreement with the float32 export on real texts."""

from __future__ import annotations

import tempfile

from benchmarks.encoders import FORMS, prepare
from benchmarks.harness import Report, Target, say
from benchmarks.own_cache import own_cache
from examples.real_model import real_model
from pytest_embedcache.models.artifacts import ArtifactStore
from pytest_embedcache.models.prepared import prepared_models

MB = 1e6


def run(*, quick: bool = False) -> Report:
    with tempfile.TemporaryDirectory() as folder, real_model(), own_cache(folder):
        say("preparing the forms")
        prepare(*FORMS.values())
        found = {one.form: one for one in prepared_models(ArtifactStore(folder))}
    report = Report(
        "onnx_small: small forms of all-MiniLM-L6-v2",
        ("MB", "cosine, mean", "worst", "same neighbour"),
    )
    for form, one in found.items():
        told = one.details
        cells = ["1", "1", "100 %"]
        if "cosine_mean" in told:
            cells = [f"{told['cosine_mean']:.5f}", f"{told['cosine_worst']:.5f}"]
            cells.append(f"{told['same_nearest']:.1%}")
        report.row(form, f"{one.bytes / MB:.1f}", *cells)
    texts = found["int8"].details["texts"]
    report.notes += [
        f"On {texts} texts of the documentation of Python's library, long ones among them. All "
        "files of an artifact, its tokenizer too. Nothing here is a time, or varies between runs.",
        f"float32 differs from torch by {found['float32'].details['difference']:.1g} at most.",
    ]
    worst = found["int8"].details["cosine_worst"]
    report.targets += [
        Target("size of int8", 25, found["int8"].bytes / MB, "MB"),
        Target("worst cosine of int8", 0.998, worst, "", at_least=True),
    ]
    return report
