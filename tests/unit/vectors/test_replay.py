"""Replay: which recordings a name finds, and what fails there, by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.encoders import Files, PureBackend
from support.models import MINILM, add_to_hub_cache, tiny_bert
from support.recorded import Recorder, Replayer, record

from pytest_embedcache import ModelRegistry, ModelSpec, notices
from pytest_embedcache.errors import (
    FetchError,
    RecordingMismatchError,
    RecordingNotFoundError,
    ReplayMissError,
    ReplayModelError,
)
from pytest_embedcache.models.backends import BACKENDS
from pytest_embedcache.vectors.cache import VectorCache
from pytest_embedcache.vectors.cached_model import CachedModel
from pytest_embedcache.vectors.memory import MemoryStore
from pytest_embedcache.vectors.recording_header import Header
from pytest_embedcache.vectors.recordings import RecordingsStore
from pytest_embedcache.vectors.replay import RecordedModels, TierPolicy
from pytest_embedcache.vectors.tiered import TieredStore


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    place = tmp_path / "recordings"
    record(place, tmp_path / "spool", "a cat", "quarterly revenue", "one\ntwo")
    return place


def header_of(directory: Path, spec: ModelSpec, *aliases: str) -> Header:
    """Write the header of a model on the disk into recordings, as recording it would."""
    identity = BACKENDS["torch"].identify(spec, ModelRegistry().artifacts)
    header = Header.of(spec, identity, aliases)
    folder = directory / header.folder
    folder.mkdir(parents=True)
    (folder / "embedcache.json").write_bytes(header.to_bytes())
    return header


def found(directory: Path, name: str, aliases: dict[str, str] | None = None, **spec: Any) -> Header:
    store = RecordingsStore(directory, strict=True)
    return RecordedModels(store, aliases or {}).find(ModelSpec(name, **spec))


# ---------------------------------------------------------------------------- which model


@pytest.fixture
def on_hub(tmp_path: Path, hub_cache: Path) -> Callable[..., Path]:
    """Put a tiny model into the Hub cache under MiniLM's name."""

    def add(seed: int = 0, commit: str = "a" * 40) -> Path:
        source = tiny_bert(tmp_path / f"source-{seed}", seed=seed)
        return add_to_hub_cache(hub_cache, MINILM, source, commit=commit)

    return add


def test_a_header_reads_as_it_was_written(tmp_path: Path, on_hub: Callable[..., Path]) -> None:
    """Everything that stands in for the weights: it survives the file, byte for byte."""
    on_hub()
    header = header_of(tmp_path / "r", ModelSpec(MINILM), "fast")
    again = Header.read(tmp_path / "r" / header.folder / "embedcache.json")
    assert again == header
    assert again.to_bytes() == header.to_bytes()
    assert (header.commit, header.aliases) == ("a" * 40, ("all-MiniLM-L6-v2", "fast"))
    assert (header.metadata.dimension, header.metadata.max_seq_length) == (16, 32)


