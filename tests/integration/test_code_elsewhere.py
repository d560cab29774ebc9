"""A model whose code lies in another repository: the code is fetched once, and only if trusted."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.asking import NAME, ask
from support.damage import put
from support.hub import MockHub

from pytest_embedcache.layout import problems

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("sentence_transformers") is None,
    reason="the backend 'torch' needs sentence-transformers",
)

LOAD = """
import sys
from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.errors import ModelLoadError
for trust in sys.argv[2:]:
    spec = ModelSpec(sys.argv[1], device="cpu", trust_remote_code=trust == "trusted")
    try:
        print(ModelRegistry().get(spec).encode(["a cat"]).shape)
    except ModelLoadError as error:
        print(error)
"""

CONFIG = """
from transformers import BertConfig
class Conf(BertConfig):
    model_type = "its_own"
"""

MODEL = """
from transformers import BertModel
from .conf import Conf
class Model(BertModel):
    config_class = Conf
"""


def load(*trust: str) -> list[str]:
    ran = subprocess.run(
        [sys.executable, "-c", LOAD, NAME, *trust],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.fixture
def model(hub: MockHub, tiny: Path, tmp_path: Path) -> Path:
    """The Hub's model, of an architecture that another repository has."""
    config = json.loads((tiny / "config.json").read_text())
    config["model_type"] = "its_own"
    config["auto_map"] = {
        "AutoConfig": "org/code--conf.Conf",
        "AutoModel": "org/code--modeling.Model",
    }
    (tiny / "config.json").write_text(json.dumps(config))
    put("conf.py", CONFIG)(tmp_path / "code")
    put("modeling.py", MODEL)(tmp_path / "code")
    hub.repositories["org/code"] = ("b" * 40, tmp_path / "code")
    assert problems(str(tiny)) == ()
    return tiny


@pytest.mark.usefixtures("model")
def test_code_in_another_repository_is_fetched_once_and_only_if_it_is_trusted(
    hub: MockHub,
) -> None:
    """Refused without trust, fetched with it, and then loaded without any request for a file."""
    refused, loaded = load("not trusted", "trusted")
    assert "if you trust it, give trust_remote_code=True" in refused
    assert loaded == "(1, 16)"
    sent = [request for request in hub.downloads() if "org/code" in request]
    assert len(sent) == len(set(sent)) == 2
    hub.requests.clear()
    hub.status = 500
    assert load("trusted") == ["(1, 16)"]
    assert not any("org/" in request for request in hub.requests)


@pytest.mark.usefixtures("model")
def test_code_in_another_repository_is_not_even_fetched_without_trust(hub: MockHub) -> None:
    """The model itself is."""
    answer = ask()
    assert "path" in answer
    assert not any("org/code" in request for request in hub.requests)
