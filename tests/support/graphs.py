"""Prepared models and shipped ones, written without torch: an embedding table and one product."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pytest_embedcache.models.onnx.description import DESCRIPTION, Description, TokenRules

from .exports import tokenizer
from .models import write_safetensors

WIDTH = 32
RULES = TokenRules(special_ids=(0, 1, 2, 3, 4))


def weights(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the table and of the product."""
    draw = np.random.default_rng(0)
    return (
        draw.standard_normal((size, WIDTH)).astype(np.float32),
        draw.standard_normal((WIDTH, WIDTH)).astype(np.float32),
    )


def graph(size: int, *, pooled: bool, opset: int = 18) -> Any:
    """A graph that asks for the types of tokens and does not use them.

    Its output is the mean over a text's tokens, by the mask for pooling, or the tokens' vectors.
    """
    from onnx import TensorProto, helper, numpy_helper

    table, matrix = weights(size)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["looked_up"], axis=0),
        helper.make_node("MatMul", ["looked_up", "matrix"], ["last_hidden_state"]),
    ]
    constants = [numpy_helper.from_array(table, "table"), numpy_helper.from_array(matrix, "matrix")]
    mask, output, shape = "attention_mask", "last_hidden_state", ["b", "l", WIDTH]
    if pooled:
        mask, output, shape = "pooling_mask", "sentence_embedding", ["b", WIDTH]
        constants += [
            numpy_helper.from_array(np.array([axis]), name)
            for axis, name in ((1, "one"), (2, "two"))
        ]
        nodes += [
            helper.make_node("Cast", [mask], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "two"], ["wide"]),
            helper.make_node("Mul", ["last_hidden_state", "wide"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "one"], ["total"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "one"], ["count"], keepdims=1),
            helper.make_node("Div", ["total", "count"], [output]),
        ]
    names = ["input_ids", "token_type_ids", mask]
    made = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "l"]) for name in names],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
        constants,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def prepared(folder: Path, *, pad_first: bool = True, **changes: Any) -> Path:
    """Write an artifact; `changes` are of its description, or of its rules."""
    from pytest_embedcache.models.onnx.graph import save

    size = tokenizer(folder, pad_first=pad_first)
    save(graph(size, pooled=True), folder)
    rules = replace(RULES, **{n: changes.pop(n) for n in list(changes) if hasattr(RULES, n)})
    facts: dict[str, Any] = {
        "name": "tiny",
        "commit": None,
        "fingerprint": "ab" * 32,
        "form": "float32",
        "rules": rules,
        "max_seq_length": 24,
        "prompts": {"query": "query : ", "document": ""},
        "default_prompt_name": None,
        "truncate_dim": None,
        "similarity": "cosine",
        "dimension": WIDTH,
    }
    Description(**{**facts, **changes}).write(folder)
    assert (folder / DESCRIPTION).is_file()
    return folder


def shipping(
    path: Path, *, opset: int = 18, mode: str = "mean_tokens", normalize: bool = True
) -> Path:
    """Write a model whose repository ships an ONNX file, beside weights that torch would read."""
    import onnx

    size = tokenizer(path)
    table, _ = weights(size)
    tensors = {"embeddings.word_embeddings.weight": ([size, WIDTH], table.ravel().tolist())}
    write_safetensors(path / "model.safetensors", tensors)
    (path / "onnx").mkdir()
    onnx.save_model(graph(size, pooled=False, opset=opset), str(path / "onnx" / "model.onnx"))
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    files: dict[str, Any] = {
        "config.json": {"model_type": "bert", "hidden_size": WIDTH, "pad_token_id": 0},
        "tokenizer_config.json": {"pad_token": "[PAD]", "model_max_length": 30},
        "sentence_bert_config.json": {"max_seq_length": 24, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "query : "}},
        "1_Pooling/config.json": {
            "word_embedding_dimension": WIDTH,
            f"pooling_mode_{mode}": True,
        },
        "modules.json": [
            {
                "idx": place,
                "name": str(place),
                "path": f"{place}_{kind}" if place else "",
                "type": f"sentence_transformers.models.{kind}",
            }
            for place, kind in enumerate(kinds)
        ],
    }
    for name, content in files.items():
        (path / name).parent.mkdir(exist_ok=True)
        (path / name).write_text(json.dumps(content))
    return path


def expected(texts: list[list[int]], size: int, *, normalize: bool = False) -> np.ndarray:
    """What the graph gives for these tokens: computed text by text, without padding."""
    table, matrix = weights(size)
    rows = np.stack([(table[ids] @ matrix).mean(axis=0) for ids in texts])
    return rows / np.linalg.norm(rows, axis=1, keepdims=True) if normalize else rows
