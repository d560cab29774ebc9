"""What the user set, resolved once: command line, then environment, then ini, then default."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.models.strategies import STRATEGIES

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


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty; give a value, or leave it out")
    return value


def _device(value: str) -> str | None:
    from pytest_embedcache.spec import ModelSpec

    return None if value == "auto" else ModelSpec("x", device=_text(value)).device


class Mode(enum.StrEnum):
    """Where the vectors of a run come from."""

    AUTO = "auto"
    LIVE = "live"
    RECORD = "record"
    REPLAY = "replay"
    RERECORD = "rerecord"
    FAKE = "fake"


def _mode(value: str) -> str:
    try:
        return Mode(value).value
    except ValueError:
        raise ValueError(f"use {', '.join(Mode)}") from None


def _strategy(value: str) -> str:
    if value not in STRATEGIES:
        raise ValueError(f"use {', '.join(STRATEGIES)}")
    return value


def _idle_timeout(value: str) -> float:
    from pytest_embedcache.models.idle import read_timeout

    try:
        return read_timeout(value)
    except ValueError:
        raise ValueError("use a number of seconds; 0 is at once, -1 never") from None


def _gates(value: str) -> str:
    if value in GATES:
        return value
    raise ValueError(f"use {', '.join(GATES)}")


def _redis_url(value: str) -> str:
    from pytest_embedcache.vectors.redis_client import URL_FORMS, location_of

    try:
        location_of(value)
    except SettingsError:
        raise ValueError(URL_FORMS) from None
    return value


def _count(value: str) -> int:
    if value.isdecimal() and int(value):
        return int(value)
    raise ValueError("use a whole number above 0")


def _threads(value: str) -> str | int:
    if value in ("auto", "off"):
        return value
    if value.isdecimal() and int(value):
        return int(value)
    raise ValueError("use auto, off, or a number of threads from 1 up")


def _flag(value: str) -> bool:
    found = {"true": True, "1": True, "yes": True, "on": True}
    found |= {"false": False, "0": False, "no": False, "off": False}
    try:
        return found[value.strip().lower()]
    except KeyError:
        raise ValueError("use true or false") from None


def _pairs(form: str) -> Callable[[str], dict[str, str]]:
    def parse(value: str) -> dict[str, str]:
        found = {}
        for part in value.replace(",", "\n").split("\n"):
            left, equals, right = (word.strip() for word in part.partition("="))
            if left and equals and right:
                found[left] = right
            elif part.strip():
                raise ValueError(f"use {form}, separated by commas or lines")
        return found

    return parse


def _report(value: str) -> str:
    if value.lower().endswith((".html", ".htm", ".md")):
        return value
    raise ValueError("use a path that ends in .html or .md")


def _prices(value: str) -> dict[str, str]:
    prices = _pairs("name=dollars")(value)
    for price in prices.values():
        if not re.fullmatch(r"\d+(\.\d+)?", price, re.ASCII):
            raise ValueError("use name=dollars for a million tokens, as in my-model=0.02")
    return prices


SETTINGS = (
    Setting("model", MODEL, "the model of the fixture embedding_model", _text, DEFAULT_MODEL),
    Setting("device", "DEVICE", "its device: cpu, cuda, mps, … or auto", _device, "cpu"),
    Setting(
        "mode",
        "|".join(Mode),
        "auto reads vectors from the store and writes new ones, live computes every one, record "
        "keeps new ones in the recordings, replay has those alone, rerecord makes them anew, fake "
        "needs no model: its vectors are those of FakeEmbeddingModel",
        _mode,
        Mode.AUTO.value,
    ),
    Setting(
        "strategy",
        "|".join(STRATEGIES),
        "when models are loaded, and in which form; get_model obeys it too",
        _strategy,
        "lazy",
    ),
    Setting(
        "model_timeout",
        "SECONDS",
        "without use after which a model is unloaded; 0 is at once, -1 never",
        _idle_timeout,
        -1.0,
    ),
    Setting(
        "dir", PATH, "directory of prepared models and stored vectors, shared by all runs", _text
    ),
    Setting(
        "threads",
        "auto|N|off",
        "torch's threads in each process; auto divides the cores among the xdist workers",
        _threads,
        "auto",
    ),
    Setting(
        "redis_url",
        "URL",
        "a Redis that several machines share, for vectors",
        _redis_url,
        secret=True,
    ),
    Setting("cache_max_size", "BYTES", "bound of the vectors on this machine", _count, 4 * 2**30),
    Setting("cache_ttl", "SECONDS", "after which a stored vector is computed anew", _count),
    Setting(
        "dropin",
        FLAG,
        "let SentenceTransformer and its like be ours in code that nobody edits",
        _flag,
        False,
    ),
    Setting(
        "dropin_defer",
        FLAG,
        "with the drop-in: names of transformers that libraries import and seldom use wait as well",
        _flag,
        False,
    ),
    Setting("recordings", PATH, "directory of the vectors kept in the repository", _text),
    Setting("strict", FLAG, "a text of mode auto that is not recorded fails the run", _flag, False),
    Setting(
        "aliases",
        "A=NAME,…",
        "other names under which recordings are found",
        _pairs("alias=name"),
        {},
    ),
    Setting(
        "versions",
        "NAME=VERSION,…",
        "which version a remote model is, which its vendor may change silently",
        _pairs("name=version"),
        {},
    ),
    Setting(
        "prune_recordings",
        FLAG,
        "drop recordings that a complete, green run did not use",
        _flag,
        False,
    ),
    Setting(
        "no_models", FLAG, "loading a real model is an error that names the test", _flag, False
    ),
    Setting(
        "gates",
        "|".join(GATES),
        "what becomes of a speed-up that is not reached: it fails, is only listed, or is not "
        "measured",
        _gates,
        "fail",
    ),
    Setting("json", PATH, "write the counts of all workers to this file, as JSON", _text),
    Setting(
        "report",
        PATH,
        "write a page about the run, all workers in it: .html for people, .md for a job summary",
        _report,
    ),
    Setting("report_texts", FLAG, "let the report show the slowest texts themselves", _flag, False),
    Setting(
        "prices",
        "NAME=USD,…",
        "what a million tokens of a service's model cost, for the report",
        _prices,
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
