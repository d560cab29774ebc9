"""Every exception of the package: what happened, with which model, path or value, and what to do.

Each class also derives from the built-in that a caller would catch, carries what it names as
attributes, and survives pickling (a worker's error has to reach its controller whole).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "ArtifactError",
    "EmbedCacheError",
    "EmptyTextError",
    "EncodeError",
    "EntryError",
    "ExportError",
    "FakeModelError",
    "FakeTextError",
    "FetchError",
    "HostError",
    "HostLostError",
    "IndexDamagedError",
    "IndexEntryError",
    "IndexMismatchError",
    "KeyFieldError",
    "LoadTimeoutError",
    "LockTimeoutError",
    "MeasurementFileError",
    "MissingExtraError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelSpecError",
    "ProviderError",
    "RealModelError",
    "RecordingError",
    "RecordingMismatchError",
    "RecordingNotFoundError",
    "ReplayMissError",
    "ReplayModelError",
    "SemanticIndexError",
    "ServiceClosedError",
    "SettingsError",
    "SnapshotError",
    "SpeedupError",
    "StoreError",
    "StorePausedError",
    "StoredValueError",
    "TextFileError",
    "TooManyWaitingError",
    "UnknownIdError",
    "UnknownModelError",
    "UnresolvedBindingError",
    "VectorError",
]


def _restore(
    cls: type[EmbedCacheError], args: tuple[Any, ...], state: dict[str, Any]
) -> EmbedCacheError:
    error = cls.__new__(cls, *args)
    # The built-in's own part (an ImportError's `msg`), past the __init__ that builds the message.
    super(EmbedCacheError, error).__init__(*args)
    error.__dict__.update(state)
    return error


class EmbedCacheError(Exception):
    """Base of all errors that this package raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own way calls __init__ with the finished message, which the subclasses build.
        return _restore, (type(self), self.args, dict(self.__dict__))


