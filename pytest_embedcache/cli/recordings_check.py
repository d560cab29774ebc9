"""`embedcache recordings check`: recorded texts computed anew, and how far they are off."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_embedcache.errors import EmbedCacheError, MissingExtraError, ModelNotFoundError

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.recording_file import Recording
    from pytest_embedcache.vectors.recording_header import Header
    from pytest_embedcache.vectors.recordings import ModelFolder

__all__ = ["too_far"]

#: Texts in one request to a service.
_TOGETHER = 64


class _CannotError(Exception):
    """The model cannot be asked; the message says why."""


def too_far(folder: ModelFolder, keys: Sequence[bytes], options: argparse.Namespace) -> bool:
    """Compute the texts of these keys anew, print how far they are off; whether it is too far."""
    from pytest_embedcache.vectors.drift import TOLERANCE, agree, cosine, difference

    threshold = TOLERANCE if options.threshold is None else options.threshold
    header = folder.header
    # A state is that of a model which a test had changed.
    recordings = [found for found in map(folder.read, keys) if not found.state]
    compute = _by_files if header.remote is None else _by_service
    try:
        fresh, same = compute(header, recordings, options)
    except _CannotError as error:
        print(f"{header.described}: cannot be checked: {error}")
        return True
    largest, angle, off = 0.0, 1.0, 0
    for vector, recording in zip(fresh, recordings, strict=True):
        largest = max(largest, difference(vector, recording.vector))
        angle = min(angle, cosine(vector, recording.vector))
        off += not agree(vector, recording.vector, threshold)
    print(
        f"{header.described}: {len(recordings)} of {sum(1 for _ in folder.recorded())} texts "
        f"computed anew: largest difference {largest:.2g}, smallest cosine {angle:.6f}, "
        f"{off} beyond {threshold:.0e} of the largest component"
    )
    return off > 0 or not same


def _by_files(
    header: Header, recordings: Sequence[Recording], options: argparse.Namespace
) -> tuple[list[np.ndarray], bool]:
    """The vectors by the model of this machine, and whether it is the one that was recorded."""
    from pytest_embedcache.models.registry import ModelRegistry
    from pytest_embedcache.spec import ModelSpec
    from pytest_embedcache.vectors.alone import one_thread
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

    spec = ModelSpec(
        options.model or header.name,
        revision=None if options.model else header.commit,
        device=None if options.device == "auto" else options.device,
        dtype=header.dtype,
    )
    try:
        model = CachedModel(ModelRegistry(cache_dir=options.dir), spec, VectorCache(None))
    except ModelNotFoundError as error:
        raise _CannotError(str(error)) from error
    if model.fingerprint != header.fingerprint:
        print(f"{header.described}: the model here has fingerprint {model.fingerprint[:12]}")
    model.unwrap()  # now: what it imports is there when the number of threads is set
    with one_thread():
        fresh = [
            model.encode([one.text], **_arguments(one))[0].astype("float32") for one in recordings
        ]
    return fresh, model.fingerprint == header.fingerprint


def _by_service(
    header: Header, recordings: Sequence[Recording], options: argparse.Namespace
) -> tuple[list[np.ndarray], bool]:
    """The vectors by the service of a remote model, with the key that the environment has."""
    from pytest_embedcache.dropin.openai_calls import EmbeddingsCall

    assert header.remote is not None
    remote = header.remote
    try:
        import openai
    except ModuleNotFoundError as error:
        needed = MissingExtraError("asking the service", "openai", "openai")
        raise _CannotError(str(needed)) from error
    make = openai.AzureOpenAI if remote.provider == "azure" else openai.OpenAI
    arguments: dict[str, Any] = {"model": remote.name}
    if remote.dimensions is not None:
        arguments["dimensions"] = remote.dimensions
    fresh: list[np.ndarray] = []
    try:
        with make(base_url=remote.base_url) as client:
            for start in range(0, len(recordings), _TOGETHER):
                texts = [one.text for one in recordings[start : start + _TOGETHER]]
                call = EmbeddingsCall({**arguments, "input": texts}, texts, False)
                answer = client.embeddings.create(**call.inner(texts))
                fresh += list(call.rows(answer, len(texts)))
    except (openai.OpenAIError, EmbedCacheError, ValueError) as error:
        raise _CannotError(" ".join(str(error).split())) from error
    return fresh, True


def _arguments(recording: Recording) -> dict[str, Any]:
    """Of `encode`, so that it computes the same again."""
    options = dict(recording.options)
    # "" where there was none, or the model's default prompt would be put before the text.
    found: dict[str, Any] = {"show_progress_bar": False, "prompt": recording.prompt or ""}
    if recording.role is not None:
        found["task"] = recording.role
    if options.pop("normalize", False):
        found["normalize_embeddings"] = True
    return found | options
