"""The settings as pytest's options, and their reading from a config."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_embedcache.plugin.table import FLAG, SETTINGS, Mode

if TYPE_CHECKING:
    from pytest_embedcache.plugin.settings import Settings

__all__ = [
    "STUB_MISSING",
    "add_options",
    "asked_early",
    "read_ini",
    "read_settings",
    "recorded_on_ci",
    "something_set",
]

STUB_MISSING = "embedcache_stub_missing"
#: Where recordings are, beside the ini file or else in the root directory.
RECORDINGS = os.path.join("tests", "embeddings")


def add_options(parser: pytest.Parser) -> None:
    group = parser.getgroup("embedcache", "embedding models (pytest-embedcache)")
    for row in SETTINGS:
        default = f" (default: {row.default})" if row.default else ""
        text = f"{row.help}{default}"
        taken = {"metavar": row.metavar}
        if row.metavar == FLAG:
            taken = {"action": "store_const", "const": "true"}
        group.addoption(row.flag, dest=row.key, default=None, help=text, **taken)
        parser.addini(row.key, f"as {row.flag}", default=None)
    parser.addini(
        STUB_MISSING,
        "where sentence-transformers is not installed, let it be imported all the same, for tests "
        "that use fake_sentence_transformer",
        type="bool",
        default=False,
    )


def read_ini(config: pytest.Config, name: str) -> Any:
    """`getini`, for which a value of the wrong type is the user's mistake, in all versions."""
    try:
        return config.getini(name)
    except (TypeError, ValueError, pytest.UsageError) as error:
        said = str(error)
        raise pytest.UsageError(said if name in said else f"ini {name}: {said}") from error


def asked_early(config: pytest.Config, name: str) -> bool:
    """Whether a flag is given anywhere, told without reading the other settings.

    For what has to be in place before conftests are imported, in everybody's runs.
    """
    (row,) = (row for row in SETTINGS if row.name == name)
    if _options(config).get(row.key) or os.environ.get(row.variable) or read_ini(config, row.key):
        return bool(getattr(read_settings(config), name))
    return False


def something_set(config: pytest.Config) -> bool:
    """Whether any setting is given anywhere, good or bad."""
    options = _options(config)
    return any(
        options.get(row.key) is not None
        or os.environ.get(row.variable)
        or read_ini(config, row.key) is not None
        for row in SETTINGS
    )


def _options(config: pytest.Config) -> dict[str, Any]:
    """The command line: parsed as far as it is known before the conftests, and then as a whole."""
    given = {name: value for name, value in vars(config.option).items() if value is not None}
    return vars(config.known_args_namespace) | given


def read_settings(config: pytest.Config) -> Settings:
    """Read every option, so that a bad one ends the run before it has begun."""
    from pytest_embedcache.errors import SettingsError
    from pytest_embedcache.plugin.settings import resolve

    base = _base(config)
    options = _options(config)
    try:
        settings = resolve(
            {row.key: options.get(row.key) for row in SETTINGS},
            os.environ,
            {row.key: read_ini(config, row.key) for row in SETTINGS},
            ini_directory=base,
        )
    except SettingsError as error:
        raise pytest.UsageError(str(error)) from error
    if settings.recordings is None:
        settings = settings.changed(recordings=_beside_ini(config))
    return _as_on_ci(settings)


def _base(config: pytest.Config) -> Path:
    return config.inipath.parent if config.inipath else config.rootpath


def _beside_ini(config: pytest.Config) -> str:
    """Where recordings are if nobody says otherwise."""
    return os.path.abspath(_base(config) / RECORDINGS)


def recorded_on_ci(config: pytest.Config) -> bool:
    """Whether this is CI, and there are recordings where they are if nobody says otherwise."""
    return _replays(_beside_ini(config))


def _replays(recordings: str) -> bool:
    from pytest_embedcache.plugin.ci import on_ci

    if not on_ci():
        return False
    from pytest_embedcache.plugin.recordings import have_recordings

    return have_recordings(recordings)


def _as_on_ci(settings: Settings) -> Settings:
    """On CI, where there are recordings, the mode is `replay` if nobody said otherwise."""
    if "mode" not in settings.given and _replays(settings.recordings or ""):
        from pytest_embedcache.plugin.ci import BY_CI

        given = {"mode": BY_CI, **settings.given}
        return settings.changed(mode=Mode.REPLAY.value, given=given)
    return settings