class ModelSpecError(EmbedCacheError, ValueError):
    """A value in a `ModelSpec` cannot be used.

    Attributes: `field` and `value`.
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        super().__init__(f"{field}={value!r} cannot be used: {remedy}")
        self.field = field
        self.value = repr(value)


class SettingsError(EmbedCacheError, ValueError):
    """A setting (command line, environment, ini or marker) has a value that cannot be used.

    Attributes: `setting`, `value` and `source` (where the value was given).
    """

    def __init__(self, setting: str, value: object, source: str, remedy: str) -> None:
        super().__init__(f"{setting} = {value!r} (from {source}) cannot be used: {remedy}")
        self.setting = setting
        self.value = repr(value)
        self.source = source


class ModelNotFoundError(EmbedCacheError, LookupError):
    """No model of that name is on this machine, and none could be had.

    Attributes: `name`, and `looked_in`, the places that were searched.
    """

    def __init__(
        self, name: str, reason: str, remedy: str, looked_in: tuple[str, ...] = ()
    ) -> None:
        where = f" Looked in: {', '.join(looked_in)}." if looked_in else ""
        super().__init__(f"model {name!r}: {reason}.{where} {remedy}")
        self.name = name
        self.looked_in = looked_in


class FetchError(EmbedCacheError, ConnectionError):
    """A model's files could not be fetched.

    Attributes: `name`, and `status`, the HTTP status where there was an answer at all.
    """

    def __init__(self, name: str, reason: str, remedy: str, status: int | None = None) -> None:
        super().__init__(f"model {name!r} could not be fetched: {reason}. {remedy}")
        self.name = name
        self.status = status


class SnapshotError(EmbedCacheError, RuntimeError):
    """A model's files are incomplete or damaged.

    Attributes: `name`, `path` (the snapshot's directory) and `problems`, one line each.
    """

    def __init__(self, name: str, path: str, problems: tuple[str, ...], remedy: str) -> None:
        found = "; ".join(problems)
        super().__init__(f"model {name!r} in {path} is incomplete or damaged: {found}. {remedy}")
        self.name = name
        self.path = path
        self.problems = problems


class ModelLoadError(EmbedCacheError, RuntimeError):
    """The backend could not build the model; the original error is the cause.

    Attributes: `name` and `backend`.
    """

    def __init__(self, name: str, backend: str, reason: str, remedy: str) -> None:
        super().__init__(f"model {name!r} could not be loaded ({backend}): {reason}. {remedy}")
        self.name = name
        self.backend = backend


class LoadTimeoutError(EmbedCacheError, TimeoutError):
    """A model was not loaded within the time that its caller gave; it may be a moment later.

    Attributes: `name`, `waited`, in seconds, and `doing`, what was waited for.
    """

    def __init__(self, name: str, waited: float, doing: str) -> None:
        super().__init__(
            f"model {name!r} is not loaded after waiting {waited:.1f} s: {doing}. Give a longer "
            "timeout, or ask again later: the load goes on."
        )
        self.name = name
        self.waited = waited
        self.doing = doing


class MissingExtraError(EmbedCacheError, ImportError):
    """Something was asked for that needs a package which the default install leaves out.

    Attributes: `package` and `extra`.
    """

    def __init__(self, wanted: str, package: str, extra: str) -> None:
        super().__init__(
            f"{wanted} needs the package {package!r}, which is not installed. "
            f"Install it with: pip install 'pytest-embedcache[{extra}]'"
        )
        self.package = package
        self.extra = extra


class ArtifactError(EmbedCacheError, RuntimeError):
    """A prepared artifact could not be built, published or read.

    Attribute: `key`, the artifact's name.
    """

    def __init__(self, key: str, reason: str, remedy: str) -> None:
        super().__init__(f"artifact {key}: {reason}. {remedy}")
        self.key = key


class ExportError(EmbedCacheError, RuntimeError):
    """A model cannot be prepared in the form asked for; the backend `torch` can serve it.

    Attributes: `name`, `form`, and `reason`, why not.
    """

    def __init__(self, name: str, form: str, reason: str, remedy: str) -> None:
        super().__init__(f"model {name!r} cannot be prepared ({form}): {reason}. {remedy}")
        self.name = name
        self.form = form
        self.reason = reason


class LockTimeoutError(EmbedCacheError, TimeoutError):
    """Another process held an artifact's lock for longer than the deadline.

    Attributes: `path` (of the lock file), `holder` (a description) and `waited`, in seconds.
    """

    def __init__(self, what: str, path: str, holder: str, waited: float) -> None:
        super().__init__(
            f"waited {waited:.0f} s for {what}, which {holder} is preparing (lock {path}). "
            "If that process hangs, end it: the lock is freed with it. "
            "If it is only slow, raise EMBEDCACHE_LOCK_TIMEOUT (seconds)."
        )
        self.path = path
        self.holder = holder
        self.waited = waited


class UnresolvedBindingError(EmbedCacheError, RuntimeError):
    """A module holds the real `SentenceTransformer` where a fake cannot replace it.

    Attribute: `module`.
    """

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(
            f"fake_sentence_transformer cannot reach module {module!r}: {reason}. "
            "Look the class up when it is used (sentence_transformers.SentenceTransformer), "
            "or import it at the top of the module under any name."
        )
        self.module = module


class FakeModelError(EmbedCacheError, TypeError):
    """A fake stands where a real model belongs, or a real one where a fake belongs.

    Attribute: `model`.
    """

    def __init__(self, model: str, reason: str, remedy: str) -> None:
        super().__init__(f"model {model!r} {reason}. {remedy}")
        self.model = model


class FakeTextError(EmbedCacheError, LookupError):
    """A fake whose vectors are a table was asked for a text that is not in it.

    Attributes: `text`, and `known`, the texts that are.
    """

    def __init__(self, text: str, known: tuple[str, ...]) -> None:
        import difflib

        near = difflib.get_close_matches(text, known, 1, 0.0)
        nearest = f"; the nearest that has is {near[0]!r}" if near else ""
        super().__init__(
            f"the text {text!r} has no vector in the fake's table{nearest}. Add it to table=, or "
            'take kind="lexical", which has one for every text.'
        )
        self.text = text
        self.known = known


class RealModelError(EmbedCacheError, RuntimeError):
    """A real model was to be loaded where that is forbidden (`--embedcache-no-models`).

    Attributes: `model`, `test` and `how` it was to be loaded.
    """

    def __init__(self, model: str, test: str, how: str, remedy: str) -> None:
        super().__init__(
            f"{test} loads the real model {model!r} ({how}), where no model is to be loaded. "
            f"{remedy}"
        )
        self.model = model
        self.test = test
        self.how = how


class StoreError(EmbedCacheError, OSError):
    """A vector store cannot do now what it was asked for: it is full, locked, read-only or away.

    Nothing that it holds is wrong for that, and a later call may work. The tiered store catches
    it and goes on without the store.

    Attributes: `store` (its kind) and `location` (a path, or an address without credentials).
    """

    def __init__(self, store: str, location: str, reason: str, remedy: str) -> None:
        super().__init__(f"the {store} vector store at {location} failed: {reason}. {remedy}")
        self.store = store
        self.location = location


class StorePausedError(StoreError):
    """A vector store failed a moment ago, and is not asked again until it is time."""


class VectorError(EmbedCacheError, ValueError):
    """A vector that no store accepts: not finite, not float32, not one-dimensional, or empty.

    Attribute: `key`, of the vector, as hexadecimal digits.
    """

    def __init__(self, key: bytes, reason: str) -> None:
        super().__init__(
            f"the vector of key {key.hex()} cannot be stored: {reason}. "
            "Store 1-D float32 arrays of finite numbers; if a model returned this one, look at the "
            "model first."
        )
        self.key = key.hex()


class StoredValueError(EmbedCacheError, ValueError):
    """Stored bytes that are not the vector of their key.

    Attribute: `ours`, False where the bytes do not look like something this package wrote.
    """

    def __init__(self, reason: str, *, ours: bool = True) -> None:
        super().__init__(f"not a stored vector: {reason}. It counts as a miss")
        self.ours = ours


class KeyFieldError(EmbedCacheError, TypeError):
    """Something that changes a vector cannot be written into a key, so it cannot be cached.

    Attribute: `field`, the path of the value, such as `options.tokenizer`.
    """

    def __init__(self, field: str, value: object) -> None:
        super().__init__(
            f"{field} is of type {type(value).__name__}, which has no canonical bytes. Keys are "
            "made of None, bool, int, float, str, bytes, and lists and dicts of these; call the "
            "model itself with anything else."
        )
        self.field = field


class EncodeError(EmbedCacheError, RuntimeError):
    """A model returned something other than one vector for each text.

    Attributes: `model`, `expected` (texts) and `shape`, of what it returned.
    """

    def __init__(self, model: str, expected: int, shape: tuple[int, ...]) -> None:
        super().__init__(
            f"model {model!r} returned shape {shape} for {expected} texts, where one row of one "
            "length is needed for each. Nothing of it was stored; look at the model's encode()."
        )
        self.model = model
        self.expected = expected
        self.shape = shape


class SemanticIndexError(EmbedCacheError, RuntimeError):
    """A semantic index cannot be used as it was asked for: there is none, or it is another model's.

    Attribute: `path`, of its directory or file.
    """

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(f"the semantic index at {path} cannot be used: {reason}. {remedy}")
        self.path = path


class EntryError(EmbedCacheError, ValueError):
    """An entry cannot be put into a semantic index, or is not in it.

    Attribute: `id`, of the entry.
    """

    def __init__(self, id: str, reason: str, remedy: str) -> None:
        super().__init__(f"the entry {id!r} {reason}. {remedy}")
        self.id = id


class TextFileError(EmbedCacheError, ValueError):
    """A file of texts cannot be read.

    Attributes: `file`, and `line`, None where it is the whole file.
    """

    def __init__(self, file: str, line: int | None, reason: str) -> None:
        where = file if line is None else f"{file}, line {line}"
        super().__init__(
            f"{where}: {reason}. Give UTF-8 with one text a line, or a .jsonl file whose lines are "
            'strings or objects such as {"text": "a cat", "role": "query"}.'
        )
        self.file = file
        self.line = line


class RecordingError(EmbedCacheError, ValueError):
    """A file of the recordings is not what was recorded.

    Attribute: `path`, of the file.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"the recording {path} is damaged, or was edited: {reason}. Restore it from version "
            "control, or delete it and record its text again."
        )
        self.path = path


