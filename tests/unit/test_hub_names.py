"""A name means the same model to us as to sentence-transformers."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_embedcache.hub_names import ROOT_NAMES
from pytest_embedcache.snapshot import repository_of


def test_a_short_name_is_one_of_sentence_transformers_own() -> None:
    """But for the names from before the Hub had organisations, in whatever case."""
    assert repository_of("all-MiniLM-L6-v2") == "sentence-transformers/all-MiniLM-L6-v2"
    assert repository_of("org/model") == "org/model"
    assert repository_of("bert-base-uncased") == "bert-base-uncased"
    assert repository_of("BERT-base-uncased") == "BERT-base-uncased"


def listed_by_sentence_transformers() -> Iterator[set[str]]:
    """The list in the installed package, read and not run: importing it brings torch."""
    package = importlib.util.find_spec("sentence_transformers")
    for folder in (package and package.submodule_search_locations) or ():
        for name in ("util/misc.py", "SentenceTransformer.py"):
            file = Path(folder, name)
            for node in ast.walk(ast.parse(file.read_text() if file.exists() else "")):
                names = [getattr(t, "id", "") for t in getattr(node, "targets", ())]
                if {"ORIGINAL_TRANSFORMER_MODELS", "basic_transformer_models"}.intersection(names):
                    assert isinstance(node, ast.Assign)
                    yield set(ast.literal_eval(node.value))


def test_the_names_at_the_root_are_those_of_sentence_transformers() -> None:
    """Our list is the installed one, so that one name means one model to both."""
    found = list(listed_by_sentence_transformers())
    if not found:
        pytest.skip("sentence-transformers is not installed, or keeps its list elsewhere")
    assert found == [ROOT_NAMES]
