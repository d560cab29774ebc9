"""`embedcache explain`: which model a name is, which key a text has, and where it lies instead."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import Command
from support.damage import flip_byte
from support.models import COMMIT, add_to_hub_cache, tiny_bert

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.vectors.api import StoreSettings, open_cache
from pytest_embedcache.vectors.cached_model import CachedModel


@pytest.fixture
def model(command: Command, roles: Path, cache_dir: Path) -> Any:
    """The model of the command, over the same store."""
    cache = open_cache(StoreSettings.from_environment())
    yield CachedModel(ModelRegistry(), ModelSpec(str(roles), device="cpu"), cache)
    cache.close()


def text_of(command: Command, *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = command.json("explain", *arguments)["text"]
    return found


# ------------------------------------------------------------------------------ a model


def test_it_says_what_a_fingerprint_is_made_of(
    command: Command, hub_cache: Path, tiny: Path
) -> None:
    """For a name on the Hub and for a directory: two places of one model are one fingerprint."""
    snapshot = add_to_hub_cache(hub_cache, "org/light", tiny)
    here, there = command.json("explain", tiny), command.json("explain", "org/light")
    assert here["fingerprint"] == there["fingerprint"] == ModelSpec(str(tiny)).fingerprint()
    assert (there["model"], there["commit"]) == ("org/light", COMMIT)
    assert there["path"] == str(snapshot.resolve())
    assert (here["model"], here["commit"], here["source"]) == (str(tiny), None, "content")
    assert "text" not in here
    ran = command("explain", "org/light")
    for label, content in there["parts"]:
        assert f"  {label} " in ran.out
        assert content[:16] in ran.out
    assert f"fingerprint  {there['fingerprint']}\n" in ran.out


def test_what_changed_between_two_days_is_a_line_that_differs(command: Command, tiny: Path) -> None:
    """That is how one finds out why vectors are computed anew."""
    before = dict(map(tuple, command.json("explain", tiny)["parts"]))
    flip_byte(tiny / "model.safetensors")
    after = dict(map(tuple, command.json("explain", tiny)["parts"]))
    (label,) = {name for name in before if before[name] != after[name]}
    assert "safetensors" in label or "weights" in label


def test_dtype_and_revision_are_those_that_are_asked_for(
    command: Command, hub_cache: Path, tiny: Path, tmp_path: Path
) -> None:
    """They decide which model it is."""
    add_to_hub_cache(hub_cache, "org/light", tiny)
    other = "d" * 40
    add_to_hub_cache(hub_cache, "org/light", tiny_bert(tmp_path / "b", seed=1), commit=other)
    main = command.json("explain", "org/light", "--revision", COMMIT)["fingerprint"]
    assert command.json("explain", "org/light")["commit"] == other
    assert command.json("explain", "org/light")["fingerprint"] != main
    half = command.json("explain", "org/light", "--revision", COMMIT, "--dtype", "float16")
    assert half["fingerprint"] not in (main, None)
    assert dict(map(tuple, half["parts"]))["dtype"] == "float16"


def test_a_model_that_there_is_not_is_an_error(command: Command, tmp_path: Path) -> None:
    """A name, a directory, and one that is not whole."""
    (tmp_path / "empty").mkdir()
    for name in ("org/nobody", tmp_path / "nowhere", tmp_path / "empty"):
        ran = command("explain", name)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith("embedcache: model ")
        assert str(name) in ran.err


# ------------------------------------------------------------------------------ a text


def test_it_shows_the_key_under_which_encode_looks(command: Command, model: Any) -> None:
    """In every role and with every option that is in a key; and whether it is there."""
    ways: list[tuple[list[str], dict[str, Any]]] = [
        ([], {}),
        (["--role", "query"], {"role": "query"}),
        (["--role", "document"], {"role": "document"}),
        (["--prompt", "so: "], {"prompt": "so: "}),
        (["--prompt-name", "query"], {"prompt_name": "query"}),
        (["--normalize"], {"normalize_embeddings": True}),
        (["--truncate-dim", "8"], {"truncate_dim": 8}),
    ]
    seen = set()
    for options, keywords in ways:
        (key,) = model.keys(["a cat"], **keywords)
        before = text_of(command, model.name, "--text", "a cat", *options)
        role = keywords.pop("role", None)
        encode = {None: model.encode, "query": model.encode_query}.get(role, model.encode_document)
        encode("a cat", **keywords)
        after = text_of(command, model.name, "--text", "a cat", *options)
        assert before["key"] == after["key"] == key.hex()
        assert (before["stored"], after["stored"]) == (False, True)
        assert after["fields"]["text"] == "a cat"
        assert after["fields"]["fingerprint"] == model.fingerprint
        seen.add(after["key"])
    assert len(seen) == len(ways)


def test_for_a_miss_it_shows_where_the_text_lies_instead(command: Command, model: Any) -> None:
    """The field that differs, and its value there."""
    model.encode_query("a cat")
    found = text_of(command, model.name, "--text", "a cat")
    assert found["stored"] is False
    assert found["near"] == [
        {"label": model.name, "differs": {"role": "query", "prompt": "find: "}}
    ]
    ran = command("explain", model.name, "--text", "a cat")
    assert "stored       no\n" in ran.out
    line = "but the same text is stored where role is 'query', prompt is 'find: '"
    assert ran.out.rstrip().endswith(line)
    assert text_of(command, model.name, "--text", "a cat", "--role", "query")["near"] == []


def test_options_and_other_models_are_among_the_neighbours(
    command: Command, model: Any, tmp_path: Path
) -> None:
    """Normalised, cut, and by another model: each is named."""
    model.encode("a cat", normalize_embeddings=True)
    model.encode("a cat", prompt="so: ")
    other = tiny_bert(tmp_path / "another", seed=4)
    CachedModel(
        ModelRegistry(), ModelSpec(str(other), device="cpu"), open_cache(StoreSettings())
    ).encode("a cat")
    near = text_of(command, model.name, "--text", "a cat")["near"]
    assert {"label": model.name, "differs": {"options.normalize": True}} in near
    assert [n["label"] for n in near if "fingerprint" in n["differs"]] == [str(other)]
    ran = command("explain", model.name, "--text", "a cat")
    assert f"({other})" in ran.out
    nothing = text_of(command, model.name, "--text", "a cat ")
    assert (nothing["stored"], nothing["near"]) == (False, [])
    asked = text_of(command, model.name, "--text", "a cat", "--prompt", "so: ")
    assert asked["stored"] is True


def test_a_dimension_that_it_was_cut_to_is_found(command: Command, model: Any) -> None:
    """Of the usual ones."""
    store = command.store()
    (key,) = model.keys(["a cat"], truncate_dim=64)
    store.put_many(model.fingerprint, {key: model.encode("a cat")})
    store.close()
    near = text_of(command, model.name, "--text", "a cat", "--normalize")["near"]
    assert {"label": model.name, "differs": {"options.normalize": "(not given)"}} in near
    cut = {"options.normalize": "(not given)", "options.truncate_dim": 64}
    assert cut in [neighbour["differs"] for neighbour in near]


def test_a_prompt_that_the_model_has_not_is_an_error(command: Command, model: Any) -> None:
    """It lists those that there are."""
    ran = command("explain", model.name, "--text", "a cat", "--prompt-name", "summary")
    assert (ran.status, ran.out) == (1, "")
    assert "'summary'" in ran.err
    assert "document" in ran.err


def test_a_model_whose_vectors_no_store_holds_has_no_key(command: Command, tiny: Path) -> None:
    """float64 would lose bits in a store of float32."""
    options = ["--dtype", "float64", "--text", "a cat"]
    found = text_of(command, tiny, *options)
    assert (found["key"], found["stored"]) == (None, False)
    assert "no store holds" in command("explain", tiny, *options).out


def test_it_explains_exact_bytes(command: Command, model: Any) -> None:
    """Spaces, accents and a text that looks like an option are themselves."""
    for text in ("", " a", "é", "e\N{COMBINING ACUTE ACCENT}", "-x"):
        (key,) = model.keys([text])
        assert text_of(command, model.name, f"--text={text}")["key"] == key.hex()


def test_it_loads_nothing(command: Command, model: Any) -> None:
    """Whatever it explains: files tell all."""
    command("explain", model.name, "--text", "a cat", "--role", "query")
    assert not command.log.exists()
    assert json.loads(command("explain", model.name, "--json").out)["source"] == "content"