class RecordingNotFoundError(EmbedCacheError, LookupError):
    """There are no recordings of a model, or of several, where one is to be replayed.

    Attributes: `model`, `directory` (of the recordings) and `recorded`, the models in it.
    """

    def __init__(
        self, model: str, directory: str, recorded: tuple[str, ...], reason: str, remedy: str
    ) -> None:
        known = ", ".join(recorded) or "nothing"
        super().__init__(f"model {model!r}: {reason}. Recorded in {directory}: {known}. {remedy}")
        self.model = model
        self.directory = directory
        self.recorded = recorded


class RecordingMismatchError(EmbedCacheError, RuntimeError):
    """What is recorded under a model's name is not the model that is here, or was pinned.

    Attributes: `model`, `recorded` and `here`, which describe the two.
    """

    def __init__(self, model: str, recorded: str, here: str, remedy: str = "") -> None:
        super().__init__(
            f"model {model!r}: recorded is {recorded}, but here it is {here}. Record it anew "
            "(pytest --embedcache-mode=rerecord), or use the model that was recorded."
            + (remedy and f" {remedy}")
        )
        self.model = model
        self.recorded = recorded
        self.here = here


class ReplayMissError(EmbedCacheError, LookupError):
    """A text was asked for in replay that is not recorded.

    Attributes: `model`, `text` (shortened), `differs` (in what it differs from a recording of the
    same text), `nearest` (the recorded text most like it), `command`, which records it, and
    `because`, the reason for the mode where nobody chose it.
    """

    def __init__(
        self,
        model: str,
        text: str,
        count: int,
        differs: str | None,
        nearest: str | None,
        command: str,
        because: str | None = None,
    ) -> None:
        what = f"the text {text}"
        if count > 1:
            what += f" (and {count - 1} more of this call)"
        message = f"{what} is not recorded for model {model!r}."
        if differs is not None:
            message += f" The same text is recorded where {differs}."
        elif nearest is not None:
            message += f" The nearest recorded text is {nearest}."
        if because is not None:
            message += f" The mode is replay because {because}."
        super().__init__(f"{message} Record it with: {command}")
        self.model = model
        self.text = text
        self.count = count
        self.differs = differs
        self.nearest = nearest
        self.command = command
        self.because = because


