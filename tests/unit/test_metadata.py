"""What a model's configuration files say for people: pooling, and the size of its weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.models import add_to_hub_cache, write_safetensors

from pytest_embedcache import ModelRegistry, ModelSpec, get_model
from pytest_embedcache.models.metadata import ModelMetadata, read_metadata


def test_size_and_parameters_are_those_of_the_weights(tiny: Path) -> None:
    """By the header of the file, which holds the shapes; of every module that has weights."""
    found = read_metadata(str(tiny))
    weights = tiny / "model.safetensors"
    assert found.size == weights.stat().st_size
    assert found.parameters is not None
    assert 0 < found.size - 4 * found.parameters < 4096  # float32, and the header
    modules = json.loads((tiny / "modules.json").read_text())
    kind = "sentence_transformers.models.Dense"
    modules.append({"idx": 3, "name": "3", "path": "3_Dense", "type": kind})
    (tiny / "modules.json").write_text(json.dumps(modules))
    (tiny / "3_Dense").mkdir()
    (tiny / "3_Dense" / "config.json").write_text(json.dumps({"out_features": 2}))
    write_safetensors(tiny / "3_Dense" / "model.safetensors", {"w": ([2, 16], [0.0] * 32)})
    more = read_metadata(str(tiny))
    assert more.parameters == found.parameters + 32
    assert more.dimension == 2


def test_weights_that_cannot_be_counted_have_a_size_or_nothing(tiny: Path) -> None:
    """A pickle would have to be read whole; a damaged file tells nothing, and is no error here."""
    weights = tiny / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-5])
    damaged = read_metadata(str(tiny))
    assert (damaged.parameters, damaged.size) == (None, None)
    weights.rename(tiny / "pytorch_model.bin")
    pickled = read_metadata(str(tiny))
    assert (pickled.parameters, pickled.size) == (None, len(content) - 5)
    (tiny / "pytorch_model.bin").unlink()
    assert read_metadata(str(tiny)).size is None


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, "max+mean"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode": ["mean", "cls"]}, "mean+cls"),
        ({}, None),
    ],
    ids=str,
)
def test_pooling_is_named_as_sentence_transformers_names_it(
    tiny: Path, config: dict[str, Any], pooling: str | None
) -> None:
    """In the older configurations, one flag each, and in the newer ones."""
    file = tiny / "1_Pooling" / "config.json"
    file.write_text(json.dumps({"word_embedding_dimension": 16, **config}))
    assert read_metadata(str(tiny)).pooling == pooling


def test_what_is_for_people_is_in_no_key(tiny: Path) -> None:
    """Two readings that differ in it alone are equal, and are stored alike in recordings."""
    found = read_metadata(str(tiny))
    plain = ModelMetadata.from_dict(found.for_keys())
    assert plain == found
    assert (plain.pooling, found.pooling) == (None, "mean")
    assert ModelMetadata.from_dict(found.as_dict()).parameters == found.parameters


def test_metadata_is_there_before_and_after_the_model(tiny: Path) -> None:
    """Of a registry, a handle and a `CachedModel` alike; nothing is loaded for it."""
    registry = ModelRegistry()
    spec = ModelSpec(str(tiny), device="cpu")
    wanted = read_metadata(str(tiny))
    assert registry.metadata(str(tiny)) == registry.metadata(spec) == wanted
    assert registry.handle(spec).metadata == wanted
    assert registry.handle(spec).dimension == 16
    assert get_model(str(tiny)).metadata == wanted
    assert registry.stats().loads == 0


def test_a_model_that_was_seen_once_is_known_when_its_files_are_gone(
    tiny: Path, hub_cache: Path
) -> None:
    """By another registry on the same machine, without a network."""
    snapshot = add_to_hub_cache(hub_cache, "org/model", tiny)
    before = ModelRegistry()
    wanted = before.identify(ModelSpec("org/model")).metadata
    assert wanted.parameters
    shutil.rmtree(snapshot)
    found = ModelRegistry().metadata("org/model")
    assert found == wanted
    assert (found.parameters, found.size, found.pooling) == (
        wanted.parameters,
        wanted.size,
        "mean",
    )
