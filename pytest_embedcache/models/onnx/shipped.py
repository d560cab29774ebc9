"""The ONNX file that a model's repository ships, prepared without torch.

Such a graph ends at the tokens, as a rule: pooling and normalization, which sentence-transformers
does after it, are added to the graph. Nobody compares the result with torch, so it is a model of
its own. Runs in a process of its own; needs onnx.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_embedcache.files import read_json
from pytest_embedcache.layout import module_directories
from pytest_embedcache.models.metadata import read_metadata
from pytest_embedcache.models.onnx.child import RefusedError
from pytest_embedcache.models.onnx.description import (
    DESCRIPTION,
    TOKENIZER,
    Description,
    TokenRules,
)
from pytest_embedcache.models.onnx.graph import save
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.packing import pack
from pytest_embedcache.models.onnx.texts import hard_texts
from pytest_embedcache.models.roles import prompts_as_loaded

__all__ = ["prepare_shipped"]

#: Of the nodes that are added.
_OPSET = 18
_OUTPUT = "sentence_embedding"
#: Names under which exporters give the vectors of the tokens.
_TOKENS = ("token_embeddings", "last_hidden_state")
_MEAN = "pooling_mode_mean_tokens"
_CLS = "pooling_mode_cls_token"


def prepare_shipped(
    stage: Callable[[str], object],
    source: str,
    graph: str,
    folder: str,
    name: str,
    commit: str | None,
    fingerprint: str,
) -> dict[str, Any]:
    """Write into `folder` what `graph`, a file of the model in `source`, becomes.

    Returns the names of the `files`, and `details`. Raises `RefusedError` where the model has
    parts that are not known here, or the graph does not run.
    """
    import onnx
    import onnx.version_converter

    stage("completing the shipped graph")
    root, target = Path(source), Path(folder)
    metadata = read_metadata(source)
    if metadata.has_roles or metadata.dimension is None:
        raise RefusedError("it has modules that only sentence-transformers can run")
    modules = [(path, kind.rpartition(".")[2]) for path, kind in module_directories(root)]
    model = onnx.load(str(root / graph))
    if next(o.version for o in model.opset_import if not o.domain) < _OPSET:
        model = onnx.version_converter.convert_version(model, _OPSET)
    if _OUTPUT not in {output.name for output in model.graph.output}:
        _complete(model, modules)
    _leave_one(model)
    tokenizer = modules[0][0] / TOKENIZER
    if not tokenizer.is_file():
        raise RefusedError(f"it has no {TOKENIZER}")
    (target / TOKENIZER).write_bytes(tokenizer.read_bytes())
    files = [DESCRIPTION, TOKENIZER, *save(model, target)]
    Description(
        name=name,
        commit=commit,
        fingerprint=fingerprint,
        form="shipped",
        rules=_rules(modules[0][0]),
        max_seq_length=_limit(modules[0][0], metadata.max_seq_length),
        prompts=prompts_as_loaded(metadata.prompts),
        default_prompt_name=metadata.default_prompt_name,
        truncate_dim=metadata.truncate_dim,
        similarity=metadata.similarity,
        dimension=metadata.dimension,
        metadata=metadata.as_dict(),
    ).write(target)
    stage("running it")
    return {"files": files, "details": _tried(target)}


def _tried(folder: Path) -> dict[str, Any]:
    import numpy as np

    texts = hard_texts()
    try:
        pack(folder)
        vectors = OnnxModel(folder).encode(texts, show_progress_bar=False)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RefusedError(f"its graph does not run ({reason[:300]})") from error
    if not np.isfinite(vectors).all():
        raise RefusedError("its graph gives vectors that are not finite")
    return {"texts": len(texts)}


def _leave_one(model: Any) -> None:
    """Leave the graph one output, so that nothing is computed for another."""
    kept = [output for output in model.graph.output if output.name == _OUTPUT]
    del model.graph.output[:]
    model.graph.output.extend(kept)


def _complete(model: Any, modules: list[tuple[Path, str]]) -> None:
    """Add the modules after the transformer to its graph."""
    from onnx import TensorProto, helper

    tokens = next((o.name for o in model.graph.output if o.name in _TOKENS), None)
    kinds = [kind for _, kind in modules]
    if tokens is None or kinds not in (
        ["Transformer", "Pooling"],
        ["Transformer", "Pooling", "Normalize"],
    ):
        raise RefusedError(f"its graph would have to be completed by {', '.join(kinds[1:])}")
    pooled = _pool(model.graph, tokens, modules[1][0])
    if kinds[-1] == "Normalize":
        add = _adder(model.graph)
        length = add("ReduceL2", [pooled, _integers(model.graph, "row", [1])], keepdims=1)
        # Never zero: the least divisor is torch's.
        divisor = add("Max", [length, _numbers(model.graph, "least_length", [1e-12])])
        pooled = add("Div", [pooled, divisor])
    model.graph.node.append(helper.make_node("Identity", [pooled], [_OUTPUT]))
    shape = ["batch", "dimension"]
    model.graph.output.append(helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, shape))


def _pool(graph: Any, tokens: str, folder: Path) -> str:
    """Nodes for the mean over the tokens, or for the first of them."""
    from onnx import TensorProto

    config = read_json(folder / "config.json") or {}
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else mode
    if modes is None:
        flags = {key for key, on in config.items() if key.startswith("pooling_mode_") and on}
        modes = [{_MEAN: "mean", _CLS: "cls"}.get(flag, flag) for flag in sorted(flags)]
    if modes not in (["mean"], ["cls"]) or config.get("include_prompt") is False:
        raise RefusedError(f"its pooling ({', '.join(modes) or 'none'}) is not known here")
    add = _adder(graph)
    if modes == ["cls"]:
        return add("Gather", [tokens, _integers(graph, "first", [], 0)], axis=1)
    mask = add("Cast", ["attention_mask"], to=TensorProto.FLOAT)
    mask = add("Unsqueeze", [mask, _integers(graph, "last", [-1])])
    total = add(
        "ReduceSum", [add("Mul", [tokens, mask]), _integers(graph, "length", [1])], keepdims=0
    )
    count = add("ReduceSum", [mask, "embedcache.length"], keepdims=0)
    return add("Div", [total, add("Max", [count, _numbers(graph, "least_count", [1e-9])])])


def _adder(graph: Any) -> Callable[..., str]:
    from onnx import helper

    def add(kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"embedcache.{kind}.{len(graph.node)}"
        graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    return add


def _integers(graph: Any, name: str, values: list[int], scalar: int | None = None) -> str:
    from onnx import TensorProto, helper

    shape, listed = ([], [scalar]) if scalar is not None else ([len(values)], values)
    return _constant(graph, helper.make_tensor(name, TensorProto.INT64, shape, listed))


def _numbers(graph: Any, name: str, values: list[float]) -> str:
    from onnx import TensorProto, helper

    return _constant(graph, helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values))


def _constant(graph: Any, tensor: Any) -> str:
    tensor.name = f"embedcache.{tensor.name}"
    graph.initializer.append(tensor)
    return str(tensor.name)


def _limit(folder: Path, configured: int | None) -> float | None:
    """As sentence-transformers: its own file's, else the smaller of tokenizer's and model's."""
    if configured is not None:
        return configured
    limits = [
        (read_json(folder / "tokenizer_config.json") or {}).get("model_max_length"),
        (read_json(folder / "config.json") or {}).get("max_position_embeddings"),
    ]
    return min((limit for limit in limits if isinstance(limit, int | float)), default=None)


def _rules(folder: Path) -> TokenRules:
    """What the tokenizer's file does not say, from the files that transformers reads."""
    told = read_json(folder / "tokenizer_config.json") or {}
    config = read_json(folder / "config.json") or {}
    own = read_json(folder / "sentence_bert_config.json") or {}
    tokenizer = read_json(folder / TOKENIZER) or {}
    pad = _name(told.get("pad_token"))
    ids = {token["content"]: token["id"] for token in tokenizer.get("added_tokens", ())}
    pad_id = ids.get(pad, config.get("pad_token_id"))
    special = (token["id"] for token in tokenizer.get("added_tokens", ()) if token["special"])
    return TokenRules(
        lower=bool(own.get("do_lower_case")),
        cuts_left=told.get("truncation_side") == "left",
        pads_left=told.get("padding_side") == "left",
        pad_id=pad_id if isinstance(pad_id, int) else 0,
        special_ids=tuple(special),
    )


def _name(token: Any) -> str | None:
    found = token.get("content") if isinstance(token, dict) else token
    return found if isinstance(found, str) else None