class ReplayModelError(EmbedCacheError, RuntimeError):
    """Something was asked for in replay that only the model itself can give.

    Attributes: `model` and `needed`.
    """

    def __init__(
        self,
        model: str,
        needed: str,
        remedy: str = 'Give the test another mode: @pytest.mark.embedcache(mode="auto")',
    ) -> None:
        super().__init__(
            f"{needed} needs the model {model!r} itself, and replay has only its recorded vectors. "
            f"{remedy}"
        )
        self.model = model
        self.needed = needed


class SpeedupError(EmbedCacheError, AssertionError):
    """A speed-up was not reached, or it was not sure in time.

    Attribute: `outcome`, in a word.
    """

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class HostError(EmbedCacheError, ConnectionError):
    """The model host does not serve this; the process that asked can do it by itself.

    Attribute: `reason`.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"the model host does not serve this ({reason}); load the model here")
        self.reason = reason


class HostLostError(HostError):
    """The model host is gone, or does not answer.

    Attribute: `reason`.
    """


class MeasurementFileError(EmbedCacheError, ValueError):
    """A file of what was measured cannot be used.

    Attribute: `path`, of the file.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be used: {reason}. Give a file that --benchmark-json, "
            "--embedcache-json or `embedcache profile --json` wrote."
        )
        self.path = path


