"""What stands in for a model's weights: the header of its recordings."""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import ModelNotFoundError, RecordingError
from pytest_embedcache.models.identity import Identity
from pytest_embedcache.models.metadata import ModelMetadata
from pytest_embedcache.models.remote import RemoteModel
from pytest_embedcache.snapshot import locate, repository_of
from pytest_embedcache.spec import ModelSpec
from pytest_embedcache.vectors.recorded_text import readable_json

__all__ = ["HEADER", "Header", "headers_in", "names_of"]

#: The file in each model's folder. A project's own tests/embeddings/ has none of that name.
HEADER = "embedcache.json"
FORMAT = "pytest-embedcache recordings 1"
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Header:
    """A recorded model. No text's: nothing in it changes when a text is added.

    Attributes:
        name: Its full name on the Hub, or the name of its directory.
        aliases: Other names under which it is found.
        commit: On the Hub, None for a local model.
        fingerprint, dtype: As in `Identity`.
        form: As in `ModelSpec`.
        metadata: What its configuration says.
        remote: Of a model that a service has, and that nothing but its name tells apart.
    """

    name: str
    aliases: tuple[str, ...]
    commit: str | None
    fingerprint: str
    dtype: str
    form: str
    metadata: ModelMetadata
    remote: RemoteModel | None = None

    @classmethod
    def of(cls, spec: ModelSpec, identity: Identity, aliases: tuple[str, ...] = ()) -> Header:
        """The header of a model whose files are here, or which a service has."""
        local = os.path.isabs(identity.name)
        name = os.path.basename(identity.name) if local else identity.name
        found = {*aliases, name.rpartition("/")[2]} - {name}
        commit = None
        if identity.remote is None:
            with contextlib.suppress(ModelNotFoundError):
                commit = locate(spec).commit
        return cls(
            name,
            tuple(sorted(found)),
            commit,
            identity.fingerprint,
            identity.dtype,
            spec.form,
            identity.metadata,
            identity.remote,
        )

    @property
    def folder(self) -> str:
        """The name of its folder: two models of one name have two."""
        safe = re.sub(r"[^A-Za-z0-9._-]", "_", self.name.replace("/", "--"))
        return f"{safe}-{self.fingerprint[:8]}"

    @property
    def described(self) -> str:
        """For people: which of the models of its name."""
        if self.remote is not None:
            return self.remote.described
        at = f" at commit {self.commit[:12]}" if self.commit else ""
        return f"{self.name}{at} ({self.dtype}, fingerprint {self.fingerprint[:12]})"

    def identity(self) -> Identity:
        """What keys are made from where there are no weights."""
        return Identity(self.name, self.fingerprint, self.dtype, self.metadata)

    def learned(self, model: Any) -> Header:
        """With what the files did not tell, and the loaded model does."""
        metadata = self.metadata
        if metadata.max_seq_length is None:
            metadata = replace(metadata, max_seq_length=getattr(model, "max_seq_length", None))
        return replace(self, metadata=metadata)

    def to_bytes(self) -> bytes:
        """The content of its file."""
        facts = self.metadata.for_keys()
        facts["prompts"] = dict(sorted(facts["prompts"].items()))
        if self.remote is not None:
            facts["remote"] = self.remote.as_dict()
        return readable_json(
            {
                "format": FORMAT,
                "name": self.name,
                "aliases": list(self.aliases),
                "commit": self.commit,
                "fingerprint": self.fingerprint,
                "dtype": self.dtype,
                "form": self.form,
                **facts,
            }
        )

    @classmethod
    def read(cls, path: Path) -> Header:
        """The header in a file. Raises `RecordingError`."""
        try:
            found = json.loads(path.read_bytes())
            if found["format"] != FORMAT:
                raise ValueError(
                    f"its format is {found['format']!r}, this version reads {FORMAT!r}"
                )
            if not _FINGERPRINT.fullmatch(found["fingerprint"]):
                raise ValueError("its fingerprint is not one")
            remote = RemoteModel.from_dict(found["remote"]) if "remote" in found else None
            if remote is not None and remote.fingerprint != found["fingerprint"]:
                raise ValueError("its fingerprint is not that of its remote model")
            return cls(
                str(found["name"]),
                tuple(map(str, found["aliases"])),
                found["commit"],
                found["fingerprint"],
                str(found["dtype"]),
                str(found["form"]),
                ModelMetadata.from_dict(found),
                remote,
            )
        except KeyError as error:
            raise RecordingError(str(path), f"{error} is missing") from error
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise RecordingError(str(path), " ".join(str(error).split())) from error


def headers_in(directory: Path) -> dict[Path, Path]:
    """Folder -> header file of each recorded model in the recordings; reads none of them."""
    try:
        folders = sorted(entry.path for entry in os.scandir(directory) if entry.is_dir())
    except OSError:
        return {}
    files = {Path(folder): Path(folder, HEADER) for folder in folders}
    return {folder: file for folder, file in files.items() if file.is_file()}


def names_of(spec: ModelSpec, aliases: dict[str, str]) -> set[str]:
    """The names under which recordings of `spec` may be found; a path's is its directory's."""
    path = os.path.expanduser(spec.name)
    if os.path.isabs(path) or os.path.isdir(path) or path.startswith("."):
        names = {os.path.basename(os.path.abspath(path)), spec.name}
        try:
            names.add(locate(spec).repository or spec.name)  # a snapshot in a Hub cache
        except ModelNotFoundError:
            pass
    else:
        names = {spec.name, repository_of(spec.name)}
    for name in tuple(names):
        if (real := aliases.get(name)) is not None:
            names |= {real, repository_of(real)}
    return names
