"""Every backend gives the answer of brute force in float64, whatever was done before."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from support.index_machine import IndexMachine

# Looked for and not imported: who imports usearch first cannot import onnxruntime any more.
if missing := [name for name in ("apsw", "sqlite_vec", "usearch") if find_spec(name) is None]:
    pytest.skip(f"{', '.join(missing)} not installed", allow_module_level=True)


def machine(metric: str) -> type[IndexMachine]:
    return type(f"{metric}Machine", (IndexMachine,), {"metric": metric})


@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_all_agree_with_brute_force(metric: str) -> None:
    """Ids, order and distances, after any changes, with zeros, duplicates, ties and k above n."""
    # Without making a failure smaller: that is for the long campaign.
    phases = [Phase.explicit, Phase.generate]
    few = settings(max_examples=6, stateful_step_count=12, deadline=None, phases=phases)
    run_state_machine_as_test(machine(metric), settings=few)


@pytest.mark.stress
@pytest.mark.parametrize("metric", ["cosine", "dot"])
def test_all_agree_with_brute_force_for_long(metric: str) -> None:
    """The long campaign."""
    many = settings(max_examples=400, stateful_step_count=40, deadline=None)
    run_state_machine_as_test(machine(metric), settings=many)
