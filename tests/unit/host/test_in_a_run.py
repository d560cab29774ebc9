"""What a run knows of its host: merged counts, one line, and how many workers fit without one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pytest_embedcache.models.accelerators import Accelerator
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.plugin import auto_workers
from pytest_embedcache.plugin.auto_workers import fitting
from pytest_embedcache.plugin.counts import merge, serialize, with_savings
from pytest_embedcache.plugin.host import add_host, host_line
from pytest_embedcache.plugin.report import summary
from pytest_embedcache.plugin.report_data import gather
from pytest_embedcache.plugin.report_markdown import markdown
from pytest_embedcache.plugin.report_page import page
from pytest_embedcache.plugin.report_sections import host_rows
from pytest_embedcache.plugin.settings import Settings

MODEL = {"name": "m", "device": "cpu", "backend": "torch", "gets": 0, "failures": 0}
MODEL |= {"evictions": 0, "unloads": 0}
STATS = {
    "models": [MODEL | {"loads": 1, "load_seconds": 0.5, "import_seconds": 3.0, "loaded": True}],
    "batches": [
        {"name": "m", "calls": 4, "asked": 20, "encoded": 18, "largest": 9, "shared": 2}
        | {"sizes": {"4": 3, "16": 1}}
    ],
    "peak_bytes": 10**9,
}


def run(**hosts: Any) -> dict[str, Any]:
    """The merged counts of workers that had a model, and asked a host so much."""
    own = [MODEL | {"loads": 0, "load_seconds": 0.0, "import_seconds": 0.0}]
    told: dict[str, Any] = {"threads": None, "notices": {}}
    return merge(
        {
            name: serialize(own, {("m", "cpu"): 3}, (), **told) | ({"host": row} if row else {})
            for name, row in hosts.items()
        }
    )


def asked(texts: int, *, lost: bool = False) -> dict[str, Any]:
    return {"asked": texts, "lost": lost, "pid": 7}


def test_the_hosts_load_is_counted_once() -> None:
    """In the totals and in its own column; no worker has loaded, and no process is added."""
    merged = run(gw0=asked(12), gw1=asked(8))
    add_host(merged, copy.deepcopy(STATS))
    assert merged["processes"] == 2
    (model,) = merged["models"]
    assert {name: row["loads"] for name, row in model["per_process"].items()} == {
        "gw0": 0,
        "gw1": 0,
        "host": 1,
    }
    totals = with_savings(merged, {})["totals"]
    assert (totals["loads"], totals["uses"], totals["spent_seconds"]) == (1, 6, 3.5)
    # Both workers used a model and loaded none.
    assert totals["saved_seconds"] == 2 * 3.5
    assert merged["host"]["asked"] == {"gw0": 12, "gw1": 8}


def test_the_line_says_who_asked_how_much() -> None:
    """Loads, texts of each worker, calls and their sizes."""
    merged = run(gw0=asked(12), gw1=asked(8, lost=True))
    add_host(merged, copy.deepcopy(STATS))
    assert host_line(merged) == (
        "model host: 1 load in 3.5 s, 20 texts (gw0 12, gw1 8), 4 calls of 4.5 texts, at most 9; "
        "lost by gw1"
    )
    lines = [*summary(with_savings(merged, {}))]
    assert lines[0] == "m on cpu: 1 load for 6 uses (in the model host)"
    assert lines[1].startswith("model host: ")


def test_a_host_of_an_earlier_run_has_no_load_in_this_one() -> None:
    """What it did before is not this run's."""
    merged = run(main=asked(5))
    add_host(merged, None)
    assert host_line(merged) == "model host: 5 texts"
    assert with_savings(merged, {})["totals"]["loads"] == 0


def test_without_a_host_nothing_is_said() -> None:
    """Neither a key nor a line."""
    merged = run(gw0=None)
    add_host(merged, None)
    assert "host" not in merged
    assert not any("model host" in line for line in summary(with_savings(merged, {})))


def test_a_worker_that_was_killed_is_all_that_knew() -> None:
    """What the host says is counted although no worker has reported."""
    merged = merge({"gw0": None})
    add_host(merged, copy.deepcopy(STATS))
    assert with_savings(merged, {})["totals"]["loads"] == 1


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a gigabyte."""

    class Backend:
        def metadata(self, spec: object) -> ModelMetadata:
            return ModelMetadata(size=10**9)

    monkeypatch.setattr(auto_workers, "BACKENDS", {"torch": Backend()})


@pytest.mark.parametrize(
    ("settings", "memory", "fit"),
    [
        ({"host": "off"}, 10 * 10**9, 5),  # 1.975 GB each
        ({"host": "off"}, 10**9, 1),
        ({"host": "off"}, 10**12, 16),
        ({"host": "off", "strategy": "cached"}, 10 * 10**9, 6),  # 1.595 GB each
        ({"host": "auto"}, 10**9, 16),
        ({"host": "keep"}, 10**9, 16),
        ({"host": "off", "mode": "replay"}, 10**9, 16),
        ({"host": "off", "mode": "fake"}, 10**9, 16),
        ({"host": "off", "no_models": True}, 10**9, 16),
    ],
)
def test_so_many_workers_have_room(
    weights: None, settings: dict[str, Any], memory: int, fit: int
) -> None:
    """Weights once and a half, and the libraries, for each; no cap where a host has the model, or
    none is needed."""
    assert fitting(Settings(**settings), 16, memory=memory) == fit


def test_an_accelerators_memory_is_a_bound_too(weights: None) -> None:
    """Each worker has a context of its own there."""
    settings = Settings(host="off", device="cuda:0")
    assert fitting(settings, 16, memory=10**12, on_device=8 * 10**9) == 4
    assert fitting(Settings(host="off"), 16, memory=10**12, on_device=1) == 16


def test_what_nobody_knows_is_no_cap(weights: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of memory nor of an accelerator."""
    monkeypatch.setattr(auto_workers, "free_memory", lambda: None)
    monkeypatch.setattr(auto_workers, "accelerators", lambda: (Accelerator("cuda:0", "x"),))
    assert fitting(Settings(host="off", device=None), 16) == 16


def test_the_report_has_a_table_of_it() -> None:
    """Who asked how much, who lost it, and how large the calls were; nothing without a host."""
    merged = run(gw0=asked(12), gw1=asked(8, lost=True))
    add_host(merged, copy.deepcopy(STATS))
    report = gather(with_savings(merged, {}), [], project="p")
    assert dict(host_rows(report)) == {
        "texts asked by gw0": "12",
        "texts asked by gw1": "8, then lost",
        "calls of m": "4",
        "of at most 4 texts": "3",
        "of at most 16 texts": "1",
        "calls for several workers": "2",
        "memory at most": "1000 MB",
    }
    for shown in (page(report), markdown(report)):
        assert "The model host" in shown
    none = gather(with_savings(run(gw0=None), {}), [], project="p")
    assert not any("The model host" in shown for shown in (page(none), markdown(none)))
