"""The counts of a run: taken in each process, merged in one; no total becomes nonsense."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_embedcache.models.stats import ModelStats
from pytest_embedcache.plugin.counts import merge, serialize, with_savings
from pytest_embedcache.vectors.tally import Tally

#: Whole seconds, so that sums are exact in any order.
NUMBER = st.integers(0, 1000)
NAME = st.sampled_from(["a", "b", "org/c"])
DEVICE = st.sampled_from(["cpu", "cuda:0"])

MODEL = st.builds(
    ModelStats,
    name=NAME,
    device=DEVICE,
    backend=st.sampled_from(["torch", "onnx"]),
    gets=NUMBER,
    loads=NUMBER,
    failures=NUMBER,
    evictions=NUMBER,
    load_seconds=NUMBER.map(float),
    import_seconds=NUMBER.map(float),
).map(ModelStats._asdict)
TALLY = st.builds(
    Tally,
    asked=NUMBER,
    found=st.dictionaries(st.sampled_from(["memory", "sqlite"]), NUMBER),
    computed=NUMBER,
    shared=NUMBER,
    bypassed=NUMBER,
    untrusted=NUMBER,
    encode_seconds=NUMBER.map(float),
).map(Tally.as_dict)
PROCESS = st.builds(
    serialize,
    st.lists(MODEL, max_size=4),
    st.dictionaries(st.tuples(NAME, DEVICE), NUMBER, max_size=3),
    st.lists(st.dictionaries(NAME, TALLY, max_size=3), max_size=2),
    threads=st.none() | st.integers(1, 8),
    notices=st.dictionaries(st.sampled_from(["n", "m"]), st.integers(1, 9)),
)
#: None is a process that did not report.
RUN = st.dictionaries(
    st.sampled_from(["main", *(f"gw{i}" for i in range(12))]), st.none() | PROCESS
)
#: To draw a run takes longer than all that is done with it.
few = settings(max_examples=20)


def nothing(**given: Any) -> dict[str, Any]:
    """`serialize` of what is given, and of nothing else."""
    return serialize(
        given.get("models", ()),
        given.get("uses", {}),
        given.get("vectors", ()),
        threads=given.get("threads"),
        notices=given.get("notices", {}),
    )


def row(name: str = "a", **changed: Any) -> dict[str, Any]:
    """A row of a registry's stats: all zero, but for what is given."""
    zeros = ("gets", "loads", "failures", "evictions", "load_seconds", "import_seconds")
    return {"name": name, "device": "cpu", "backend": "torch", **dict.fromkeys(zeros, 0)} | changed


def sums(run: dict[str, Any]) -> dict[str, Any]:
    """What adds up over processes."""
    totals = with_savings(merge(run), {})["totals"]
    return {name: total for name, total in totals.items() if name != "saved_seconds"}


# ------------------------------------------------------------------------------ one process


def test_registries_that_list_one_model_are_one_row() -> None:
    """A fixture's registry and the default one may both have it."""
    counts = nothing(
        models=[row(loads=1, gets=2), row("b"), row(loads=1, gets=3), row(device="cuda:0")]
    )
    found = [(r["name"], r["device"], r["loads"], r["gets"]) for r in counts["models"]]
    assert found == [("a", "cpu", 2, 5), ("b", "cpu", 0, 0), ("a", "cuda:0", 0, 0)]


def test_fakes_are_in_no_count() -> None:
    """A fake cost nothing and saved nothing."""
    counts = nothing(models=[row(backend="fake", loads=7, gets=7, load_seconds=3.0)])
    assert counts["models"] == []


def test_tests_are_counted_as_uses_of_a_model_that_was_never_loaded() -> None:
    """All its vectors were there: no registry has heard of it."""
    (model,) = nothing(uses={("a", "cpu"): 3})["models"]
    assert (model["uses"], model["loads"], model["gets"]) == (3, 0, 0)


@given(st.lists(MODEL, max_size=6), st.randoms())
def test_it_does_not_matter_which_registry_counted(models: list[dict[str, Any]], draw: Any) -> None:
    """Rows in any order and from any registry give the same sums."""
    shuffled = draw.sample(models, len(models))
    key = lambda r: (r["name"], r["device"])  # noqa: E731
    one, other = (sorted(nothing(models=rows)["models"], key=key) for rows in (models, shuffled))
    assert one == other


@given(PROCESS)
def test_counts_are_of_built_in_types(counts: dict[str, Any]) -> None:
    """They travel from a worker, and into a JSON file."""
    assert json.loads(json.dumps(counts)) == counts
    merged = merge({"gw0": counts})
    assert json.loads(json.dumps(merged)) == merged


# ------------------------------------------------------------------------------ several


@few
@given(RUN, st.randoms())
def test_the_parts_of_a_run_add_up_to_the_whole(run: dict[str, Any], draw: Any) -> None:
    """However the processes are split into two groups, the totals of both make the total."""
    part = {name: counts for name, counts in run.items() if draw.random() < 0.5}
    rest = {name: counts for name, counts in run.items() if name not in part}
    whole, one, other = sums(run), sums(part), sums(rest)
    assert whole == {name: one[name] + other[name] for name in whole}


@few
@given(RUN)
def test_the_processes_of_a_model_add_up_to_the_model(run: dict[str, Any]) -> None:
    """And a total is the sum over the models."""
    merged = merge(run)
    for model in merged["models"]:
        for name in ("gets", "uses", "loads", "failures", "load_seconds"):
            assert model[name] == sum(p[name] for p in model["per_process"].values())
    totals = with_savings(merged, {})["totals"]
    assert totals["loads"] == sum(model["loads"] for model in merged["models"])
    assert totals["computed"] == sum(vectors["computed"] for vectors in merged["vectors"])


