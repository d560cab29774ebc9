"""What the user set, resolved once: command line, then environment, then ini, then default."""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.models.strategies import STRATEGIES
from pytest_embedcache.plugin import values

__all__ = ["FLAG", "SETTINGS", "Mode", "Setting", "Settings", "resolve"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"

PATH = "PATH"
MODEL = "NAME"
#: What becomes of a speed-up gate.
GATES = ("fail", "report", "off")
#: On the command line it takes no value.
FLAG = ""


@dataclass(frozen=True)
class Setting:
    """One row: `--embedcache-<name>`, ini `embedcache_<name>`, `EMBEDCACHE_<NAME>`."""

    name: str
    metavar: str
    help: str
    parse: Callable[[str], Any]
    default: Any = None
    #: Never shown: it may hold a password.
    secret: bool = False

    @property
    def flag(self) -> str:
        return f"--embedcache-{self.name.replace('_', '-')}"

    @property
    def key(self) -> str:
        return f"embedcache_{self.name}"

    @property
    def variable(self) -> str:
        return self.key.upper()


class Mode(enum.StrEnum):
    """Where the vectors of a run come from."""

    AUTO = "auto"
    LIVE = "live"
    RECORD = "record"
    REPLAY = "replay"
    RERECORD = "rerecord"
    FAKE = "fake"


SETTINGS = (
    Setting("model", MODEL, "the model of the fixture embedding_model", values.text, DEFAULT_MODEL),
    Setting("device", "DEVICE", "its device: cpu, cuda, mps, … or auto", values.device, "cpu"),
    Setting(
        "mode",
        "|".join(Mode),
        "auto reads vectors from the store and writes new ones, live computes every one, record "
        "keeps new ones in the recordings, replay has those alone, rerecord makes them anew, fake "
        "needs no model: its vectors are those of FakeEmbeddingModel",
        values.one_of(*Mode),
        Mode.AUTO.value,
    ),
    Setting(
        "strategy",
        "|".join(STRATEGIES),
        "when models are loaded, and in which form; get_model obeys it too",
        values.one_of(*STRATEGIES),
        "lazy",
    ),
    Setting(
        "model_timeout",
        "SECONDS",
        "without use after which a model is unloaded; 0 is at once, -1 never",
        values.idle_timeout,
        -1.0,
    ),
    Setting(
        "dir",
        PATH,
        "directory of prepared models and stored vectors, shared by all runs",
        values.text,
    ),
    Setting(
        "threads",
        "auto|N|off",
        "torch's threads in each process; auto divides the cores among the xdist workers",
        values.threads,
        "auto",
    ),
    Setting(
        "redis_url",
        "URL",
        "a Redis that several machines share, for vectors",
        values.redis_url,
        secret=True,
    ),
    Setting(
        "cache_max_size", "BYTES", "bound of the vectors on this machine", values.count, 4 * 2**30
    ),
    Setting("cache_ttl", "SECONDS", "after which a stored vector is computed anew", values.count),
    Setting(
        "dropin",
        FLAG,
        "let SentenceTransformer and its like be ours in code that nobody edits",
        values.flag,
        False,
    ),
    Setting(
        "dropin_defer",
        FLAG,
        "with the drop-in: names of transformers that libraries import and seldom use wait as well",
        values.flag,
        False,
    ),
    Setting("recordings", PATH, "directory of the vectors kept in the repository", values.text),
    Setting(
        "strict", FLAG, "a text of mode auto that is not recorded fails the run", values.flag, False
    ),
    Setting(
        "aliases",
        "A=NAME,…",
        "other names under which recordings are found",
        values.pairs("alias=name"),
        {},
    ),
    Setting(
        "versions",
        "NAME=VERSION,…",
        "which version a remote model is, which its vendor may change silently",
        values.pairs("name=version"),
        {},
    ),
    Setting(
        "prune_recordings",
        FLAG,
        "drop recordings that a complete, green run did not use",
        values.flag,
        False,
    ),
    Setting(
        "no_models",
        FLAG,
        "loading a real model is an error that names the test",
        values.flag,
        False,
    ),
    Setting(
        "gates",
        "|".join(GATES),
        "what becomes of a speed-up that is not reached: it fails, is only listed, or is not "
        "measured",
        values.one_of(*GATES),
        "fail",
    ),
    Setting("json", PATH, "write the counts of all workers to this file, as JSON", values.text),
    Setting(
        "report",
        PATH,
        "write a page about the run, all workers in it: .html for people, .md for a job summary",
        values.report,
    ),
    Setting(
        "report_texts", FLAG, "let the report show the slowest texts themselves", values.flag, False
    ),
    Setting(
        "prices",
        "NAME=USD,…",
        "what a million tokens of a service's model cost, for the report",
        values.prices,
        {},
    ),
)


@dataclass(frozen=True)
class Settings:
    """The resolved settings of a run.

    `given` says for each value that is not a default where it came from.
    """

    model: str = DEFAULT_MODEL
    device: str | None = "cpu"
    mode: str = Mode.AUTO.value
    strategy: str = "lazy"
    model_timeout: float = -1.0
    dir: str | None = None
    threads: str | int = "auto"
    redis_url: str | None = field(default=None, repr=False)  # may hold a password
    cache_max_size: int = 4 * 2**30
    cache_ttl: int | None = None
    dropin: bool = False
    dropin_defer: bool = False
    recordings: str | None = None
    strict: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    prune_recordings: bool = False
    no_models: bool = False
    gates: str = "fail"
    json: str | None = None
    report: str | None = None
    report_texts: bool = False
    prices: Mapping[str, str] = field(default_factory=dict)
    given: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Built-in types only, as they travel to a worker."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `as_dict`."""
        return cls(**values)


def resolve(
    command_line: Mapping[str, str | None],
    environment: Mapping[str, str],
    ini: Mapping[str, str | None],
    *,
    ini_directory: Path,
) -> Settings:
    """Return the settings; the keys of `command_line` and `ini` are the rows' `key`.

    A relative path, and so a model in a directory, starts from the current directory, but in an
    ini file from that file's own. An empty environment variable counts as unset.

    Raises:
        SettingsError: A value cannot be used; the error names it, its source and the good ones.
    """
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for row in SETTINGS:
        sources = (
            (command_line.get(row.key), row.flag),
            (environment.get(row.variable) or None, row.variable),
            (ini.get(row.key), f"ini {row.key}"),
        )
        text, source = next(((t, s) for t, s in sources if t is not None), (None, ""))
        if text is None:
            values[row.name] = row.default
            continue
        try:
            value = row.parse(text)
        except ValueError as error:
            shown = "…" if row.secret else text
            raise SettingsError(row.name, shown, source, str(error)) from error
        if row.metavar in (PATH, MODEL):
            base = ini_directory if source.startswith("ini") else Path.cwd()
            path = os.path.abspath(base / os.path.expanduser(value))
            # A model's directory is made absolute as well: a test may change the current one.
            value = path if row.metavar == PATH or os.path.isdir(path) else value
        values[row.name] = value
        given[row.name] = source
    return Settings(**values, given=given)
