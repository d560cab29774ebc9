"""A headless Chromium: what it makes of a page, what it complains of, and what it asks for."""

from __future__ import annotations

import json
import shutil
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="chromium is not installed (Debian's package of that name)"
)
_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-extensions"),
    *("--disable-default-apps", "--hide-scrollbars", "--disable-dev-shm-usage"),
    "--enable-logging=stderr",
)
_PNG_HEADER = 8


@dataclass(frozen=True)
class Seen:
    """The page as Chromium holds it, lines of its console, and addresses that it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    profile = f"--user-data-dir={directory / 'chromium'}"
    command = [CHROMIUM, *_QUIET, profile, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done


def seen(page: Path) -> Seen:
    """What Chromium makes of the file."""
    log = page.with_suffix(".netlog.json")
    done = _run(page.parent, f"--log-net-log={log}", "--dump-dom", page.as_uri())
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(done.stdout, console, _requests(log))


def seen_at(url: str, directory: Path) -> Seen:
    """What Chromium makes of a page that is served, after two seconds of its own time."""
    log = directory / "served.netlog.json"
    waits = "--virtual-time-budget=2000"
    done = _run(directory, waits, f"--log-net-log={log}", "--dump-dom", url)
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return Seen(done.stdout, console, _requests(log))


def _requests(log: Path) -> list[str]:
    """Those of a document: what Chromium asks for of itself has no origin."""
    events = json.loads(log.read_text(encoding="utf-8"))["events"]
    asked = (event.get("params", {}) for event in events)
    found = (
        one["url"] for one in asked if one.get("initiator", "not an origin") != "not an origin"
    )
    return sorted({url for url in found if not url.startswith("file:")})


def first_pixel(page: Path, *, dark: bool) -> str:
    """The colour in the upper left corner, `#rrggbb`, for somebody who likes it dark, or light."""
    shot = page.with_suffix(".png")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    _run(page.parent, scheme, "--window-size=900,600", f"--screenshot={shot}", page.as_uri())
    content, at, compressed = shot.read_bytes(), _PNG_HEADER, b""
    while at < len(content):
        length, kind = int.from_bytes(content[at : at + 4], "big"), content[at + 4 : at + 8]
        if kind == b"IDAT":
            compressed += content[at + 8 : at + 8 + length]
        at += 12 + length
    # Whatever the first line is predicted from, for its first pixel that is nothing.
    return f"#{zlib.decompress(compressed)[1:4].hex()}"
