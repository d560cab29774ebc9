"""Libraries that use sentence-transformers, used as their documentation shows; one process each.

`main(library, how, model)` prints what came out as JSON: `out`, and `torch`, the modules by which
torch was imported first, None where it was not. `how` is `naive`, `dropin`, or `defer`, the drop-in
with `embedcache_dropin_defer`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["USES", "WatchTorch", "main"]

TEXTS = ["a cat sits on the mat", "a kitten sleeps", "quarterly revenue rose by ten percent"]
DOCUMENT = (
    "Supervised learning is the machine learning task of learning a function that maps an input to "
    "an output based on example input-output pairs."
)
SUBJECTS = [
    ("a cat chases", "a mouse"),
    ("the bank raised", "interest rates"),
    ("the rocket reached", "orbit"),
]


def chroma(model: str) -> Any:
    from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction

    embed = SentenceTransformerEmbeddingFunction(model_name=model, device="cpu")
    return [[float(x) for x in vector] for vector in embed(TEXTS)]


def langchain(model: str) -> Any:
    from langchain_huggingface import HuggingFaceEmbeddings

    embeddings = HuggingFaceEmbeddings(model_name=model, model_kwargs={"device": "cpu"})
    return [*embeddings.embed_documents(TEXTS), embeddings.embed_query("feline")]


def llama_index(model: str) -> Any:
    from llama_index.embeddings.huggingface import HuggingFaceEmbedding

    # Without a device its own search for one imports torch.
    embedding = HuggingFaceEmbedding(model_name=model, device="cpu")
    return [*embedding.get_text_embedding_batch(TEXTS), embedding.get_query_embedding("feline")]


def keybert(model: str) -> Any:
    from keybert import KeyBERT

    found = KeyBERT(model).extract_keywords(DOCUMENT, top_n=5)
    return [[word, round(float(score), 4)] for word, score in found]


def bertopic(model: str) -> Any:
    from bertopic import BERTopic
    from sklearn.decomposition import PCA

    documents = [f"{a} {b} number {number}" for number in range(12) for a, b in SUBJECTS]
    # Not UMAP, which compiles itself for a minute when it is first used.
    topics = BERTopic(embedding_model=model, umap_model=PCA(n_components=2), min_topic_size=5)
    found, _ = topics.fit_transform(documents)
    words = {int(topic): [w for w, _ in top] for topic, top in topics.get_topics().items()}
    return [[int(topic) for topic in found], sorted(words.items())]


USES: dict[str, Callable[[str], Any]] = {
    "chroma": chroma,
    "langchain": langchain,
    "llama_index": llama_index,
    "keybert": keybert,
    "bertopic": bertopic,
}


class WatchTorch:
    """A finder that finds nothing, and notes who imports torch first, the innermost first."""

    def __init__(self) -> None:
        self.chain: list[str] | None = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name != "torch" or self.chain is not None:
            return
        frame: Any = sys._getframe(1)
        packages = []
        while frame is not None:
            module = str(frame.f_globals.get("__name__", "?"))
            if module == "importlib.util" and frame.f_code.co_name == "find_spec":
                return  # only asks whether it is there
            if not module.startswith(("importlib", "_frozen_importlib", "_pytest", "pluggy")):
                packages.append(module)
            frame = frame.f_back
        self.chain = list(dict.fromkeys(packages))


def main(library: str, how: str, model: str) -> None:
    watch = WatchTorch()
    sys.meta_path.insert(0, watch)  # type: ignore[arg-type]
    if how != "naive":
        _stand_in(defer=how == "defer")
    out = USES[library](model)
    print(json.dumps({"out": out, "torch": watch.chain if "torch" in sys.modules else None}))


def _stand_in(*, defer: bool) -> None:
    """As the plugin does, without pytest."""
    from pytest_embedcache.dropin.deferred import DeferredNames
    from pytest_embedcache.dropin.sentence_transformers import SentenceTransformers
    from pytest_embedcache.dropin.switch import Switch

    switch = Switch([SentenceTransformers(), *([DeferredNames()] if defer else [])])
    switch.install()
    switch.started = True
