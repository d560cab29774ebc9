"""What the user set, resolved once: command line, then environment, then ini, then default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.plugin.table import MODEL, PATH, SETTINGS

__all__ = ["Settings", "resolve"]


class Settings:
    """The resolved settings of a run, one attribute for each row of the table.

    `values` are those that are not the default; `given` says for each where it came from.
    """

    model: str
    device: str | None
    mode: str
    strategy: str
    model_timeout: float
    host: str
    host_timeout: float
    auto_workers: bool
    dir: str | None
    threads: str | int
    redis_url: str | None
    cache_max_size: int
    cache_ttl: int | None
    dropin: bool
    dropin_defer: bool
    recordings: str | None
    strict: bool
    aliases: Mapping[str, str]
    versions: Mapping[str, str]
    prune_recordings: bool
    no_models: bool
    gates: str
    json: str | None
    report: str | None
    report_texts: bool
    prices: Mapping[str, str]
    given: Mapping[str, str]

    def __init__(self, **values: Any) -> None:
        self.__dict__.update({row.name: row.default for row in SETTINGS}, given={})
        if unknown := values.keys() - self.__dict__.keys():
            raise TypeError(f"no such settings: {', '.join(sorted(unknown))}")
        self.__dict__.update(values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    def as_dict(self) -> dict[str, Any]:
        """Built-in types only, as they travel to a worker: `Settings(**settings.as_dict())`."""
        return dict(self.__dict__)

    def changed(self, **values: Any) -> Settings:
        """These settings with other values for some."""
        return Settings(**self.__dict__ | values)


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
