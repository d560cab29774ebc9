"""A model that another process of this machine has: what a worker has in place of one.

It is asked for texts over a local socket, and for nothing else. Whatever needs the model itself (to
read its tokenizer, to change it, to compute what is not stored) loads it in this process, as does
everything once the host is lost.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_embedcache.errors import EmbedCacheError, HostError
from pytest_embedcache.models import background
from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.models.backends.onnx import OnnxBackend
from pytest_embedcache.models.backends.torch import TorchBackend
from pytest_embedcache.models.convert import converted
from pytest_embedcache.models.handle import ModelHandle
from pytest_embedcache.models.host.wire import pack_texts, unpack_rows
from pytest_embedcache.spec import ModelSpec

if TYPE_CHECKING:
    from pytest_embedcache.models.host.link import Link
    from pytest_embedcache.models.identity import Identity
    from pytest_embedcache.models.registry import ModelRegistry

__all__ = ["HostedHandle", "HostedModel", "asking", "hosted"]

T = TypeVar("T")
#: What a host loads as this process would.
_SAME_THERE: tuple[type, ...] = (TorchBackend, OnnxBackend)
#: Arguments of `encode` that a host is told as they are.
_TOLD = frozenset(
    ("prompt_name", "prompt", "task", "normalize_embeddings", "truncate_dim", "batch_size")
)
#: Values of the others that change nothing for a host.
_PLAIN = {
    "output_value": ("sentence_embedding",),
    "precision": (None, "float32"),
    "pool": (None,),
    "chunk_size": (None,),
}
_FIELDS = [field.name for field in fields(ModelSpec) if field.init and field.name != "token"]


class HostedModel:
    """As much of a model as a host has for a worker: vectors of texts.

    Attributes:
        prompts, default_prompt_name, truncate_dim: Of the loaded model.
        signature: Of the files that the host has loaded.
    """

    def __init__(self, link: Link, spec: ModelSpec, identity: Identity) -> None:
        told, _ = link.ask(
            {
                "do": "open",
                "spec": {name: getattr(spec, name) for name in _FIELDS},
                "fingerprint": identity.fingerprint,
                "signature": identity.signature,
            }
        )
        self.prompts: dict[str, str] = dict(told["prompts"])
        self.default_prompt_name = told["default_prompt_name"]
        self.truncate_dim = told["truncate_dim"]
        self._ticket = told["ticket"]
        self._link = link
        self._spec = spec
        self._dtype = identity.dtype
        self.signature = identity.signature

    def encode_query(self, inputs: Any, **options: Any) -> Any:
        """As `encode`, with the task that it is."""
        return self.encode(inputs, task="query", **options)

    def encode(self, inputs: Any, **options: Any) -> Any:
        """As the model's own, for a text or a list of texts.

        Raises `HostError` for what only the model itself can do, and where the host is lost.
        """
        single = isinstance(inputs, str)
        texts = [inputs] if single else inputs
        if not isinstance(texts, list | tuple) or not all(type(text) is str for text in texts):
            raise HostError("it has the vectors of texts only")
        tensor = bool(options.pop("convert_to_tensor", False))
        numpy = bool(options.pop("convert_to_numpy", True))
        device = options.pop("device", None)
        options.pop("show_progress_bar", None)
        for name, plain in _PLAIN.items():
            if options.pop(name, plain[0]) not in plain:
                raise HostError(f"it has no vectors with that {name}")
        told = {name: value for name, value in options.items() if value is not None}
        if device not in (None, self._spec.device) or not _can_be_told(told):
            raise HostError("it does not know all arguments of the call")
        if not texts:
            raise HostError("there is no text to ask for")
        lengths, payload = pack_texts(texts)
        asked = {"do": "encode", "ticket": self._ticket, "lengths": lengths, "options": told}
        asked["worker"] = self._link.worker
        answer, rest = self._link.ask(asked, payload)
        self._link.asked += len(texts)
        matrix = unpack_rows(answer, rest, len(texts))
        if numpy and not tensor:
            return matrix[0] if single else matrix
        form = {"single": single, "tensor": tensor, "numpy": numpy}
        matrix = matrix.astype("float32")
        return converted(matrix, **form, dtype=self._dtype, device=self._spec.device)


def _can_be_told(options: dict[str, Any]) -> bool:
    """Whether JSON brings each of them over as it is."""
    if options.keys() - _TOLD:
        return False
    for value in options.values():
        if type(value) is str:
            try:
                value.encode()
            except UnicodeEncodeError:  # two surrogates would come back as one character
                return False
        elif type(value) not in (bool, int):
            return False
    return True


class HostedHandle(ModelHandle):
    """A handle whose model may be a host's: then texts are sent there, and nothing is loaded here.

    Who asks for the model itself gets one that is loaded in this process, as from any handle.
    """

    #: Finds the host; set by whoever makes the handle.
    link: Link

    _hosted: HostedModel | None = None
    #: Only in this process, from now on.
    _settled = False

    def is_elsewhere(self, model: Any) -> bool:
        return isinstance(model, HostedModel)

    def nearest(self) -> Any:
        if (model := self.model) is not None:
            return model
        self._may_be_loaded()
        return self._elsewhere() or self.get(timeout=None)

    @contextmanager
    def held(self, *, here: bool = True) -> Iterator[Any]:
        if not here and isinstance(model := self.nearest(), HostedModel):
            with self._settling():
                yield model
            return
        with super().held() as model:
            yield model

    @contextmanager
    def using(self, *, here: bool = True) -> Iterator[Any]:
        if not here and isinstance(model := self.nearest(), HostedModel):
            with self._settling():
                yield model  # for any number of threads at once
            return
        with super().using() as model:
            yield model

    def call(self, use: Callable[[Any], T]) -> T:
        try:
            with self.using(here=False) as model:
                return use(model)
        except HostError:
            return super().call(use)

    def start_loading(self) -> None:
        if self.is_loaded or self._hosted is not None or self._settled:
            return super().start_loading()
        background.start(self._nearest_quietly, f"load {self.asked_as}")
        return None

    def _nearest_quietly(self) -> None:
        try:
            self.nearest()
        except EmbedCacheError as error:
            background.say_failed(self.asked_as, error)

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """What the host cannot do, this process does from now on."""
        try:
            yield
        except HostError:
            self._settled = True
            self._hosted = None
            raise

    def _elsewhere(self) -> HostedModel | None:
        if self._settled or not _is_plain(self.spec):
            return None
        if (found := self._hosted) is not None:
            return found
        try:
            if not self.link.find():
                return None  # another time, perhaps
            identity = self._backend.identify(self.spec, self._artifacts)  # type: ignore[arg-type]
            found = HostedModel(self.link, self.spec, identity)
        except (EmbedCacheError, KeyError, TypeError):
            # It may be this model's fault; then loading it here says so.
            self._settled = True
            return None
        self._hosted = found
        return found


def asking(link: Link) -> Callable[..., ModelHandle]:
    """`ModelRegistry.make_handle` of a registry whose models the host of `link` may have.

    A backend of another class than the package's own is somebody's of this process: it stays here.
    """

    def make(spec: ModelSpec, backend: Any, **given: Any) -> ModelHandle:
        if type(BACKENDS.get(spec.backend)) not in _SAME_THERE:
            return ModelHandle(spec, backend, **given)
        made = HostedHandle(spec, backend, **given)
        made.link = link
        return made

    return make


def hosted(registry: ModelRegistry, address: str | os.PathLike[str] | None = None) -> ModelRegistry:
    """Let a host compute what is asked of a registry's models, as long as there is one.

    `address` is the path of its socket, as `embedcache host status` shows it; None is the host that
    is kept for this environment and the registry's cache directory. Where there is none, or it has
    other models than the registry means, the registry loads as any other. Returns the registry.
    """
    from pytest_embedcache.models.host.address import Address, address_of
    from pytest_embedcache.models.host.link import Link
    from pytest_embedcache.models.host.surroundings import Surroundings

    around = Surroundings.now()
    if address is None:
        found = address_of(str(registry.artifacts.directory.parent), around=around)
    else:
        path = Path(address).absolute()
        found = Address(path, unix=path.suffix != ".port")
    registry.make_handle = asking(Link(lambda: [found], around=around))
    return registry


def _is_plain(spec: ModelSpec) -> bool:
    """Whether this process would compute as another one does that knows the spec alone."""
    if spec.trust_remote_code:
        return False
    package: Any = sys.modules.get("sentence_transformers")
    kind = vars(package).get("SentenceTransformer") if package is not None else None
    kind = getattr(kind, "__embedcache_real__", kind)
    if kind is not None and not str(kind.__module__).startswith("sentence_transformers"):
        return False  # a test's own class
    torch = sys.modules.get("torch")
    if torch is not None and spec.backend == "torch":
        with contextlib.suppress(RuntimeError, TypeError, AttributeError):
            return not torch.is_autocast_enabled((spec.device or "cpu").partition(":")[0])
    return True