@pytest.mark.parametrize("name", [MINILM, "all-MiniLM-L6-v2", "fast", "faster"])
def test_a_model_is_found_by_all_its_names(
    tmp_path: Path, on_hub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Full name, short name, an alias in the header, one of the ini: without its weights."""
    on_hub()
    header = header_of(tmp_path / "r", ModelSpec(MINILM), "fast")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert found(tmp_path / "r", name, {"faster": "all-MiniLM-L6-v2"}) == header


def test_a_directory_is_found_by_its_name_wherever_it_is(tmp_path: Path) -> None:
    """A recorded local model needs no such path elsewhere, and no path of a machine is recorded."""
    path = tiny_bert(tmp_path / "here" / "my-model")
    header = header_of(tmp_path / "r", ModelSpec(str(path)))
    assert header.name == "my-model"
    assert str(tmp_path) not in header.to_bytes().decode()
    assert found(tmp_path / "r", "/elsewhere/models/my-model") == header
    assert found(tmp_path / "r", "/srv/model-7", {"model-7": "my-model"}) == header


def test_a_name_that_is_not_recorded_is_an_error_that_lists_what_is(recordings: Path) -> None:
    """With the command that records, and the way to an alias."""
    with pytest.raises(RecordingNotFoundError, match="embedcache_aliases") as caught:
        Replayer(recordings).model("other")
    assert "the command" in str(caught.value)
    assert caught.value.recorded[0].startswith("m (float32, fingerprint ")


def test_weights_that_are_there_and_disagree_are_an_error(
    tmp_path: Path, on_hub: Callable[..., Path]
) -> None:
    """It names both; weights that agree, or that are not here, are none."""
    snapshot = on_hub()
    header = header_of(tmp_path / "r", ModelSpec(MINILM))
    assert found(tmp_path / "r", MINILM) == header
    tiny_bert(tmp_path / "other", seed=7)
    (snapshot / "model.safetensors").write_bytes(
        (tmp_path / "other" / "model.safetensors").read_bytes()
    )
    with pytest.raises(RecordingMismatchError, match="rerecord") as caught:
        found(tmp_path / "r", MINILM)
    assert header.fingerprint[:12] in caught.value.recorded
    assert str(snapshot) in caught.value.here


def test_a_pinned_commit_that_disagrees_is_an_error(
    tmp_path: Path, on_hub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without weights; the recorded commit, and a branch, are fine."""
    on_hub()
    header = header_of(tmp_path / "r", ModelSpec(MINILM))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert found(tmp_path / "r", MINILM, revision="a" * 40) == header
    assert found(tmp_path / "r", MINILM, revision="main") == header
    with pytest.raises(RecordingMismatchError, match="pinned to commit bbbb") as caught:
        found(tmp_path / "r", MINILM, revision="b" * 40)
    assert "aaaaaaaaaaaa" in caught.value.recorded


def test_another_dtype_is_another_model(tmp_path: Path, on_hub: Callable[..., Path]) -> None:
    """float16 is not answered by what was recorded in float32."""
    on_hub()
    header_of(tmp_path / "r", ModelSpec(MINILM))
    with pytest.raises(RecordingMismatchError, match="float16"):
        found(tmp_path / "r", MINILM, dtype="float16")


def test_two_models_of_one_name_need_a_pin(
    tmp_path: Path, on_hub: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which is meant is not guessed; a commit says it, and so do weights."""
    on_hub(0, "a" * 40)
    first = header_of(tmp_path / "r", ModelSpec(MINILM))
    on_hub(1, "b" * 40)
    second = header_of(tmp_path / "r", ModelSpec(MINILM))
    assert found(tmp_path / "r", MINILM) == second
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    assert found(tmp_path / "r", MINILM, revision="a" * 40) == first
    with pytest.raises(RecordingNotFoundError, match="several"):
        found(tmp_path / "r", MINILM)


def test_in_auto_other_weights_are_a_notice(tmp_path: Path, on_hub: Callable[..., Path]) -> None:
    """The tier is skipped, since it has nothing of that fingerprint, and it is said once."""
    snapshot = on_hub()
    header_of(tmp_path / "r", ModelSpec(MINILM))
    models = RecordedModels(RecordingsStore(tmp_path / "r", strict=False), {})
    policy = TierPolicy(models)
    policy.source(ModelRegistry(), ModelSpec(MINILM))
    assert notices.counts() == {}
    config = json.loads((snapshot / "config.json").read_text())
    (snapshot / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-6}))
    policy.source(ModelRegistry(), ModelSpec(MINILM))
    ((message, _),) = notices.counts().items()
    assert "recordings" in message
    assert "are not used" in message


# ----------------------------------------------------------------------- what it gives


def test_a_replayed_model_tells_what_the_header_tells(tmp_path: Path) -> None:
    """Dimension, prompts, lengths, name and fingerprint, as the real one told them."""
    files = Files(prompts={"query": "q: "}, default_prompt_name="query", max_seq_length=99)
    run = Recorder(tmp_path / "r", tmp_path / "spool", files)
    run.model.encode("a")
    run.finish()
    model = Replayer(tmp_path / "r").model()
    for name in ("name", "fingerprint", "prompts", "default_prompt_name", "max_seq_length"):
        assert getattr(model, name) == getattr(run.model, name), name
    assert model.get_embedding_dimension() == 8
    assert model.similarity_fn_name == "cosine"
    assert not model.is_loaded


@pytest.mark.parametrize(
    ("needed", "ask"),
    [
        ("unwrap()", lambda model: model.unwrap()),
        ("unwrap()", lambda model: model.unwrap(copy=True)),
        ("tokenizer", lambda model: model.tokenizer),
        ("tokenize", lambda model: model.tokenize(["a"])),
        ("encode()", lambda model: model.encode("a cat", output_value="token_embeddings")),
        ("encode()", lambda model: model.encode([("a", "b")])),
        ("setting max_seq_length", lambda model: setattr(model, "max_seq_length", 3)),
        ("changing its prompts", lambda model: model.prompts.update(query="q")),
        ("unwrap()", lambda model: model[0]),
    ],
)
def test_what_needs_the_model_fails_by_name(
    recordings: Path, needed: str, ask: Callable[[Any], Any]
) -> None:
    """No weights are looked for, and the error says what was wanted and how to have it."""
    with pytest.raises(ReplayModelError, match="mode=") as caught:
        ask(Replayer(recordings).model())
    assert caught.value.needed.startswith(needed)
    assert caught.value.model == "m"


def test_a_replayed_array_is_the_callers(recordings: Path) -> None:
    """Writing into one changes nothing anywhere else."""
    model = Replayer(recordings).model()
    first = model.encode(["a cat"])
    kept = first.tobytes()
    first[:] = 0
    assert model.encode(["a cat"]).tobytes() == kept


# --------------------------------------------------------------------------------- misses


def test_a_miss_tells_the_nearest_text_and_the_command(recordings: Path) -> None:
    """Text, model, the recorded text most like it, and what to run."""
    replayer = Replayer(recordings)
    with pytest.raises(ReplayMissError) as caught:
        replayer.model().encode(["a cat", "a catt", "zzz"])
    error = caught.value
    assert (error.model, error.text, error.nearest) == ("m", "'a catt'", "'a cat'")
    assert (error.count, error.differs, error.command) == (2, None, "the command")
    assert "\n" not in str(error)
    assert [miss.text for miss in replayer.misses.all()] == ["a catt", "zzz"]
    assert "The mode is replay" not in str(error)  # somebody chose it


@pytest.mark.parametrize(
    ("ask", "differs"),
    [
        (lambda model: model.encode("a cat", prompt="p"), "prompt is None, not 'p'"),
        (
            lambda model: model.encode("a cat", truncate_dim=2),
            "options.truncate_dim is '(not given)'",
        ),
        (lambda model: model.encode("a cat", normalize_embeddings=True), "options.normalize"),
    ],
)
def test_a_miss_of_a_recorded_text_tells_the_field(
    recordings: Path, ask: Callable[[Any], Any], differs: str
) -> None:
    """The same text is recorded, otherwise: what is other is named."""
    with pytest.raises(ReplayMissError) as caught:
        ask(Replayer(recordings).model())
    assert differs in str(caught.value.differs)


def test_a_role_that_is_not_recorded_is_named(tmp_path: Path) -> None:
    """A query is not answered by a document."""
    files = Files(prompts={"query": "q: ", "document": "d: "})
    run = Recorder(tmp_path / "r", tmp_path / "spool", files)
    run.model.encode_document("a cat")
    run.finish()
    with pytest.raises(ReplayMissError, match="role is 'document', not 'query'"):
        Replayer(tmp_path / "r").model().encode_query("a cat")


def test_a_long_text_is_shortened(recordings: Path) -> None:
    """The error stays readable; the list has all of it."""
    replayer = Replayer(recordings)
    text = "begin " + "x" * 10_000 + " end"
    with pytest.raises(ReplayMissError) as caught:
        replayer.model().encode(text)
    assert len(str(caught.value)) < 500
    assert "begin" in str(caught.value)
    assert "end" in str(caught.value)
    assert replayer.misses.all()[0].text == text


class Unavailable(PureBackend):
    """Its models can be named, and not had."""

    def identify(self, spec: ModelSpec, artifacts: Any) -> Any:
        raise FetchError(spec.name, "no route to host", "Try again.")


def without_files(recordings: Path) -> CachedModel:
    """The model `m` in auto, where its files are not here and cannot be fetched."""
    store = RecordingsStore(recordings, strict=False)
    registry = ModelRegistry(backends={"pure": Unavailable(m=Files())})
    cache = VectorCache(TieredStore([MemoryStore(), store]), TierPolicy(RecordedModels(store, {})))
    return CachedModel(registry, ModelSpec("m", backend="pure", device="cpu"), cache)


def test_auto_answers_from_recordings_where_the_model_cannot_be_had(recordings: Path) -> None:
    """With the recorded bytes, and a notice; for another text it is the error that it was."""
    model = without_files(recordings)
    want = Replayer(recordings).model().encode(["a cat", "one\ntwo"])
    assert model.encode(["a cat", "one\ntwo"]).tobytes() == want.tobytes()
    assert [n for n in notices.counts() if n.startswith("m is answered from its recordings alone")]
    for _ in range(2):
        with pytest.raises(FetchError, match="no route to host") as failed:
            model.encode(["a cat", "new"])
        assert failed.value.__notes__ == [
            "Its recordings stand in for it, and this is not among them."
        ]
    with pytest.raises(FetchError):
        model.unwrap()


def test_auto_guesses_no_model(recordings: Path, tmp_path: Path) -> None:
    """None is recorded under the name, or several: the model cannot be had, and that is why."""
    with pytest.raises(FetchError) as failed:
        without_files(tmp_path / "none")
    assert not hasattr(failed.value, "__notes__")
    record(recordings, tmp_path / "spool", "a cat", files=Files(weights="other"))
    with pytest.raises(FetchError) as failed:
        without_files(recordings)
    (note,) = failed.value.__notes__
    assert "several models are recorded under that name" in note
