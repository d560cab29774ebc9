"""A `sentence_transformers` that needs no torch, for runs in which it is stood in for.

`write_toy_st(folder)` writes it; in the child `support.toy_backend` lets registries load from it.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from support.suites import TESTS, Suite

__all__ = ["with_toy_st", "write_toy_st"]

FILES = {
    "__init__": """
        from support.light import note
        note("import sentence_transformers")
        from sentence_transformers.sentence_transformer import SentenceTransformer
        from sentence_transformers.util import cos_sim
        from sentence_transformers import SentenceTransformer as seen_by_itself
    """,
    "util": """
        def cos_sim(a, b):
            return a @ b
    """,
    "sentence_transformer/__init__": """
        from sentence_transformers.sentence_transformer.model import SentenceTransformer
    """,
    "sentence_transformer/model": """
        import os
        from support.light import LightModel, note
        from pytest_embedcache.models.metadata import read_metadata

        class SentenceTransformer(LightModel):
            default_name = "of the class"

            def __init__(self, model_name_or_path=None, *, modules=None, device=None, prompts=None,
                         default_prompt_name=None, truncate_dim=None, similarity_fn_name=None,
                         model_kwargs=None, **options):
                note("real", os.path.basename(str(model_name_or_path)))
                if modules is None and not os.path.isdir(model_name_or_path):
                    raise OSError(f"there is no {model_name_or_path}")
                where = model_name_or_path if modules is None else modules[0]
                super().__init__(where, dict(read_metadata(where).prompts))
                self.prompts = {**self.prompts, **(prompts or {})}
                self.default_prompt_name = default_prompt_name
                self.truncate_dim = truncate_dim
                self.similarity_fn_name = similarity_fn_name or "cosine"
                self.tokenizer = ["a tokenizer"]
                self.bias = 0.0

            def encode(self, *args, **options):
                options.pop("truncate_dim", None)
                return super().encode(*args, **options) + self.bias

            def fit(self):
                self.bias += 1.0
                return self
    """,
}
CONFTEST = f"""
    import sys
    sys.path.insert(0, {str(TESTS)!r})
    import support.toy_backend
    from support.light import note, vector_of

    note("conftest")
"""


def write_toy_st(folder: Path) -> None:
    """Write the package into a folder that is on the path."""
    for name, text in FILES.items():
        file = folder / "sentence_transformers" / f"{name}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(dedent(text))


def with_toy_st(suite: Suite) -> None:
    """Let a suite have it; its conftest gets `note` and `vector_of`."""
    suite.importable()
    write_toy_st(suite.path)
    (suite.path / "conftest.py").write_text(dedent(CONFTEST))
