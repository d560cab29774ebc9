"""Reading a model's vectors in another process, and what they have to be.

The other process cannot import torch, so that it only ever has what is stored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from support.children import python
from support.own_defaults import own_defaults
from support.variants import PROMPTS

KNOWN = ["a cat", "a dog sits on a mat and a cat sits beside it"]
NEW = ["a kitten", "revenue " * 9]

READ = """
import json, sys
sys.modules["torch"] = sys.modules["sentence_transformers"] = None
from pytest_embedcache import get_model
from pytest_embedcache.errors import MissingExtraError
model = get_model(sys.argv[1])
found = {}
for text in json.loads(sys.argv[2]):
    for role in ("", "_query"):
        try:
            found[role + text] = getattr(model, "encode" + role)(text).tobytes().hex()
        except MissingExtraError:
            pass
print(json.dumps(found))
"""


@contextmanager
def own_process() -> Iterator[None]:
    """A default registry and store of the test's own, and one thread for torch."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with own_defaults():
        yield
    torch.set_num_threads(threads)


def with_prompts(path: Path) -> Path:
    """The model there, with prompts."""
    (path / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    return path


def read_elsewhere(name: object, texts: list[str]) -> dict[str, np.ndarray]:
    """The vectors that another process finds; a query's has `_query` before its text."""
    found = json.loads(python(READ, str(name), json.dumps(texts)))
    return {text: np.frombuffer(bytes.fromhex(raw), np.float32) for text, raw in found.items()}


def truth(path: Path, texts: list[str]) -> dict[str, np.ndarray]:
    """The right vectors, of a plain model of these files."""
    import sentence_transformers

    plain = sentence_transformers.SentenceTransformer(str(path), device="cpu")
    plain_vectors = dict(zip(texts, plain.encode(texts), strict=True))
    queries = plain.encode(texts, prompt_name="query")
    return plain_vectors | {f"_query{t}": v for t, v in zip(texts, queries, strict=True)}


def check(found: dict[str, np.ndarray], right: dict[str, np.ndarray], texts: list[str]) -> None:
    """Assert that nothing is wrong, and that `texts` are there."""
    for text, vector in found.items():
        np.testing.assert_allclose(vector, right[text], rtol=0, atol=1e-6, err_msg=text)
    assert set(found) >= {f"{role}{text}" for text in texts for role in ("", "_query")}
