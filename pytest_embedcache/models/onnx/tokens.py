"""From texts to the inputs of a graph: what transformers does around its tokenizer, without it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_embedcache.models.onnx.description import TokenRules

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Tokens"]

#: Above this a length is none: transformers writes 10**30 where a tokenizer has no limit.
_NO_LIMIT = 2**31


class Tokens:
    """A tokenizer, and how its tokens are batched.

    Args:
        file: The tokenizer's JSON. Truncation and padding that it asks for do not count, since
            transformers sets both anew, but where the rules leave truncation to it.
        rules: What the file does not say.
    """

    def __init__(self, file: Path, rules: TokenRules) -> None:
        from tokenizers import Tokenizer

        self.rules = rules
        self.tokenizer = Tokenizer.from_file(str(file))
        self.tokenizer.no_padding()
        self._limit: float | None = -1  # that of the file, whatever it is
        self._lock = threading.Lock()
        # The faster one leaves out the places in the text, which nobody needs.
        self._batch = getattr(self.tokenizer, "encode_batch_fast", self.tokenizer.encode_batch)

    def encode(self, texts: Sequence[str], limit: float | None) -> list[Any]:
        """Ids and types of each text, cut to `limit` tokens, special ones counted."""
        prepared = list(map(self._prepared, texts))
        with self._lock:  # another thread may have another limit
            self._cut_at(limit)
            return list(self._batch(prepared, add_special_tokens=self.rules.special))

    def prompt_length(self, prompt: str, limit: float | None) -> int:
        """How many tokens at the beginning of a text are those of its prompt."""
        ids = self.encode([prompt], limit)[0].ids
        return len(ids) - bool(ids and ids[-1] in self.rules.special_ids)

    def inputs(self, encodings: Sequence[Any], prompt: int = 0) -> dict[str, np.ndarray]:
        """The arrays of one batch by the names of a graph's inputs, int64.

        Of shape (texts, longest), and where the rules say flat, of shape (tokens,) and (texts,).
        `prompt` tokens of each text are its prompt's.
        """
        import numpy as np

        if self.rules.flat:
            lengths = [len(encoding.ids) for encoding in encodings]
            joined = [token for encoding in encodings for token in encoding.ids]
            offsets = np.cumsum([0, *lengths[:-1]], dtype=np.int64)
            return {"input_ids": np.array(joined, np.int64), "offsets": offsets}
        shape = len(encodings), max(len(encoding.ids) for encoding in encodings)
        ids = np.full(shape, self.rules.pad_id, np.int64)
        types = np.full(shape, self.rules.pad_type_id, np.int64)
        mask = np.zeros(shape, np.int64)
        pooled = np.zeros(shape, np.int64)
        for row, encoding in enumerate(encodings):
            count = len(encoding.ids)
            first = shape[1] - count if self.rules.pads_left else 0
            ids[row, first : first + count] = encoding.ids
            types[row, first : first + count] = encoding.type_ids
            mask[row, first : first + count] = 1
            pooled[row, first + prompt : first + count] = 1
        return {
            "input_ids": ids,
            "attention_mask": mask,
            "token_type_ids": types,
            "pooling_mask": pooled,
        }

    def _prepared(self, text: str) -> str:
        text = text.strip() if self.rules.strip else text
        return text.lower() if self.rules.lower else text

    def _cut_at(self, limit: float | None) -> None:
        if not self.rules.truncates or limit == self._limit:
            return
        # Only where it changes: both calls rebuild the tokenizer.
        if limit is None or limit >= _NO_LIMIT:
            self.tokenizer.no_truncation()
        else:
            side = "left" if self.rules.cuts_left else "right"
            self.tokenizer.enable_truncation(int(limit), direction=side)
        self._limit = limit
