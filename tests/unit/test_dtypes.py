"""The dtype in which a checkpoint is loaded where nobody says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.models import add_to_hub_cache, write_safetensors

from pytest_embedcache import dtypes
from pytest_embedcache.dtypes import default_dtype, dtype_keyword


@pytest.fixture
def _version(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtypes, "keeps_dtype", lambda: request.param >= 5)


transformers_5 = pytest.mark.parametrize("_version", [5], indirect=True)
pytestmark = pytest.mark.usefixtures("_version")


def configure(model: Path, **keys: str) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | keys))


@transformers_5
@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("named", ["bfloat16", "torch.bfloat16"])
def test_the_configuration_says_the_dtype(tiny: Path, key: str, named: str) -> None:
    """Under its new and its old key."""
    configure(tiny, **{key: named})
    assert default_dtype(str(tiny)) == "bfloat16"


@transformers_5
def test_without_a_configured_dtype_it_is_that_of_the_first_tensor(tiny: Path) -> None:
    """Of the first floating-point one: positions are integers."""
    assert default_dtype(str(tiny)) == "float32"
    table = {
        "positions": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
        "w": {"dtype": "F16", "shape": [4], "data_offsets": [8, 16]},
        "v": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
    header = json.dumps(table).encode()
    content = len(header).to_bytes(8, "little") + header + b"\0" * 24
    (tiny / "model.safetensors").write_bytes(content)
    assert default_dtype(str(tiny)) == "float16"


@transformers_5
def test_a_dtype_that_nobody_knows_is_not_taken(tiny: Path) -> None:
    """What the tensors are in is."""
    configure(tiny, dtype="float3")
    assert default_dtype(str(tiny)) == "float32"


@transformers_5
def test_an_adapter_has_the_dtype_of_its_base(tiny: Path, hub_cache: Path, tmp_path: Path) -> None:
    """It is added to it."""
    configure(tiny, dtype="bfloat16")
    add_to_hub_cache(hub_cache, "org/base", tiny)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    write_safetensors(adapter / "adapter_model.safetensors", {"w": ([1], [1.0])})
    assert default_dtype(str(adapter)) == "bfloat16"


@pytest.mark.parametrize("_version", [4], indirect=True)
def test_before_transformers_5_every_checkpoint_is_loaded_in_float32(tiny: Path) -> None:
    """Whatever it was saved in; and the keyword was another."""
    configure(tiny, torch_dtype="bfloat16")
    assert default_dtype(str(tiny)) == "float32"
    assert dtype_keyword() == "torch_dtype"


@transformers_5
def test_the_keyword_is_that_of_the_version() -> None:
    """`torch_dtype` until version 4."""
    assert dtype_keyword() == "dtype"
