"""Each kind of damage to a model's directory is found, and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache.layout import LARGE_JSON_BYTES, problems

TYPES = "sentence_transformers.models"


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def remove(name: str) -> Callable[[Path], None]:
    return lambda model: (model / name).unlink()


def put(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda model: (model / name).write_bytes(content) and None


def cut(name: str, count: int) -> Callable[[Path], None]:
    """Cut `count` bytes off."""

    def damage(model: Path) -> None:
        content = (model / name).read_bytes()
        (model / name).write_bytes(content[:-count])

    return damage


def header(content: Any) -> Callable[[Path], None]:
    """Weights of that header, and no tensor."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return put("model.safetensors", len(raw).to_bytes(8, "little") + raw)


def link_to_nothing(name: str) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        (model / name).unlink(missing_ok=True)
        (model / name).symlink_to("../../blobs/gone")

    return damage


def directory(name: str) -> Callable[[Path], None]:
    def damage(model: Path) -> None:
        (model / name).unlink()
        (model / name).mkdir()

    return damage


def modules(*listed: Any) -> Callable[[Path], None]:
    return lambda model: write(model / "modules.json", list(listed))


def tensor(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 0]} | changes}


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "no weights": (remove("model.safetensors"), "model.safetensors is missing"),
    "no configuration": (remove("config.json"), "config.json is missing"),
    "no pooling": (remove("1_Pooling/config.json"), "1_Pooling/config.json is missing"),
    "weights cut off": (
        cut("model.safetensors", 5),
        "model.safetensors has {size} bytes where its header promises {promised}",
    ),
    "weights with more": (
        lambda model: put("model.safetensors", (model / "model.safetensors").read_bytes() + b"x")(
            model
        ),
        "model.safetensors has {size} bytes where its header promises {promised}",
    ),
    "weights cut off in the header": (
        put("model.safetensors", (500).to_bytes(8, "little") + b"{"),
        "model.safetensors is cut off in its header (9 bytes)",
    ),
    "weights without anything": (
        put("model.safetensors", b""),
        "model.safetensors is cut off in its header (0 bytes)",
    ),
    "weights of zeros": (
        put("model.safetensors", b"\0" * 4096),
        "model.safetensors has an unreadable header",
    ),
    "a header that is no JSON": (header(b"nonsense"), "model.safetensors has an unreadable header"),
    "a header that is a list": (header([1]), "model.safetensors has an unreadable header"),
    "a header of brackets": (header(b"[" * 99_999), "model.safetensors has an unreadable header"),
    "a tensor without an end": (
        header(tensor(data_offsets=[0])),
        "model.safetensors has an unreadable header",
    ),
    "a tensor whose end is text": (
        header(tensor(data_offsets=[0, "0"])),
        "model.safetensors has an unreadable header",
    ),
    "a tensor before the start": (
        header(tensor(data_offsets=[-1, 0])),
        "model.safetensors has an unreadable header",
    ),
    "a tensor without a dtype": (
        header(tensor(dtype=None)),
        "model.safetensors has an unreadable header",
    ),
    "weights that are a link to nothing": (
        link_to_nothing("model.safetensors"),
        "model.safetensors is a link to nothing",
    ),
    "a module's file that is a link to nothing": (
        link_to_nothing("1_Pooling/config.json"),
        "1_Pooling/config.json is a link to nothing",
    ),
    "a list of modules that is a link to nothing": (
        link_to_nothing("modules.json"),
        "modules.json is a link to nothing",
    ),
    "a tokenizer that is a link to nothing": (
        link_to_nothing("tokenizer.json"),
        "tokenizer.json is a link to nothing",
    ),
    "a list of modules cut off": (
        cut("modules.json", 3),
        "modules.json is not JSON (",
    ),
    "a configuration of zeros": (
        put("config.json", b"\0" * 64),
        "config.json is not JSON (",
    ),
    "an empty configuration": (
        put("1_Pooling/config.json", b""),
        "1_Pooling/config.json is not JSON (",
    ),
    "a configuration that is a directory": (
        directory("config.json"),
        "config.json cannot be read (Is a directory)",
    ),
    "prompts that are no JSON": (
        put("config_sentence_transformers.json", b"{"),
        "config_sentence_transformers.json is not JSON (",
    ),
    "a large tokenizer cut off": (
        put("tokenizer.json", b'{"a": "' + b"x" * LARGE_JSON_BYTES),
        "tokenizer.json is cut off",
    ),
    "a list of modules that is none": (
        lambda model: write(model / "modules.json", {"0": "Transformer"}),
        "modules.json is not a list of modules",
    ),
    "a module that is none": (modules("Transformer"), "modules.json is not a list of modules"),
    "a module above the model": (
        modules({"path": "../other", "type": f"{TYPES}.Transformer"}),
        "modules.json names '../other', which lies outside the model",
    ),
    "a module anywhere": (
        modules({"path": "/etc", "type": f"{TYPES}.Transformer"}),
        "modules.json names '/etc', which lies outside the model",
    ),
    "a module without its folder": (
        modules(
            {"path": "", "type": f"{TYPES}.Transformer"}, {"path": "1", "type": f"{TYPES}.Dense"}
        ),
        "1/config.json is missing",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_is_named(tiny: Path, damage: str) -> None:
    """One line for it, the first, which names the file and what is wrong with it."""
    weights = tiny / "model.safetensors"
    promised = weights.stat().st_size
    cause, expected = DAMAGES[damage]
    cause(tiny)
    size = weights.stat().st_size if weights.exists() else 0
    found = problems(str(tiny))[0].partition("(Exp")[0]  # what Python's json says varies
    assert found == expected.format(size=size, promised=promised).removesuffix("(")
