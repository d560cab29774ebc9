"""What is kept beside a graph: everything that its model knows and the graph does not say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from pytest_embedcache.files import read_json, write_json
from pytest_embedcache.fingerprint import PREPARED
from pytest_embedcache.models.metadata import ModelMetadata

__all__ = ["DESCRIPTION", "GRAPH", "TOKENIZER", "WEIGHTS", "Description", "TokenRules"]

#: The files of an artifact.
DESCRIPTION, GRAPH, TOKENIZER = PREPARED, "model.onnx", "tokenizer.json"
#: Beside the graph, so that it is mapped, and all processes share its pages.
WEIGHTS = "model.onnx.data"


@dataclass(frozen=True)
class TokenRules:
    """How a text becomes the graph's inputs, where the tokenizer's own file does not say it.

    Attributes:
        strip: White space around a text is removed, the prompt's too.
        lower: A text is put into small letters.
        special: The tokenizer's special tokens are added.
        truncates: Texts are cut to the model's `max_seq_length`; else as the tokenizer's file says.
        cuts_left: Of a text that is too long, the end stays.
        pads_left: Padding comes before a text.
        pad_id: Token that stands for no token.
        pad_type_id: Its type, for a graph that has types.
        flat: The texts of a batch are one row, with the place where each begins.
        pools_prompt: Whether the prompt's own tokens are part of a vector.
        special_ids: The special tokens; the last of a prompt is not counted if it is one of them.
    """

    strip: bool = False
    lower: bool = False
    special: bool = True
    truncates: bool = True
    cuts_left: bool = False
    pads_left: bool = False
    pad_id: int = 0
    pad_type_id: int = 0
    flat: bool = False
    pools_prompt: bool = True
    special_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Description:
    """A prepared model.

    Attributes:
        name: The one name of the model that it was made of.
        commit: Of a model from the Hub.
        fingerprint: Identity of its vectors (64 hexadecimal digits).
        form: One of the forms of the backend `onnx`.
        rules: How texts become tokens.
        max_seq_length: In tokens, as the loaded model says: None, or a huge number, for no limit.
        prompts: Prompt by name, as the loaded model has them.
        default_prompt_name: The prompt of a call that names none.
        truncate_dim: Dimension to which vectors are cut by default.
        similarity: `cosine`, `dot`, `euclidean` or `manhattan`.
        dimension: Columns of the graph's output.
        alone: A text's vector would depend on its neighbours: each is computed by itself.
        metadata: What the configuration files of the model say, as `ModelMetadata.as_dict`.
    """

    name: str
    commit: str | None
    fingerprint: str
    form: str
    rules: TokenRules
    max_seq_length: float | None
    prompts: Mapping[str, str]
    default_prompt_name: str | None
    truncate_dim: int | None
    similarity: str
    dimension: int
    alone: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """That of the artifact in `folder`. Raises `ValueError` where it cannot be read."""
        found = read_json(Path(folder) / DESCRIPTION)
        try:
            rules = dict(found["rules"])
            rules["special_ids"] = tuple(rules["special_ids"])
            known = {f.name: found[f.name] for f in fields(cls)}
            return cls(**{**known, "rules": TokenRules(**rules)})
        except (KeyError, TypeError) as error:
            raise ValueError(f"{folder} has no readable {DESCRIPTION}") from error

    def write(self, folder: str | Path) -> None:
        """Write it into `folder`."""
        write_json(Path(folder) / DESCRIPTION, asdict(self))

    def facts(self) -> ModelMetadata:
        """What the model's configuration files said."""
        return ModelMetadata.from_dict(self.metadata)