@few
@given(RUN)
def test_who_did_not_report_is_named_and_adds_nothing(run: dict[str, Any]) -> None:
    """A crashed worker's counts died with it."""
    merged = merge(run)
    assert set(merged["silent"]) == {name for name, counts in run.items() if counts is None}
    assert merged["processes"] == len(run)
    reported = {name: counts for name, counts in run.items() if counts is not None}
    assert sums(run) == sums(reported)
    assert merge(reported)["models"] == merged["models"]


@few
@given(RUN)
def test_merging_changes_nothing_that_it_was_given(run: dict[str, Any]) -> None:
    """Twice the same, from untouched parts."""
    before = copy.deepcopy(run)
    first = with_savings(merge(run), {})
    assert run == before
    assert with_savings(merge(run), {}) == first


def test_workers_are_listed_by_their_numbers() -> None:
    """gw2 comes before gw10."""
    run: dict[str, Any] = {f"gw{i}": nothing(models=[row(loads=1)]) for i in (10, 2, 1)}
    run |= {"gw11": None, "gw3": None}
    merged = merge(run)
    assert list(merged["models"][0]["per_process"]) == ["gw1", "gw2", "gw10"]
    assert merged["silent"] == ["gw3", "gw11"]


def test_the_lowest_cap_on_threads_is_said() -> None:
    """Of those that capped at all."""
    caps = {"gw0": 2, "gw1": None, "gw2": 1}
    assert merge({name: nothing(threads=cap) for name, cap in caps.items()})["threads"] == 1
    assert merge({"gw0": nothing()})["threads"] is None


def test_notices_are_added_up() -> None:
    """One that two workers had is one line with two."""
    run = {"gw0": nothing(notices={"full": 2}), "gw1": nothing(notices={"full": 1, "old": 1})}
    assert merge(run)["notices"] == {"full": 3, "old": 1}


# ------------------------------------------------------------------------------ what was saved


def saved(run: dict[str, Any], costs: dict[str, tuple[float, float]] | None = None) -> float:
    return float(with_savings(merge(run), costs or {})["totals"]["saved_seconds"])


def test_gets_beyond_the_loads_are_saved_loads() -> None:
    """At this run's own mean, without the import, which a process pays once anyway."""
    model = row(gets=5, loads=2, load_seconds=4.0, import_seconds=100.0)
    assert saved({"main": nothing(models=[model])}) == 3 * 2.0


def test_a_process_that_used_a_model_and_loaded_none_saved_all_of_a_first_load() -> None:
    """At what another process paid, or else at what such a load cost in the past."""
    loaded = nothing(
        models=[row(gets=1, loads=1, load_seconds=1.0, import_seconds=4.0)], uses={("a", "cpu"): 1}
    )
    spared = nothing(uses={("a", "cpu"): 9})
    assert saved({"gw0": loaded, "gw1": spared}) == 5.0
    assert saved({"gw0": spared, "gw1": spared}, {"a": (3.0, 0.0)}) == 6.0
    assert saved({"gw0": spared}) == 0.0


def test_found_texts_are_saved_at_what_a_text_cost() -> None:
    """In this run, or else in the past."""
    tally = Tally(asked=30, found={"memory": 10, "sqlite": 10}, computed=10, encode_seconds=5.0)
    run = {"main": nothing(vectors=[{"a": tally.as_dict()}], models=[row(loads=1)])}
    assert saved(run) == 20 * 0.5
    found = Tally(asked=10, found={"sqlite": 10}).as_dict()
    assert (
        saved({"main": nothing(vectors=[{"a": found}], models=[row(loads=1)])}, {"a": (0.0, 0.2)})
        == 2.0
    )


def test_code_that_has_its_model_by_get_model_saved_a_load_too() -> None:
    """No fixture counted a use: that its texts were found, and nothing was loaded, says as much."""
    found = nothing(vectors=[{"a": Tally(asked=2, found={"sqlite": 2}).as_dict()}])
    assert saved({"gw0": found, "gw1": found}, {"a": (3.0, 0.25)}) == 2 * 3.0 + 4 * 0.25


def test_a_process_that_loaded_a_model_anywhere_was_not_spared_its_load() -> None:
    """Neither where it is on another device, nor where some of its texts were found."""
    loaded = nothing(
        models=[row(loads=1, load_seconds=2.0), row(device="cuda:0")],
        uses={("a", "cuda:0"): 1},
        vectors=[{"a": Tally(asked=1, found={"sqlite": 1}).as_dict()}],
    )
    assert saved({"gw0": loaded}, {"a": (3.0, 0.0)}) == 0.0
    computed = nothing(vectors=[{"a": Tally(asked=1, bypassed=1).as_dict()}])
    assert saved({"gw0": computed}, {"a": (3.0, 0.0)}) == 0.0


@few
@given(RUN)
def test_the_texts_of_the_processes_add_up_to_the_model_s(run: dict[str, Any]) -> None:
    """Each count of texts, and what each tier had."""
    for vectors in merge(run)["vectors"]:
        rows = list(vectors["per_process"].values())
        for name in ("asked", "computed", "shared", "bypassed", "untrusted", "encode_seconds"):
            assert vectors[name] == sum(process[name] for process in rows)
        for tier, count in vectors["found"].items():
            assert count == sum(process["found"].get(tier, 0) for process in rows)


@few
@given(RUN, st.dictionaries(NAME, st.tuples(NUMBER.map(float), NUMBER.map(float))))
def test_nothing_is_spent_or_saved_below_zero(
    run: dict[str, Any], costs: dict[str, tuple[float, float]]
) -> None:
    """Whatever was counted: more failures than gets, more loads than gets, workers gone."""
    totals = with_savings(merge(run), costs)["totals"]
    assert all(0 <= total < float("inf") for total in totals.values())
