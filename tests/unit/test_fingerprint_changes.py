"""Everything that decides a vector makes another fingerprint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.damage import flip_byte, put, rewrite
from support.models import add_to_hub_cache, tiny_bert, write_safetensors

from pytest_embedcache.errors import ModelNotFoundError
from pytest_embedcache.fingerprint import model_files

#: What the tiny model has, and what it may have.
FILES = {
    "config.json": None,
    "modules.json": None,
    "sentence_bert_config.json": None,
    "tokenizer_config.json": None,
    "vocab.txt": None,
    "1_Pooling/config.json": None,
    "model.safetensors": None,
    "2_Normalize/config.json": "{}",
    "1_Pooling/anything": "x",
    "1_Pooling/inner/anything": "x",
    "config_sentence_transformers.json": '{"truncate_dim": 8}',
    "tokenizer.json": '{"a": 1}',
    "special_tokens_map.json": '{"a": 1}',
    "added_tokens.json": '{"a": 1}',
    "chat_template.jinja": "x",
    "additional_chat_templates/one.jinja": "x",
    "preprocessor_config.json": '{"a": 1}',
    "processor_config.json": '{"a": 1}',
    "video_preprocessor_config.json": '{"a": 1}',
    "vocab.json": '{"a": 1}',
    "entity_vocab.json": '{"a": 1}',
    "merges.txt": "x",
    "dict.txt": "x",
    "bpe.codes": "x",
    "spiece.model": "x",
    "source.spm": "x",
    "qwen.tiktoken": "x",
}


@pytest.fixture
def full(tiny: Path) -> Path:
    """The tiny model with every file that may be read."""
    for name, content in FILES.items():
        if content is not None:
            put(name, content)(tiny)
    (tiny / "2_Normalize/config.json").write_text('{"a": 1}')
    write_safetensors(tiny / "1_Pooling" / "model.safetensors", {"w": ([1], [1.0])})
    write_safetensors(tiny / "1_Pooling" / "of_its_own.safetensors", {"w": ([1], [1.0])})
    return tiny


INNER_WEIGHTS = ("1_Pooling/model.safetensors", "1_Pooling/of_its_own.safetensors")


@pytest.mark.parametrize("name", [*FILES, *INNER_WEIGHTS])
def test_one_byte_of_any_file_that_is_read_makes_another_model(
    fingerprint: Callable[..., str], full: Path, name: str
) -> None:
    """Configuration, tokenizer, weights, and whatever lies in a module's directory."""
    before = fingerprint(full)
    flip_byte(full / name)
    assert fingerprint(full) != before


def test_no_file_is_read_but_those(full: Path) -> None:
    """The test above leaves none out."""
    (full / "README.md").write_text("for people")
    assert model_files(str(full)) == sorted([*FILES, *INNER_WEIGHTS])


def test_one_byte_of_any_file_of_the_real_model_makes_another(
    fingerprint: Callable[..., str], minilm: Path, tmp_path: Path
) -> None:
    """All of its files that are read, one after the other."""
    copy = Path(shutil.copytree(minilm, tmp_path / "model"))
    before = fingerprint(copy)
    seen = {before}
    names = model_files(str(copy))
    for name in names:
        content = (copy / name).read_bytes()
        flip_byte(copy / name)
        seen.add(fingerprint(copy))
        rewrite(copy / name, content)
    assert len(names) >= 8
    assert len(seen) == 1 + len(names)
    assert fingerprint(copy) == before


def test_a_file_more_or_less_makes_another_model(
    fingerprint: Callable[..., str], tiny: Path
) -> None:
    """Without the limit of its length a model has other vectors for long texts."""
    before = fingerprint(tiny)
    content = (tiny / "sentence_bert_config.json").read_bytes()
    (tiny / "sentence_bert_config.json").unlink()
    assert fingerprint(tiny) != before
    (tiny / "sentence_bert_config.json").write_bytes(content)
    assert fingerprint(tiny) == before


def test_the_dtype_in_which_it_is_loaded_makes_another_model(
    fingerprint: Callable[..., str], tiny: Path
) -> None:
    """Four dtypes, four models; the default one is the one that is loaded by default."""
    found = {dtype: fingerprint(tiny, dtype=dtype) for dtype in ("float32", "float16", "bfloat16")}
    assert len(set(found.values())) == 3
    assert fingerprint(tiny) == found["float32"]


