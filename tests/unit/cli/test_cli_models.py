"""`embedcache models`: what is prepared, preparing it, and removing it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.command import Command
from support.models import tiny_bert
from support.preparing import Children

from pytest_embedcache.models.onnx.child import RefusedError


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> Children:
    return Children(monkeypatch)


def test_a_model_is_prepared_once_and_listed(
    command: Command, tiny: Path, children: Children
) -> None:
    """With its form, size, time, and how far it is from torch; progress is on stderr."""
    assert command("models").out == "nothing is prepared\n"
    ran = command("models", "prepare", tiny)
    assert ran.status == 0
    assert re.search(r"^ +0\.\d s  working$", ran.err, re.MULTILINE)
    line = r"  float32  \d+ B  \d{4}-\d\d-\d\d \d\d:\d\d  as torch, to 1e-07 on 40 texts\n"
    assert re.fullmatch(re.escape(str(tiny)) + line, ran.out)
    assert command("models").out == ran.out
    again = command("models", "prepare", tiny)
    assert (again.out, again.err) == (ran.out, "")
    assert children.asked == ["export"]


def test_the_small_form_is_listed_with_its_agreement(
    command: Command, tiny: Path, children: Children
) -> None:
    """`--quantized` is the form that agrees best; another is asked for by its name."""
    children.details = {
        "texts": 300,
        "cosine_mean": 0.9997,
        "cosine_worst": 0.9994,
        "same_nearest": 0.977,
    }
    said = "cosine 0.9997, at worst 0.9994, nearest neighbour kept 97.7% on 300 texts"
    ran = command("models", "prepare", tiny, "--quantized")
    assert f"{tiny}  int8  " in ran.out
    assert said in ran.out
    assert "  int8-dynamic  " in command("models", "prepare", tiny, "--form", "int8-dynamic").out
    found = command.json("models")["models"]
    assert [one["form"] for one in found] == ["float32", "int8", "int8-dynamic"]
    assert found[1]["details"]["cosine_worst"] == 0.9994
    assert len({one["fingerprint"] for one in found}) == 3


def test_a_refusal_is_an_error_and_is_listed(
    command: Command, tiny: Path, children: Children
) -> None:
    """With its reason."""
    children.error = RefusedError("it has a router")
    ran = command("models", "prepare", tiny)
    assert ran.status == 1
    assert "cannot be prepared (float32): it has a router" in ran.err
    assert re.search(r"  float32  refused .*: it has a router$", command("models").out)


def test_what_was_prepared_is_removed_by_name_and_form(
    command: Command, tiny: Path, tmp_path: Path, children: Children
) -> None:
    """Of one model; what is of another stays, and is said where nothing fits."""
    other = tiny_bert(tmp_path / "other", seed=1)
    for path, *form in ((tiny, "--quantized"), (other,)):
        command("models", "prepare", path, *form)
    assert command("models", "remove", tiny, "--quantized").out.startswith(f"removed {tiny}  int8 ")
    left = json.loads(command("models", "--json").out)["models"]
    assert {(one["name"], one["form"]) for one in left} == {
        (str(tiny), "float32"),
        (str(other), "float32"),
    }
    assert command("models", "remove", tiny).status == 0
    ran = command("models", "remove", tiny)
    assert ran.status == 1
    assert f"nothing of it is prepared. Prepared is: {other}." in ran.err
    command("models", "prepare", tiny)
    assert children.asked.count("export") == 3


def test_what_cannot_be_read_is_not_listed(
    command: Command, tiny: Path, cache_dir: Path, children: Children
) -> None:
    """A damaged manifest is not used either; beside it the others are listed."""
    command("models", "prepare", tiny)
    (manifest,) = cache_dir.rglob("manifest.json")
    manifest.write_text(manifest.read_text()[:-30])
    assert command("models").out == "nothing is prepared\n"
