"""Preparing models without the processes that do it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pytest_embedcache.models.backends import onnx as backend_module
from pytest_embedcache.models.metadata import read_metadata
from pytest_embedcache.models.onnx import preparation
from pytest_embedcache.models.onnx.description import Description, TokenRules


class Children:
    """In place of the processes that do the work, on a machine that has all packages.

    Attributes:
        asked: What was to be done, in order.
        error: What the next one fails with.
        meanwhile: Called while one is at work.
        details: What is measured.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(preparation, "run_in_child", self)
        monkeypatch.setattr(preparation, "is_installed", lambda package: True)
        monkeypatch.setattr(backend_module, "can_export", lambda: True)
        self.asked: list[str] = []
        self.error: Exception | None = None
        self.metadata: dict[str, Any] = {}
        self.details: dict[str, Any] = {"difference": 1e-7, "texts": 40}
        self.meanwhile: Callable[[], object] = lambda: None

    def __call__(self, function: str, stage: Any, **arguments: Any) -> dict[str, Any]:
        self.asked.append(function.rpartition(":")[2])
        stage("working")
        self.meanwhile()
        if "spec" in arguments:
            self.metadata = read_metadata(arguments["spec"]["path"]).as_dict()
        if self.error is not None:
            raise self.error
        facts = {n: arguments.get(n) for n in ("name", "commit", "fingerprint")}
        made = Description(
            **{**facts, "name": facts["name"] or "small"},
            form=arguments.get("form", "float32"),
            rules=TokenRules(),
            max_seq_length=32,
            prompts={},
            default_prompt_name=None,
            truncate_dim=None,
            similarity="cosine",
            dimension=16,
            metadata=self.metadata,
        )
        made.write(arguments["folder"])
        return {"files": ["embedcache.json"], "details": self.details}
