"""A prepared model: encodes as the `SentenceTransformer` that it was made of, without torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.convert import converted, empty
from pytest_embedcache.models.freed import trim
from pytest_embedcache.models.onnx.description import GRAPH, TOKENIZER, Description
from pytest_embedcache.models.onnx.session import Session
from pytest_embedcache.models.onnx.tokens import Tokens
from pytest_embedcache.models.precision import quantized
from pytest_embedcache.models.progress import progress_bar
from pytest_embedcache.models.roles import prompt_name_of
from pytest_embedcache.models.threads import allowed

if TYPE_CHECKING:
    import numpy as np

__all__ = ["OnnxModel"]

_log = logging.getLogger(__name__)

#: Tokens of one run, padding counted: what a run needs of memory grows with them, and above this
#: number a token costs no less.
RUN_TOKENS = 2048
#: Texts whose tokens are held at once.
_TOKENIZED = 1024


class OnnxModel:
    """The model of a prepared artifact.

    Attributes, all of which may be set, and count from the next call on: `max_seq_length` in
    tokens, `prompts`, `default_prompt_name`, `truncate_dim`, `similarity_fn_name`.

    Args:
        folder: The artifact's directory.
        threads: With which it computes; None is what the process may use.

    Raises:
        ValueError: The directory holds no such artifact.
    """

    device = "cpu"

    def __init__(self, folder: str | Path, *, threads: int | None = None) -> None:
        folder = Path(folder)
        self.description = Description.read(folder)
        self.max_seq_length = self.description.max_seq_length
        self.prompts = dict(self.description.prompts)
        self.default_prompt_name = self.description.default_prompt_name
        self.truncate_dim = self.description.truncate_dim
        self.similarity_fn_name = self.description.similarity
        self._tokens = Tokens(folder / TOKENIZER, self.description.rules)
        self._session = Session(folder / GRAPH, threads or allowed())

    def __repr__(self) -> str:
        return f"<OnnxModel {self.description.name!r} ({self.description.form})>"

    @property
    def tokenizer(self) -> Any:
        """The `tokenizers.Tokenizer`."""
        return self._tokens.tokenizer

    def encode(
        self,
        inputs: Any = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        output_value: str | None = "sentence_embedding",
        precision: str | None = "float32",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        device: Any = None,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
        pool: Any = None,
        chunk_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """The vectors of `inputs`, row i for text i.

        Arguments and result are those of `SentenceTransformer.encode`: by default float32 of shape
        (n, dimension) for a sequence of strings, and (dimension,) for one. `batch_size` is the most
        texts in a run; long ones are fewer. `task` changes nothing: a model whose roles differ in
        more than the prompt is not prepared.

        Raises:
            ValueError: Something that only the model in torch can do (token embeddings, several
                processes, another device), a prompt name that the model does not have, …
            TypeError: Something else than strings is to be encoded.
        """
        inputs = kwargs.pop("sentences", inputs)
        kwargs.pop("task", None)
        if kwargs:
            raise ValueError(f"a prepared model does not know the arguments {sorted(kwargs)}")
        if output_value != "sentence_embedding" or pool is not None or isinstance(device, list):
            raise ValueError(
                "a prepared model computes the vectors of texts, in this process; load the model "
                "with backend='torch' for token embeddings, or for several processes"
            )
        if device is not None and not str(device).startswith("cpu"):
            raise ValueError(f"a prepared model computes on the CPU, not on {str(device)!r}")
        if batch_size <= 0:
            raise ValueError(f"batch_size must be a positive integer, got {batch_size}.")
        single = isinstance(inputs, str)
        texts = [inputs] if single else list(inputs)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("a prepared model encodes texts, and something else is among them")
        before = self._prompt(prompt_name, prompt)
        if not texts:
            return empty(tensor=convert_to_tensor, numpy=convert_to_numpy)
        if show_progress_bar is None:
            show_progress_bar = _log.getEffectiveLevel() in (logging.INFO, logging.DEBUG)
        matrix = self._matrix(texts, before, batch_size, bool(show_progress_bar))
        cut = self.truncate_dim if truncate_dim is None else truncate_dim
        if cut is not None:
            matrix = matrix[:, :cut].copy()
        if normalize_embeddings:
            matrix = _normalized(matrix)
        if precision not in (None, "float32"):
            matrix = quantized(matrix, str(precision))
        return converted(
            matrix,
            single=single,
            tensor=convert_to_tensor,
            numpy=convert_to_numpy,
            dtype="float32",
            device=None,
        )

    def encode_query(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As `encode`, with the prompt of a query, where the model has one."""
        return self._encode_as("query", inputs, *args, **kwargs)

    def encode_document(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """As `encode`, with the prompt of a document, where the model has one."""
        return self._encode_as("document", inputs, *args, **kwargs)

    def get_embedding_dimension(self) -> int:
        """Columns of what `encode` returns, `truncate_dim` considered."""
        full = self.description.dimension
        return full if self.truncate_dim is None else min(full, self.truncate_dim)

    def get_sentence_embedding_dimension(self) -> int:
        """The older name of `get_embedding_dimension`."""
        return self.get_embedding_dimension()

    def _encode_as(
        self,
        role: str,
        inputs: Any,
        prompt_name: str | None = None,
        prompt: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        if prompt_name is None and prompt is None:
            prompt_name = prompt_name_of(role, self.prompts)
            prompt = "" if prompt_name is None else None  # and not the default one
        return self.encode(inputs, prompt_name, prompt, *args, **kwargs)

    def _prompt(self, name: str | None, prompt: str | None) -> str:
        """By the rules of sentence-transformers. Raises `ValueError` for a name not known."""
        if prompt is not None:
            return prompt
        if name is None:
            return self.prompts.get(self.default_prompt_name or "") or ""
        if name not in self.prompts:
            raise ValueError(
                f"Prompt name {name!r} not found in the configured prompts dictionary with keys "
                f"{list(self.prompts)!r}."
            )
        return self.prompts[name]

    def _matrix(
        self, texts: Sequence[str], prompt: str, batch_size: int, progress: bool
    ) -> np.ndarray:
        import numpy as np

        limit = self.max_seq_length
        rules = self.description.rules
        prompt_tokens = 0
        if prompt and not rules.pools_prompt:
            prompt_tokens = self._tokens.prompt_length(prompt, limit)
        matrix = np.empty((len(texts), self.description.dimension), np.float32)
        # Longest first: texts of one length share a run, and what is too large fails at once.
        order = sorted(range(len(texts)), key=lambda row: -len(texts[row]))
        tokens = 0
        with progress_bar(len(texts) if progress else None) as advance:
            for start in range(0, len(order), _TOKENIZED):
                rows = order[start : start + _TOKENIZED]
                encodings = self._tokens.encode([prompt + texts[row] for row in rows], limit)
                size = 1 if self.description.alone else batch_size
                for places in _runs([len(encoding.ids) for encoding in encodings], size):
                    batch = [encodings[place] for place in places]
                    arrays = self._tokens.inputs(batch, prompt_tokens)
                    matrix[[rows[place] for place in places]] = self._session.run(arrays)
                    advance(len(places))
                tokens += sum(len(encoding.ids) for encoding in encodings)
        if tokens > RUN_TOKENS:
            trim()  # it takes less than a millisecond, and runs of that size many
        return matrix


def _runs(lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Places of texts that are computed together, of similar length and few enough tokens."""
    order = sorted(range(len(lengths)), key=lambda place: -lengths[place])
    while order:
        fitting = max(1, RUN_TOKENS // max(1, lengths[order[0]]))
        count = min(batch_size, fitting)
        yield order[:count]
        del order[:count]


def _normalized(matrix: np.ndarray) -> np.ndarray:
    import numpy as np

    # As torch.nn.functional.normalize, whose smallest divisor this is.
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    divided: np.ndarray = matrix / np.maximum(norms, np.float32(1e-12))
    return divided
