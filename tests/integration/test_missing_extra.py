"""A model without its extra installed is one clear error."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from support.children import python

ASK = """
import json, sys
sys.modules.update(dict.fromkeys(json.loads(sys.argv[2])))
sys.path.insert(0, sys.argv[3])
from pytest_embedcache import ModelRegistry, ModelSpec
try:
    ModelRegistry().get(ModelSpec(sys.argv[1], device="cpu"))
except Exception as error:
    print(json.dumps([type(error).__name__, str(error), getattr(error, "extra", None)]))
"""


def ask(model: Path, missing: list[str], more: Path) -> list[str]:
    return list(json.loads(python(ASK, str(model), json.dumps(missing), str(more))))


def test_without_sentence_transformers_the_error_names_the_extra(
    tiny: Path, tmp_path: Path
) -> None:
    """What is missing, and the command that installs it; nothing else is imported for that."""
    there = importlib.util.find_spec("sentence_transformers") is not None
    found = ask(tiny, ["sentence_transformers"] if there else [], tmp_path)
    assert found == [
        "MissingExtraError",
        "the backend 'torch' needs the package 'sentence_transformers', which is not installed. "
        "Install it with: pip install 'pytest-embedcache[sentence-transformers]'",
        "sentence-transformers",
    ]


def test_a_package_that_it_needs_is_named(tiny: Path, tmp_path: Path) -> None:
    """sentence-transformers is there, torch is not."""
    (tmp_path / "sentence_transformers.py").write_text("import torch")
    name, message, extra = ask(tiny, ["torch"], tmp_path)
    assert (name, extra) == ("MissingExtraError", "sentence-transformers")
    assert "needs the package 'torch'" in message


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("from json import nothing", "cannot import name 'nothing' from 'json'"),
        ("import json.nothing", "No module named 'json.nothing'"),
        ("raise OSError('libtorch.so: undefined symbol')", "libtorch.so: undefined symbol"),
    ],
)
def test_packages_that_do_not_fit_together_are_not_called_missing(
    tiny: Path, tmp_path: Path, code: str, error: str
) -> None:
    """The installed versions disagree: the error is theirs, as installing again mends nothing."""
    (tmp_path / "sentence_transformers.py").write_text(code)
    name, message, _ = ask(tiny, [], tmp_path)
    assert name != "MissingExtraError"
    assert error in message
