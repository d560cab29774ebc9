from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.asking import COMMIT, NAME, WANTED
from support.hub import MockHub


@pytest.fixture
def hub(mock_hub: MockHub, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> MockHub:
    """A Hub that has one model, also in the formats of other engines."""
    for name in ("README.md", "pytorch_model.bin", "tf_model.h5", ".gitattributes"):
        (tiny / name).write_bytes(b"x" * 100)
    (tiny / "onnx").mkdir()
    (tiny / "onnx" / "model.onnx").write_bytes(b"x" * 100)
    mock_hub.repositories[NAME] = (COMMIT, tiny)
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    return mock_hub


@pytest.fixture
def whole(hub: MockHub, tiny: Path, tmp_path: Path) -> Path:
    """What is fetched of that model."""
    for name in WANTED:
        (tmp_path / "whole" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tiny / name, tmp_path / "whole" / name)
    return tmp_path / "whole"
