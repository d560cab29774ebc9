"""One user's look at a model that many share: prompts, truncation and similarity of his own."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pytest_embedcache.dropin.asked import views_are_exact
from pytest_embedcache.models.roles import prompt_name_of

if TYPE_CHECKING:
    from pytest_embedcache.vectors.cached_model import CachedModel

__all__ = ["NAMES", "View"]

NAMES = ("prompts", "default_prompt_name", "truncate_dim", "similarity_fn_name")


class View:
    """What a call means for the shared model.

    Args:
        model: The shared model; what it says of itself now is remembered.
        asked: What the constructor was given of `NAMES`.

    Raises `ValueError`, as the real class, for a default prompt that is not among the prompts.

    Attributes:
        values: Name -> value, the user's to change.
    """

    def __init__(self, model: CachedModel, asked: Mapping[str, Any]) -> None:
        self._saved: dict[str, Any] = {name: getattr(model, name) for name in NAMES}
        self._saved["prompts"] = dict(self._saved["prompts"])
        self.values = {**copy.deepcopy(self._saved), **copy.deepcopy(dict(asked))}
        self.values["prompts"] = {**self._saved["prompts"], **asked.get("prompts", {})}
        default = self.values["default_prompt_name"]
        if default is not None and default not in self.values["prompts"]:
            raise ValueError(
                f"Default prompt name {default!r} not found in the configured prompts dictionary "
                f"with keys {list(self.values['prompts'])!r}."
            )

    def copied(self, *, deep: bool) -> View:
        """Another user's; what the values hold is shared unless it is `deep`."""
        made = copy.copy(self)
        made.values = copy.deepcopy(self.values) if deep else dict(self.values)
        return made

    @property
    def changes(self) -> dict[str, Any]:
        """What differs from the shared model."""
        return {name: value for name, value in self.values.items() if value != self._saved[name]}

    def fits(self, name: str, value: Any) -> bool:
        """Whether a value can be had without a model of one's own."""
        if name == "truncate_dim":
            if value == self._saved[name]:
                return True
            return type(value) is int and value > 0 and views_are_exact()
        if name == "similarity_fn_name":
            return value in ("cosine", "dot", "euclidean", "manhattan")
        if name == "default_prompt_name":
            return value is None or isinstance(value, str)
        return isinstance(value, dict) and all(
            isinstance(part, str) for item in value.items() for part in item
        )

    def call(
        self,
        role: str | None,
        prompt_name: str | None,
        prompt: str | None,
        options: dict[str, Any],
    ) -> tuple[str | None, str | None, dict[str, Any]]:
        """Prompt name, prompt and options for the shared model, which then means the same.

        By the rules of `SentenceTransformer.encode`. Raises `ValueError` for a prompt name that is
        not among the prompts.
        """
        cut = self.values["truncate_dim"]
        if options.get("truncate_dim") is None and cut != self._saved["truncate_dim"]:
            options = {**options, "truncate_dim": cut}
        prompts, default = self.values["prompts"], self.values["default_prompt_name"]
        as_saved = prompts == self._saved["prompts"]
        if as_saved and default == self._saved["default_prompt_name"]:
            return prompt_name, prompt, options
        if prompt is not None:
            return None, prompt, options
        if role is not None and prompt_name is None:
            prompt_name, default = prompt_name_of(role, prompts), None
        if prompt_name is not None:
            if prompt_name not in prompts:
                raise ValueError(
                    f"Prompt name {prompt_name!r} not found in the configured prompts dictionary "
                    f"with keys {list(prompts)!r}."
                )
            prompt = prompts[prompt_name]
        elif default is not None:
            prompt = prompts.get(default)
        if not prompt:
            # None, unless that would be a prompt of the shared model.
            plain = role is None and self._saved["default_prompt_name"] is None
            prompt = None if plain else ""
        return None, prompt, options

    def dimension(self, model: CachedModel) -> int | None:
        """Columns of what `encode` returns."""
        cut, saved = self.values["truncate_dim"], self._saved["truncate_dim"]
        if cut == saved:
            return model.get_embedding_dimension()
        full = model.metadata.dimension if saved is not None else model.get_embedding_dimension()
        found: int = cut if full is None else min(full, cut)
        return found