def test_device_and_token_do_not_make_another_model(
    fingerprint: Callable[..., str], tiny: Path
) -> None:
    """Vectors of one model may be computed anywhere, by anybody."""
    assert fingerprint(tiny, device="cuda:1", token="hf_secret") == fingerprint(tiny)


def test_code_counts_where_it_may_run(fingerprint: Callable[..., str], tiny: Path) -> None:
    """A model's own code, wherever it lies, decides a vector only when it is trusted."""
    for name in ("modeling.py", "_inner/helper.py"):
        put(name, "one")(tiny)
    untrusted, trusted = fingerprint(tiny), fingerprint(tiny, trust_remote_code=True)
    assert untrusted != trusted
    for name in ("modeling.py", "_inner/helper.py"):
        put(name, "other")(tiny)
        assert fingerprint(tiny) == untrusted
        changed = fingerprint(tiny, trust_remote_code=True)
        assert changed != trusted
        trusted = changed
    put("__pycache__/modeling.cpython-311.pyc", "compiled")(tiny)
    assert fingerprint(tiny, trust_remote_code=True) == trusted


def test_code_in_another_repository_counts_where_it_may_run(
    fingerprint: Callable[..., str], tiny: Path, hub_cache: Path, tmp_path: Path
) -> None:
    """As it is in the Hub cache that transformers takes it from."""
    config = json.loads((tiny / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "org/code--modeling.Model"}
    (tiny / "config.json").write_text(json.dumps(config))
    put("code/modeling.py", "one")(tmp_path)
    code = add_to_hub_cache(hub_cache, "org/code", tmp_path / "code")
    untrusted, trusted = fingerprint(tiny), fingerprint(tiny, trust_remote_code=True)
    rewrite(code / "modeling.py", b"other")
    assert fingerprint(tiny) == untrusted
    assert fingerprint(tiny, trust_remote_code=True) != trusted


def test_a_model_of_another_kind_that_is_converted_is_another(
    fingerprint: Callable[..., str], tiny: Path
) -> None:
    """sentence-transformers loads other modules where the saved model was a sparse one."""
    before = fingerprint(tiny)
    put("config_sentence_transformers.json", '{"model_type": "SparseEncoder"}')(tiny)
    assert fingerprint(tiny) != before


def test_a_pickled_model_is_known_by_its_bytes(fingerprint: Callable[..., str], tiny: Path) -> None:
    """Where there are no safetensors, the pickle is what is read."""
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    before = fingerprint(tiny)
    flip_byte(tiny / "pytorch_model.bin")
    assert fingerprint(tiny) != before


def test_every_shard_counts(fingerprint: Callable[..., str], tiny: Path) -> None:
    """Weights in two files: a byte in either."""
    (tiny / "model.safetensors").unlink()
    table = {}
    for number in (1, 2):
        table[f"w{number}"] = f"model-{number}-of-2.safetensors"
        write_safetensors(tiny / table[f"w{number}"], {f"w{number}": ([1], [1.0])})
    (tiny / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    seen = {fingerprint(tiny)}
    for shard in table.values():
        flip_byte(tiny / shard)
        seen.add(fingerprint(tiny))
    assert len(seen) == 3


def test_an_adapter_is_a_model_of_its_own_on_each_base(
    fingerprint: Callable[..., str], hub_cache: Path, tmp_path: Path
) -> None:
    """Its weights count, its base's weights count, and without its base there is no answer."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/base"}')
    write_safetensors(adapter / "adapter_model.safetensors", {"w": ([1], [1.0])})
    with pytest.raises(ModelNotFoundError, match="'org/base': an adapter was made for it"):
        fingerprint(adapter)
    base = add_to_hub_cache(hub_cache, "org/base", tiny_bert(tmp_path / "base"))
    seen = {fingerprint(adapter), fingerprint(base)}
    flip_byte(base / "model.safetensors")
    seen.add(fingerprint(adapter))
    flip_byte(adapter / "adapter_model.safetensors")
    seen.add(fingerprint(adapter))
    assert len(seen) == 4
