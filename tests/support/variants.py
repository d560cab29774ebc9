"""Tiny models of the kinds that matter for what a `CachedModel` stands in for."""

from __future__ import annotations

import importlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.models import tiny_bert

PROMPTS = {"query": "a cat ", "document": "a dog ", "sts": "b "}


def _with_config(path: Path, **config: Any) -> None:
    tiny_bert(path)
    (path / "config_sentence_transformers.json").write_text(json.dumps(config))


def _module(name: str) -> Any:
    """A class of module, wherever the installed version keeps it."""
    for home in (
        "sentence_transformers.sentence_transformer.modules",
        "sentence_transformers.models",
    ):
        try:
            modules = importlib.import_module(home)
        except ImportError:
            continue
        if hasattr(modules, name):
            return getattr(modules, name)
    return pytest.skip(f"the installed sentence-transformers has no {name}")


def _saved(path: Path, modules: Callable[[Any], list[Any]]) -> None:
    """Save a model of modules made from those of a tiny BERT, with weights of a fixed seed."""
    import torch
    from sentence_transformers import SentenceTransformer

    base = tiny_bert(path.parent / f"{path.name}-base")
    torch.manual_seed(0)
    made = modules(SentenceTransformer(str(base), device="cpu"))
    model = SentenceTransformer(modules=made, device="cpu")
    model.save(str(path), create_model_card=False)
    shutil.rmtree(base)


def _dense(path: Path) -> None:
    dense = _module("Dense")
    _saved(path, lambda model: [model[0], model[1], dense(16, 6)])


def _static(path: Path) -> None:
    static = _module("StaticEmbedding")
    _saved(path, lambda model: [static(model.tokenizer.backend_tokenizer, embedding_dim=12)])


def _router(path: Path) -> None:
    static, router = _module("StaticEmbedding"), _module("Router")

    def modules(model: Any) -> list[Any]:
        quick = static(model.tokenizer.backend_tokenizer, embedding_dim=16)
        return [router.for_query_document([quick], [model[0], model[1]])]

    _saved(path, modules)


def _query_length(path: Path) -> None:
    """A transformer that cuts queries shorter than documents (version 6)."""
    _module("Router")  # there since version 5
    tiny_bert(path)
    config = {"max_seq_length": 32, "do_lower_case": False, "query_length": 4}
    (path / "sentence_bert_config.json").write_text(json.dumps(config))


#: Name -> what writes such a model into a directory that does not exist yet.
VARIANTS: dict[str, Callable[[Path], object]] = {
    "plain": tiny_bert,
    "prompts": lambda path: _with_config(path, prompts=PROMPTS),
    "default prompt": lambda path: _with_config(path, prompts=PROMPTS, default_prompt_name="sts"),
    "passage prompt": lambda path: _with_config(path, prompts={"query": "b ", "passage": "a dog "}),
    "truncated": lambda path: _with_config(path, truncate_dim=5, similarity_fn_name="dot"),
    "dense": _dense,
    "static": _static,
    "router": _router,
    "query length": _query_length,
}
