"""The table of settings: one row each, from which options, ini keys and variables are made.

Read in every run of everybody who has the plugin installed, so it imports next to nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any, NamedTuple

from pytest_embedcache.models.strategies import STRATEGIES
from pytest_embedcache.plugin import values

__all__ = ["DEFAULT_MODEL", "FLAG", "MODEL", "PATH", "SETTINGS", "Mode", "Setting"]

DEFAULT_MODEL = "all-MiniLM-L6-v2"

PATH = "PATH"
MODEL = "NAME"
#: What becomes of a speed-up gate.
GATES = ("fail", "report", "off")
#: Where models are: in one process for all workers, in each of them, or in one that stays.
HOST = ("auto", "off", "keep")
#: On the command line it takes no value.
FLAG = ""


class Setting(NamedTuple):
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
        "host",
        "|".join(HOST),
        "one process has the models for all workers: auto ends with the run, keep stays for the "
        "next",
        values.one_of(*HOST),
        "auto",
    ),
    Setting(
        "host_timeout",
        "SECONDS",
        "without a request after which a host that was kept ends; -1 never",
        values.idle_timeout,
        1800.0,
    ),
    Setting(
        "auto_workers",
        FLAG,
        "let -n auto be no more than the memory allows, for models that are in no host",
        values.flag,
        False,
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
        "cache_max_size",
        "BYTES",
        "bound of the vectors on this machine",
        values.byte_count,
        4 * 2**30,
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
