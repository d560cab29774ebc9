"""Fetching a model's files from the Hugging Face Hub into the Hub's own cache."""

from __future__ import annotations

import errno
import glob
import os
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any, Protocol

from pytest_embedcache.errors import FetchError, MissingExtraError, ModelNotFoundError
from pytest_embedcache.layout import OTHER_ENGINES, OTHER_ENGINES_DIRECTORIES

__all__ = ["Fetcher", "HubFetcher", "wanted_files"]

#: Seconds for one answer of the Hub about a repository; a dead network is known after that.
ANSWER_TIMEOUT = 10.0

#: Fetched last, in this order: a snapshot that a killed process left lacks one without which it
#: is known to be incomplete, and not just a file that a model may be without.
_LAST = ("modules.json", "adapter_config.json", "config.json")
#: Who meant a directory learns that it is not there.
_NO_DIRECTORY = "no directory here has that name"
#: What a disk says that takes nothing more.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR)


class Fetcher(Protocol):
    """Brings a repository's files to this machine."""

    def fetch(
        self, repository: str, revision: str, cache: Path, *, token: str | bool | None, force: bool
    ) -> None:
        """Complete the snapshot of `repository` at `revision` in the Hub cache `cache`.

        With `force`, files that are there are fetched again (they are damaged).

        Raises:
            ModelNotFoundError: There is no such repository or revision, or no access to it.
            FetchError: The other side did not answer, or refused.
        """


def wanted_files(names: Iterable[str], also: Container[str] = ()) -> list[str]:
    """Of a repository's files those that sentence-transformers reads, and those in `also`, sorted.

    Left out: other engines' formats, and pickled weights beside safetensors.
    """
    kept = {
        name
        for name in names
        if name in also
        or not (
            name.endswith(OTHER_ENGINES)
            or name.partition("/")[0] in OTHER_ENGINES_DIRECTORIES
            or os.path.basename(name).startswith(".")
        )
    }
    safe = {os.path.dirname(name) for name in kept if name.endswith(".safetensors")}
    return sorted(
        name
        for name in kept
        if not (
            os.path.basename(name).startswith("pytorch_model") and os.path.dirname(name) in safe
        )
    )


class HubFetcher:
    """Fetches through huggingface_hub, which sentence-transformers brings along.

    `also` are files that are wanted although sentence-transformers does not read them.
    """

    def __init__(self, also: Container[str] = ()) -> None:
        self.also = also

    def fetch(
        self, repository: str, revision: str, cache: Path, *, token: str | bool | None, force: bool
    ) -> None:
        if offline := _offline():
            raise ModelNotFoundError(
                repository,
                f"it is not (or not whole) on this machine, {_NO_DIRECTORY}, and {offline} forbids "
                "to fetch it",
                f"Unset {offline} for one run, or copy the model into the Hub cache.",
                (str(cache),),
            )
        try:
            from huggingface_hub import HfApi, snapshot_download
        except ImportError:
            raise MissingExtraError(
                f"fetching {repository!r}", "huggingface_hub", "sentence-transformers"
            ) from None
        try:
            # Asked first and by itself: this request is not retried, so that a Hub that refuses
            # or is silent is known after one answer, not after a minute.
            info = HfApi(token=token).model_info(
                repository, revision=revision, timeout=ANSWER_TIMEOUT
            )
            files = wanted_files((file.rfilename for file in info.siblings or ()), self.also)
            options: dict[str, Any] = {"cache_dir": cache, "token": token}
            options["etag_timeout"] = ANSWER_TIMEOUT
            for batch in _batches(files):
                snapshot_download(
                    repository,
                    revision=info.sha or revision,
                    allow_patterns=[glob.escape(name) for name in batch],
                    force_download=force,
                    **options,
                )
            # All is there; this notes which commit the branch or tag was.
            snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(map(glob.escape, files)),
                **options,
            )
        except Exception as error:  # its own, httpx's or requests', and OSError, by version
            raise _explained(repository, revision, cache, error) from error


def _batches(files: list[str]) -> list[list[str]]:
    last = [name for name in _LAST if name in files]
    return [[name for name in files if name not in last], *([name] for name in last)]


def _offline() -> str | None:
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE"):
            return name
    return None


def _explained(repository: str, revision: str, cache: Path, error: Exception) -> Exception:
    status = getattr(getattr(error, "response", None), "status_code", None)
    kind = type(error).__name__
    if kind == "RevisionNotFoundError":
        return ModelNotFoundError(
            repository,
            f"it has no revision {revision!r}",
            "Name a branch, a tag or a commit that it has.",
        )
    if kind == "GatedRepoError":
        return ModelNotFoundError(
            repository,
            "access to it has to be granted",
            "Ask for access on its page on the Hub, then log in (hf auth login) or set HF_TOKEN.",
        )
    if status in (401, 403, 404):
        return ModelNotFoundError(
            repository,
            f"it is not on this machine, {_NO_DIRECTORY}, and the Hub knows no such model "
            f"(status {status})",
            "Check the name; a private model needs a login (hf auth login) or HF_TOKEN.",
            (str(cache),),
        )
    if kind == "HFValidationError":
        return ModelNotFoundError(
            repository,
            "it is no directory here, and no name that the Hub could have",
            "Give a directory, or a name such as 'all-MiniLM-L6-v2'.",
        )
    if isinstance(error, OSError) and error.errno in _DISK:
        return FetchError(repository, str(error), f"Make room in, or access to, {cache}.")
    offline = (
        "Copy the model into the Hub cache, or give the directory of its files; a model that is on "
        "this machine is loaded without the network."
    )
    if status == 429:
        return FetchError(
            repository,
            "the Hub limits the rate of requests (status 429)",
            f"Wait a few minutes, or set HF_TOKEN for a higher limit. {offline}",
            status,
        )
    reason = (
        f"the Hub answered with status {status}"
        if status
        else f"the Hub cannot be reached ({kind}), and {_NO_DIRECTORY}"
    )
    return FetchError(repository, reason, offline, status)
