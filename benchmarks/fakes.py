"""The similarity of fakes beside that of the real model, and what a thousand texts take.

The sentences are first paragraphs of docstrings in the standard library: real English, in every
Python, and half of the pairs are about one subject (of one module).
"""

from __future__ import annotations

import importlib
import inspect
import random
import statistics
import warnings

import numpy as np

from benchmarks.harness import Report, Target, in_turns, say, seconds_of
from examples.real_model import real_model
from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.testing.fakes import FakeEmbeddingModel

MODULES = """
argparse ast asyncio base64 bisect calendar collections configparser contextlib csv dataclasses
datetime decimal difflib email enum fractions ftplib functools gzip hashlib heapq html http.client
http.server imaplib inspect io ipaddress json logging mailbox math multiprocessing os pathlib pickle
platform poplib pprint queue random re sched shelve shutil smtplib socket sqlite3 statistics string
struct subprocess tarfile tempfile textwrap threading time tokenize traceback types typing unittest
urllib.parse urllib.request uuid warnings wave weakref xml.dom.minidom xml.etree.ElementTree zipfile
"""
#: Of the time that a thousand short texts take.
LIMIT_SECONDS = 1.0
#: So much a fake of meaning should have in common with a model; one without has nothing.
LIMIT_CORRELATION = 0.4


def run(*, quick: bool = False) -> Report:
    pairs = _pairs(200 if quick else 4000)
    texts = sorted({text for pair in pairs for text in pair})
    say(f"{len(pairs):,} pairs of {len(texts):,} sentences")
    with real_model() as name:
        real = _cosines(ModelRegistry().get(ModelSpec(name, device="cpu")), texts, pairs)
    report = Report(
        f"fakes: {len(pairs):,} pairs of sentences", ("rank correlation", "1,000 texts (ms)")
    )
    thousand = [f"{texts[n % len(texts)]} {n}" for n in range(1000)]
    kinds = ("lexical", "hash")
    cases = {
        kind: lambda kind=kind: seconds_of(lambda: FakeEmbeddingModel(kind=kind).encode(thousand))
        for kind in kinds
    }
    samples = in_turns(cases, 3 if quick else 15)
    found = {}
    for kind in kinds:
        found[kind] = _correlation(_cosines(FakeEmbeddingModel(kind=kind), texts, pairs), real)
        milliseconds = statistics.median(samples[kind]) * 1000
        report.row(kind, f"{found[kind]:.3f}", f"{milliseconds:.0f}")
    report.notes.append(
        "Spearman's, of the cosine of each pair with that of the real all-MiniLM-L6-v2."
    )
    what = "lexical fakes, rank correlation with the real model"
    report.targets.append(Target(what, LIMIT_CORRELATION, found["lexical"], "", at_least=True))
    slowest = max(statistics.median(times) for times in samples.values())
    report.targets.append(Target("vectors of 1,000 texts", LIMIT_SECONDS, slowest, "s"))
    return report


def _pairs(count: int) -> list[tuple[str, str]]:
    """Pairs of two sentences; every second one of one module."""
    sentences = {name: found for name in MODULES.split() if len(found := _sentences(name)) > 4}
    draw = random.Random(0)
    pairs: set[tuple[str, str]] = set()
    while len(pairs) < count:
        name = draw.choice(list(sentences))
        other = name if len(pairs) % 2 else draw.choice(list(sentences))
        pair = draw.choice(sentences[name]), draw.choice(sentences[other])
        if pair[0] != pair[1]:
            pairs.add(pair)
    return sorted(pairs)


def _sentences(name: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is deprecated there
        module = importlib.import_module(name)
        things = [value for key, value in sorted(vars(module).items()) if not key.startswith("_")]
        for thing in list(things):
            if inspect.isclass(thing):
                members = sorted(vars(thing).items())
                things += [value for key, value in members if not key.startswith("_")]
        found = set()
        for thing in things:
            text = getattr(thing, "__doc__", None)
            if isinstance(text, str):
                sentence = " ".join(text.strip().split("\n\n")[0].split())
                if 4 <= len(sentence.split()) <= 30 and len(sentence) < 200:
                    found.add(sentence)
    return sorted(found)


def _cosines(model: object, texts: list[str], pairs: list[tuple[str, str]]) -> np.ndarray:
    rows = np.asarray(model.encode(texts))  # type: ignore[attr-defined]
    place = {text: number for number, text in enumerate(texts)}
    first, second = (rows[[place[pair[side]] for pair in pairs]] for side in (0, 1))
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.einsum("ij,ij->i", first, second) / lengths


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    ranks = [
        np.argsort(np.argsort(values, kind="stable"), kind="stable") for values in (one, other)
    ]
    return float(np.corrcoef(*ranks)[0, 1])
