"""The model behind the vectors: which one it is, whether the loaded one is it, and its keys."""

from __future__ import annotations

import os
import sys
import weakref
from dataclasses import replace
from typing import Any, NamedTuple

from pytest_embedcache import notices
from pytest_embedcache.errors import EmbedCacheError, ExportError, HostError, KeyFieldError
from pytest_embedcache.models import background
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.registry import ModelRegistry, means_the_same_later
from pytest_embedcache.models.roles import prompts_as_loaded
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.calls import Call
from pytest_embedcache.vectors.keys import KeyFields, KeyMaker

__all__ = ["Keyed", "ModelSource", "say_instead"]

State = tuple[tuple[str, str], ...]
#: Calls of different options whose key makers are kept.
_MAX_MAKERS = 256


class Keyed(NamedTuple):
    """The keys of one call, and what they were made for: they are of no use after a change of it.

    `state` is what differs from the model as it was loaded; empty where nothing does.
    """

    maker: KeyMaker
    identity: Identity
    state: State


class ModelSource:
    """Ties keys to a model: by the content of its files while it is not loaded, then by itself.

    Args:
        registry: Has the model, or loads it.
        spec: Which model.

    Raises, already here, what `ModelRegistry.identify` raises: a wrong name fails at once.

    Attributes:
        asked: The spec as it was given, but for a path that would lead elsewhere later.
        spec: Resolved, once that can be done without importing anything heavy.
        identity: What the keys are made from.
        in_one_call: Whether what is missing of a call is computed in one, in the caller's order.
            Else in slices, the longest texts first, and by themselves while recording.
    """

    in_one_call = False

    def __init__(self, registry: ModelRegistry, spec: ModelSpec) -> None:
        if not means_the_same_later(spec):
            # Loaded later, from another directory, a relative path would be another model.
            spec = spec.replace(name=os.path.abspath(os.path.expanduser(spec.name)))
        self.registry = registry
        self.asked = self.spec = spec
        self.identity: Identity = registry.identify(spec)
        #: Not kept alive by this: an evicted model goes, though somebody has the `CachedModel`.
        self._learnt: weakref.ref[ModelHandle] | None = None
        self._resolves = self.identity.signature is not None
        #: By the arguments of a call, and the state of the model.
        self._keyed: dict[tuple[Any, ...], Keyed] = {}
        self._starting = False
        self.instead: ModelSpec | None = None
        if self._resolves and spec.device is not None:
            # So that a model which was loaded under another spelling is seen to be this one.
            self.spec = registry.resolve(spec)

    def is_outdated(self) -> bool:
        """Whether what was asked for is another model by now: files, or a branch, have changed."""
        now = self.registry.identify(self.asked)
        known = self.identity
        return (now.fingerprint, now.signature) != (known.fingerprint, known.signature)

    def loaded(self) -> ModelHandle | None:
        """The handle, if the model is loaded; loads nothing."""
        if not self.spec.is_resolved and self._resolves and self._can_be_loaded():
            try:
                self.spec = self.registry.resolve(self.spec)
            except EmbedCacheError:
                self._resolves = False  # its files are gone: whoever needs them will be told
        return self.registry.loaded(self.spec)

    def _can_be_loaded(self) -> bool:
        # What the device is that was left open can take an import of torch to know; but before
        # that import nobody has a model of this backend.
        return self.spec.backend != "torch" or "torch" in sys.modules

    def handle(self, needed: str = "this") -> ModelHandle:
        """The handle, whether its model is loaded or not; `needed` is for whom there is none."""
        try:
            handle = self.registry.handle(self.spec, asked_as=self.asked.name)
        except ExportError as error:
            if self.instead is None:
                raise
            self._serve_instead(error)
            return self.handle(needed)
        self.spec = handle.spec
        return handle

    def _serve_instead(self, error: ExportError) -> None:
        """Go on with the other backend; keys that were made meanwhile are made again."""
        other, self.instead = self.instead, None
        if other is not None:
            say_instead(self.spec, other, error)
            self.spec, self.identity = other, self.registry.identify(other)
            self._learnt = None

    def load(self, needed: str = "this") -> ModelHandle:
        """The handle with its model loaded. It may be unloaded at any time, unless it is held."""
        handle = self.handle(needed)
        handle.get(timeout=None)
        return handle

    def preload(self, *, pin: bool = False) -> None:
        """Load what a text that is not stored will need; `pin` keeps it for good."""
        handle = self.handle()
        handle.pinned = handle.pinned or pin  # first, or it might go before it is used
        handle.nearest()

    def start_loading(self) -> None:
        """`preload` in a thread beside this one; nothing where it is done, or under way."""
        if self.spec.is_resolved:
            self.handle().start_loading()
        elif not self._starting:  # what the device is that was left open may take an import
            self._starting = True
            background.start(self._start, f"load {self.asked.name}")

    def _start(self) -> None:
        try:
            self.preload()
        except EmbedCacheError as error:
            background.say_failed(self.asked.name, error)
        finally:
            self._starting = False

    def keyed(self, call: Call) -> Keyed | None:
        """The keys of this call's texts as things are now; None where there can be none.

        Raises `ValueError` for a prompt name that the model does not have.
        """
        handle = self.loaded()
        identity = self.identity
        state = handle.state() if handle is not None else ()
        told = call.told()
        asked = None if told is None else (told, state)
        known = None if asked is None else self._keyed.get(asked)
        if known is not None and known.identity is identity:
            return known
        try:
            maker = self._maker(call, identity, state)
        except KeyFieldError:
            return None
        if maker is None:
            return None
        found = Keyed(maker, identity, state)
        if asked is not None and (known is not None or len(self._keyed) < _MAX_MAKERS):
            self._keyed[asked] = found
        return found

    def holds(self, keyed: Keyed, handle: ModelHandle, model: Any) -> bool:
        """Whether the keys are those of the model that computes, as it is now."""
        if handle.is_elsewhere(model):
            return self._is_elsewhere(handle, model) and (keyed.identity, keyed.state) == (
                self.identity,
                (),
            )
        return (
            self.trusts(handle)
            and self.identity == keyed.identity
            and handle.state() == keyed.state
        )

    def trusts(self, handle: ModelHandle) -> bool:
        """Whether the loaded model is the one of `identity`; learns the identity if need be."""
        if handle.may_be_changed or handle.signature is None:
            self._say_untrusted(handle)
            return False
        if handle.signature != self.identity.signature:
            self.identity = self.registry.identify(handle.spec)
            self._learnt = None
            if handle.signature != self.identity.signature:
                self._say_untrusted(handle)
                return False
        self._learn(handle, handle.model)
        return True

    def _is_elsewhere(self, handle: ModelHandle, model: Any) -> bool:
        """Whether another process has the very model of `identity`; learns that if need be."""
        if model.signature != self.identity.signature:
            self.identity = self.registry.identify(handle.spec)
            self._learnt = None
            if model.signature != self.identity.signature:
                raise HostError("the model's files have changed")
        self._learn(handle, model)
        return True

    def _maker(self, call: Call, identity: Identity, state: State) -> KeyMaker | None:
        options = call.key_options(identity.metadata)
        if options is None or identity.dtype == "float64":  # stored as float32 it would lose bits
            return None
        role: str | None
        prompt: str | None
        if state:  # the prompts are part of it; what the call says of them is taken literally
            role, prompt = call.task, f"{call.prompt_name!r} {call.prompt!r}"
        else:
            role, prompt = call.role_and_prompt(identity.metadata)
        return KeyMaker(KeyFields(identity.fingerprint, role, prompt, options, dict(state)))

    def _learn(self, handle: ModelHandle, model: Any) -> None:
        """Take the prompts from the loaded model, should the files have told another story."""
        if (self._learnt is not None and self._learnt() is handle) or handle.state():
            return
        identity = self.identity
        metadata = identity.metadata
        if model is None:  # unloaded meanwhile: another time
            return
        prompts = dict(getattr(model, "prompts", metadata.prompts))
        default = getattr(model, "default_prompt_name", metadata.default_prompt_name)
        cut = getattr(model, "truncate_dim", metadata.truncate_dim)
        told = prompts_as_loaded(metadata.prompts)
        if (prompts, default, cut) != (told, metadata.default_prompt_name, metadata.truncate_dim):
            learnt = replace(
                metadata, prompts=prompts, default_prompt_name=default, truncate_dim=cut
            )
            self.identity = replace(identity, metadata=learnt)
        self._learnt = weakref.ref(handle)

    def _say_untrusted(self, handle: ModelHandle) -> None:
        reason = (
            "it was handed out to be changed"
            if handle.may_be_changed
            else "its files changed while, or after, it was loaded"
        )
        notices.degraded(
            f"vectors of {self.identity.name} are neither read from the store nor written: {reason}"
        )


def say_instead(spec: ModelSpec, other: ModelSpec, error: Exception) -> None:
    """Say once that a backend serves in another's place, and why."""
    notices.degraded(f"{spec.name} is served by the backend {other.backend}: {error}")
