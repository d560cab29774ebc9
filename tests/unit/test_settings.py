"""What the user set: command line before environment before ini before default, and no guessing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_embedcache.errors import SettingsError
from pytest_embedcache.plugin.settings import Settings, resolve
from pytest_embedcache.plugin.table import SETTINGS

NAMES = [row.name for row in SETTINGS]
#: For every setting two good texts, with what they mean.
GOOD: dict[str, list[tuple[str, object]]] = {
    "model": [("a", "a"), ("org/b", "org/b")],
    "device": [("cuda:1", "cuda:1"), ("auto", None)],
    "strategy": [("background", "background"), ("cached", "cached")],
    "model_timeout": [("600", 600.0), ("0", 0.0)],
    "host": [("keep", "keep"), ("off", "off")],
    "host_timeout": [("60", 60.0), ("-1", -1.0)],
    "auto_workers": [("true", True), ("on", True)],
    "dropin": [("true", True), ("on", True)],
    "mode": [("live", "live"), ("fake", "fake")],
    "no_models": [("true", True), ("on", True)],
    "dropin_defer": [("true", True), ("yes", True)],
    "recordings": [("/x", "/x"), ("/y", "/y")],
    "strict": [("true", True), ("1", True)],
    "versions": [("a=1", {"a": "1"}), ("a = 1, b=2026-05", {"a": "1", "b": "2026-05"})],
    "aliases": [("a=b", {"a": "b"}), ("a = org/b, c=d\ne=f", {"a": "org/b", "c": "d", "e": "f"})],
    "prune_recordings": [("on", True), ("YES", True)],
    "dir": [("/x", "/x"), ("/y", "/y")],
    "threads": [("3", 3), ("off", "off")],
    "redis_url": [("redis://a", "redis://a"), ("redis://b", "redis://b")],
    "cache_max_size": [("1", 1), ("2", 2)],
    "cache_ttl": [("1", 1), ("2", 2)],
    "gates": [("report", "report"), ("off", "off")],
    "json": [("/x", "/x"), ("/y", "/y")],
    "report": [("/x.html", "/x.html"), ("/y.MD", "/y.MD")],
    "report_texts": [("true", True), ("on", True)],
    "prices": [("a=0.02", {"a": "0.02"}), ("a = 1, b=0", {"a": "1", "b": "0"})],
}
#: Bad ones, with the words of the error that say what would do.
BAD: list[tuple[str, str, str]] = [
    ("model", " ", "it is empty"),
    ("device", "GPU 0", "'cpu'.*'cuda'"),
    ("device", "  ", "it is empty"),
    ("mode", "fast", "auto, live, record, replay, rerecord, fake"),
    ("no_models", "maybe", "true or false"),
    ("strategy", "eager", "lazy, background, progressive, quantized, cached"),
    ("model_timeout", "never", "a number of seconds; 0 is at once, -1 never"),
    ("model_timeout", "-2", "a number of seconds; 0 is at once, -1 never"),
    ("host", "on", "auto, off, keep"),
    ("host_timeout", "-2", "a number of seconds; 0 is at once, -1 never"),
    ("auto_workers", "perhaps", "true or false"),
    ("recordings", "", "it is empty"),
    ("dropin", "perhaps", "true or false"),
    ("dropin_defer", "", "true or false"),
    ("strict", "perhaps", "true or false"),
    ("prune_recordings", "", "true or false"),
    ("aliases", "a", "alias=name"),
    ("versions", "a", "name=version"),
    ("dir", "", "it is empty"),
    ("threads", "0", "auto, off, or a number of threads from 1 up"),
    ("threads", "-1", "auto, off, or a number"),
    ("threads", "many", "auto, off, or a number"),
    ("threads", "1.5", "auto, off, or a number"),
    ("cache_max_size", "4 GB", "in bytes, as a whole number above 0"),
    ("cache_ttl", "0", "a whole number above 0"),
    ("gates", "on", "fail, report, off"),
    ("json", "", "it is empty"),
    ("report", "", "ends in .html or .md"),
    ("report", "/x.pdf", "ends in .html or .md"),
    ("report_texts", "perhaps", "true or false"),
    ("prices", "a", "name=dollars"),
    ("prices", "a=-1", "name=dollars for a million tokens"),
    ("prices", "a=nan", "name=dollars for a million tokens"),
]


def resolved(
    line: dict[str, str] | None = None,
    environment: dict[str, str] | None = None,
    ini: dict[str, str] | None = None,
    ini_directory: Path = Path("/ini"),
) -> Settings:
    """`resolve` with the names of settings in place of the names that each source has for them."""
    return resolve(
        {f"embedcache_{name}": text for name, text in (line or {}).items()},
        {f"EMBEDCACHE_{name.upper()}": text for name, text in (environment or {}).items()},
        {f"embedcache_{name}": text for name, text in (ini or {}).items()},
        ini_directory=ini_directory,
    )


def test_every_setting_has_examples_here() -> None:
    """A new row is tested by giving it its texts above."""
    assert sorted(GOOD) == sorted(NAMES)


def test_nothing_set_is_the_defaults() -> None:
    """And nothing is said to be given."""
    assert resolved() == Settings()
    assert resolved().given == {}


def test_a_setting_has_one_name_in_three_spellings() -> None:
    """Option, ini key and environment variable follow from the row's name."""
    row = next(row for row in SETTINGS if row.name == "cache_max_size")
    assert (row.flag, row.key, row.variable) == (
        "--embedcache-cache-max-size",
        "embedcache_cache_max_size",
        "EMBEDCACHE_CACHE_MAX_SIZE",
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_nearer_source_wins(name: str) -> None:
    """Command line, then environment, then ini; `given` says which it was."""
    (near, near_value), (far, far_value) = GOOD[name]
    row = next(row for row in SETTINGS if row.name == name)
    sources = [("line", row.flag), ("environment", row.variable), ("ini", f"ini {row.key}")]
    for place, (winner, label) in enumerate(sources):
        texts: dict[str, dict[str, str]] = {winner: {name: near}}
        texts |= {other: {name: far} for other, _ in sources[place + 1 :]}
        settings = resolved(**texts)
        assert getattr(settings, name) == near_value
        assert settings.given == {name: label}
    assert getattr(resolved(ini={name: far}), name) == far_value


@pytest.mark.parametrize(("name", "text", "remedy"), BAD)
@pytest.mark.parametrize("source", ["line", "environment", "ini"])
def test_a_bad_value_names_itself_its_source_and_the_good_ones(
    name: str, text: str, remedy: str, source: str
) -> None:
    """Whoever gave it can find it."""
    row = next(row for row in SETTINGS if row.name == name)
    label = {"line": row.flag, "environment": row.variable, "ini": f"ini {row.key}"}[source]
    if source == "environment" and not text:
        assert resolved(environment={name: text}) == Settings()
        return
    with pytest.raises(SettingsError, match=remedy) as caught:
        resolved(**{source: {name: text}})  # type: ignore[arg-type]
    assert str(caught.value).startswith(f"{name} = {text!r} (from {label}) cannot be used: ")
    assert (caught.value.setting, caught.value.source) == (name, label)


def test_a_bad_value_that_a_nearer_source_covers_is_not_read() -> None:
    """What does not count cannot be wrong."""
    assert resolved(line={"threads": "2"}, environment={"threads": "many"}).threads == 2


def test_paths_start_where_they_were_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative ones from the ini file's directory, or else from the current one; `~` is home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    project = tmp_path / "project"
    texts = {"dir": "cache/../store", "json": "~/out.json"}
    home = str(tmp_path / "home" / "out.json")
    for source, base in (("line", tmp_path), ("environment", tmp_path), ("ini", project)):
        given: dict[str, Any] = {source: texts}
        settings = resolved(**given, ini_directory=project)
        assert settings.dir == str(base / "store"), source
        assert settings.json == home, source


def test_a_model_in_a_directory_is_found_wherever_a_test_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory becomes absolute, as the paths do; a name on the Hub stays as it is."""
    here, project = tmp_path / "here", tmp_path / "project"
    for place in (here, project):
        (place / "models" / "small").mkdir(parents=True)
    monkeypatch.chdir(here)
    text = {"model": "models/small"}
    assert resolved(line=text, ini_directory=project).model == str(here / "models" / "small")
    assert resolved(ini=text, ini_directory=project).model == str(project / "models" / "small")
    assert resolved(ini=text, ini_directory=tmp_path).model == "models/small"


@pytest.mark.parametrize("name", NAMES)
def test_settings_travel_to_a_worker_unchanged(name: str) -> None:
    """As built-in types, which is all that execnet takes."""
    for text, _ in GOOD[name]:
        settings = resolved(line={name: text})
        sent = json.loads(json.dumps(settings.as_dict()))
        assert Settings(**sent) == settings