class IndexDamagedError(EmbedCacheError, RuntimeError):
    """A file of an index is not what was written.

    Attributes: `path`, of the file, and `reason`.
    """

    def __init__(self, path: str, reason: str, remedy: str) -> None:
        super().__init__(f"the index file {path} is damaged: {reason}. {remedy}")
        self.path = path
        self.reason = reason


class IndexMismatchError(EmbedCacheError, ValueError):
    """An index was made with another dimension or metric than it is opened with.

    Attributes: `path`, `field`, `made_with` and `asked_for`.
    """

    def __init__(self, path: str, field: str, made_with: str, asked_for: str) -> None:
        super().__init__(
            f"the index in {path} was made with {field} {made_with}, not {asked_for}. Open it with "
            "that, or give another directory."
        )
        self.path = path
        self.field = field
        self.made_with = made_with
        self.asked_for = asked_for


class IndexEntryError(EmbedCacheError, ValueError):
    """An id or a vector that an index does not take; nothing was changed.

    Attribute: `entry`, the id, None where it is no single one.
    """

    def __init__(self, entry: int | None, reason: str, remedy: str) -> None:
        what = "these entries" if entry is None else f"the entry {entry}"
        super().__init__(f"{what} cannot be indexed: {reason}. {remedy}")
        self.entry = entry


class UnknownIdError(EmbedCacheError, LookupError):
    """An id is not in the index.

    Attributes: `entry`, the id, and `path`, of the index.
    """

    def __init__(self, entry: int, path: str) -> None:
        super().__init__(
            f"there is no entry {entry} in the index {path}. Add it with add() or put(), or look "
            "first: `id in index`."
        )
        self.entry = entry
        self.path = path


class UnknownModelError(EmbedCacheError, LookupError):
    """The service was asked for a model that is not in its table.

    Attributes: `model`, and `known`, the models that are.
    """

    def __init__(self, model: str, known: tuple[str, ...]) -> None:
        super().__init__(
            f"model {model!r} is not in the table of models: {', '.join(known)}. Add it to the "
            "TOML file that EMBEDCACHE_MODELS_FILE names (or models_file=): [models.NAME]."
        )
        self.model = model
        self.known = known


class EmptyTextError(EmbedCacheError, ValueError):
    """An empty text was to be embedded by a model behind an API, which takes none.

    Attributes: `model`, and `position`, of the first one among the texts of the call.
    """

    def __init__(self, model: str, position: int) -> None:
        super().__init__(
            f"text {position} of the call is empty, and the API of model {model!r} takes no empty "
            "text. Nothing was sent. Leave it out, or take a local model, which has one for it."
        )
        self.model = model
        self.position = position


class ProviderError(EmbedCacheError, ConnectionError):
    """A model behind an API did not answer with vectors; the client's error is the cause.

    Attributes: `model`, `status` (of HTTP; None where there was no answer at all), and
    `retry_after`, in seconds, where the provider said when to come back.
    """

    def __init__(
        self,
        model: str,
        reason: str,
        remedy: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"model {model!r}: {reason}. {remedy}")
        self.model = model
        self.status = status
        self.retry_after = retry_after


class TooManyWaitingError(EmbedCacheError, RuntimeError):
    """A service that has a bound of waiting texts was asked for more.

    Attributes: `waiting`, texts that wait to be encoded, `bound`, and `retry_after` in seconds.
    """

    def __init__(self, waiting: int, bound: int) -> None:
        super().__init__(
            f"{waiting:,} texts wait to be encoded, and no more than {bound:,} may. Ask again in a "
            "second; what is stored is answered all the same."
        )
        self.waiting = waiting
        self.bound = bound
        self.retry_after = 1.0


class ServiceClosedError(EmbedCacheError, RuntimeError):
    """A service was asked for vectors after it was closed.

    Attribute: `service`.
    """

    def __init__(self, service: str) -> None:
        super().__init__(f"{service} is closed, and takes no more texts. Make another one.")
        self.service = service
