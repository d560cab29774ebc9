"""From a model in torch to a graph. Runs in a process of its own, which imports torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.models.metadata import read_metadata
from pytest_embedcache.models.onnx.child import RefusedError
from pytest_embedcache.models.onnx.description import (
    DESCRIPTION,
    GRAPH,
    TOKENIZER,
    WEIGHTS,
    Description,
    TokenRules,
)
from pytest_embedcache.models.onnx.graph import strip
from pytest_embedcache.models.onnx.model import OnnxModel
from pytest_embedcache.models.onnx.packing import pack
from pytest_embedcache.models.onnx.simplify import simplify
from pytest_embedcache.models.onnx.verify import verified
from pytest_embedcache.spec import ModelSpec

__all__ = ["export", "export_model"]

#: Of different lengths, so that no dimension of the example is another one's.
_EXAMPLE = ["a cat", "an example of some more words than the other", "one in between"]
#: What tells how white space and capitals are treated before the tokenizer sees them.
_PROBES = ("  Hello World \n", "ABC dEf", " \t ")
#: Special tokens that are written out in the texts of the comparison.
_SPECIAL = 8
_TASKS = "it treats queries and documents differently in more than the prompt"


def export(
    stage: Callable[[str], object], spec: Mapping[str, Any], folder: str, **facts: Any
) -> dict[str, Any]:
    """Load the model of a resolved spec in torch, and write its export into `folder`.

    Returns the names of the `files`, and the `details` of the comparison. Raises `RefusedError`.
    """
    stage("loading it with torch")
    resolved = ModelSpec(**spec)
    model = TorchBackend().load(resolved)
    assert resolved.path is not None
    return export_model(model, Path(folder), stage, source=resolved.path, **facts)


def export_model(
    model: Any,
    folder: Path,
    stage: Callable[[str], object],
    *,
    source: str,
    name: str,
    commit: str | None,
    fingerprint: str,
) -> dict[str, Any]:
    """The same for a loaded model, whose files are in `source`."""
    model.eval()
    metadata = read_metadata(source)
    if metadata.has_roles:
        raise RefusedError(_TASKS)
    tokenizer, rules = _tokenization(model)
    stage("exporting it to ONNX")
    tokenizer.save(str(folder / TOKENIZER))
    files = [DESCRIPTION, TOKENIZER, *_write_graph(model, folder, rules)]
    description = Description(
        name=name,
        commit=commit,
        fingerprint=fingerprint,
        form="float32",
        rules=rules,
        max_seq_length=model.max_seq_length,
        prompts={key: prompt for key, prompt in model.prompts.items() if prompt is not None},
        default_prompt_name=model.default_prompt_name,
        truncate_dim=model.truncate_dim,
        similarity=str(model.similarity_fn_name or metadata.similarity),
        dimension=_dimension(model),
        metadata=metadata.as_dict(),
    )
    description.write(folder)
    stage("comparing it with torch")
    prepared = OnnxModel(folder)
    return {"files": files, "details": verified(model, prepared, _special_tokens(model))}


def _tokenization(model: Any) -> tuple[Any, TokenRules]:
    """The tokenizer of the loaded model, and the rules that are not in its file."""
    first = model[0]
    tokenizer = getattr(first, "tokenizer", None)
    if type(first).__name__ == "StaticEmbedding":
        # Used as it is: with the truncation of its file, and without special tokens.
        return tokenizer, TokenRules(special=False, truncates=False, flat=True)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if type(first).__name__ != "Transformer" or backend is None:
        what = "no tokenizer" if tokenizer is None else f"the tokenizer {type(tokenizer).__name__}"
        raise RefusedError(
            f"its first module, {type(first).__name__}, has {what}, and only a transformer with a "
            "fast tokenizer, or a StaticEmbedding, is exported"
        )
    assert tokenizer is not None
    strips, lowers = _treatment(model, tokenizer)
    return backend, TokenRules(
        strip=strips,
        lower=lowers,
        cuts_left=getattr(tokenizer, "truncation_side", "right") == "left",
        pads_left=tokenizer.padding_side == "left",
        pad_id=tokenizer.pad_token_id or 0,
        pad_type_id=getattr(tokenizer, "pad_token_type_id", 0),
        pools_prompt=all(getattr(module, "include_prompt", True) for module in model),
        special_ids=tuple(tokenizer.all_special_ids),
    )


def _treatment(model: Any, tokenizer: Any) -> tuple[bool, bool]:
    """Whether texts are stripped, and lowered, before they are tokenized: versions differ."""
    for strips in (False, True):
        for lowers in (False, True):
            if all(_same(model, tokenizer, text, strips, lowers) for text in _PROBES):
                return strips, lowers
    raise RefusedError("its tokenizer gives other tokens by itself than the model takes")


def _same(model: Any, tokenizer: Any, text: str, strips: bool, lowers: bool) -> bool:
    prepared = text.strip() if strips else text
    prepared = prepared.lower() if lowers else prepared
    (expected,) = _features(model, [text])["input_ids"].tolist()
    return bool(tokenizer(prepared)["input_ids"] == expected)


def _features(model: Any, texts: list[str]) -> dict[str, Any]:
    """The tensors that go into the model for these texts."""
    make = getattr(model, "preprocess", None) or model.tokenize  # the name before version 5.4
    return {name: value for name, value in make(texts).items() if hasattr(value, "shape")}


def _write_graph(model: Any, folder: Path, rules: TokenRules) -> list[str]:
    import onnx
    import torch

    features = _features(model, _EXAMPLE)
    known = ("input_ids", "attention_mask", "token_type_ids", "offsets")
    if other := sorted(features.keys() - set(known)):
        raise RefusedError(f"it takes {', '.join(other)} beside the tokens of a text")
    if not rules.pools_prompt:
        features["pooling_mask"] = features["attention_mask"].clone()
    names = [name for name in (*known, "pooling_mask") if name in features]
    dynamic = torch.export.Dim.DYNAMIC
    file = folder / GRAPH
    try:
        with torch.no_grad():
            program = torch.onnx.export(
                _pipeline(model),
                kwargs={name: features[name] for name in names},
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=["sentence_embedding"],
                dynamic_shapes={
                    name: dict.fromkeys(range(features[name].dim()), dynamic) for name in names
                },
            )
        program.save(str(file), external_data=True)
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise RefusedError(f"torch cannot export it ({reason[:300]})") from error
    graph = onnx.load(str(file), load_external_data=False)
    strip(graph)
    simplify(graph)
    file.write_bytes(graph.SerializeToString())
    pack(folder)
    return [name for name in (GRAPH, WEIGHTS) if (folder / name).exists()]


def _pipeline(model: Any) -> Any:
    """The model as a function of tensors.

    A prompt that is left out of pooling is left out by a mask of its own: its length is a number
    in torch, and would be a constant in the graph.
    """
    import torch

    class Pipeline(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self,
            input_ids: Any,
            attention_mask: Any = None,
            token_type_ids: Any = None,
            offsets: Any = None,
            pooling_mask: Any = None,
        ) -> Any:
            given = {
                "input_ids": input_ids,
                "attention_mask": attention_mask,
                "token_type_ids": token_type_ids,
                "offsets": offsets,
            }
            features = {name: value for name, value in given.items() if value is not None}
            for place, module in enumerate(self.model):
                features = module(features)
                if not place and pooling_mask is not None:
                    features["attention_mask"] = pooling_mask
            return features["sentence_embedding"]

    return Pipeline().eval()


def _dimension(model: Any) -> int:
    """Columns of the last module's output, before any truncation."""
    cut, model.truncate_dim = model.truncate_dim, None
    try:
        (vector,) = model.encode(["a"], show_progress_bar=False)
    finally:
        model.truncate_dim = cut
    return len(vector)


def _special_tokens(model: Any) -> tuple[str, ...]:
    tokens = getattr(getattr(model[0], "tokenizer", None), "all_special_tokens", ())
    return tuple(dict.fromkeys(map(str, tokens)))[:_SPECIAL]
