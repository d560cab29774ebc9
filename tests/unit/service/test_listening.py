"""Where a server listens, and for whom."""

from __future__ import annotations

import argparse
import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from pytest_embedcache.cli.serve import _token
from pytest_embedcache.errors import SettingsError
from pytest_embedcache.service.http.server import check_token, listen, listen_at

GOOD = "0123456789abcdef"
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", None])
def test_this_machine_alone_needs_no_token(host: str | None) -> None:
    """Nor does a socket in the file system, for which `host` is None."""
    check_token(host, None)
    check_token(host, GOOD)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "embed.example.org", ""])
def test_any_other_host_needs_one(host: str) -> None:
    """Nobody serves his models to everybody by accident; the error says what to set."""
    with pytest.raises(SettingsError, match="EMBEDCACHE_TOKEN"):
        check_token(host, None)
    check_token(host, GOOD)


@pytest.mark.parametrize("token", ["", "short", "0123456789abcde", GOOD + "\n", GOOD + "ü"])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_none(token: str) -> None:
    """16 ASCII characters are the least; the error does not quote it."""
    with pytest.raises(SettingsError) as refused:
        check_token("127.0.0.1", token)
    assert not token or token not in str(refused.value)


@pytest.mark.parametrize("written", [f"{GOOD}\n", f"  {GOOD}\r\n\n", GOOD, f"\t{GOOD} "])
def test_a_token_is_what_is_written_without_the_blanks_around_it(
    written: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An editor, or `echo`, has left them; the same from the file and from the environment."""
    monkeypatch.setenv("EMBEDCACHE_TOKEN", written)
    assert _token(argparse.Namespace(token_file=None)) == GOOD
    monkeypatch.setenv("EMBEDCACHE_TOKEN", "not this one")
    file = tmp_path / "token"
    file.write_bytes(written.encode())
    assert _token(argparse.Namespace(token_file=file)) == GOOD


def test_a_token_of_blanks_is_none_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is empty is not set; a file that is empty, or no text, was to have one."""
    monkeypatch.setenv("EMBEDCACHE_TOKEN", " \n")
    assert _token(argparse.Namespace(token_file=None)) is None
    file = tmp_path / "token"
    for content in (b" \n", b"\xff" * 32):
        file.write_bytes(content)
        with pytest.raises(SettingsError, match="token"):
            check_token("127.0.0.1", _token(argparse.Namespace(token_file=file)))


def test_a_port_that_is_taken_is_named() -> None:
    """The error says where, and is an OSError."""
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OSError, match=rf"127\.0\.0\.1:{port}") as refused:
            listen("127.0.0.1", port)
    assert refused.value.errno == errno.EADDRINUSE
    listen("127.0.0.1", port).close()


@needs_unix
def test_a_socket_is_its_owners_alone_and_goes(tmp_path: Path) -> None:
    """0600 whatever the umask; removed at the end."""
    place = tmp_path / "s"
    before = os.umask(0)
    try:
        with listen_at(place):
            assert stat.S_IMODE(place.stat().st_mode) == 0o600
            assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert not place.exists()


@needs_unix
def test_what_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    """A socket at which nobody answers is not in the way."""
    place = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    with listen_at(place), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(place))


@needs_unix
def test_a_server_that_answers_and_a_file_stay(tmp_path: Path) -> None:
    """Neither is removed; both are errors that name the path."""
    place, file = tmp_path / "s", tmp_path / "notes.txt"
    file.write_text("mine", encoding="utf-8")
    with listen_at(place):
        with pytest.raises(OSError, match="answers"), listen_at(place):
            pass
        assert place.exists()
    with pytest.raises(OSError, match=r"notes\.txt"), listen_at(file):
        pass
    assert file.read_text(encoding="utf-8") == "mine"


@needs_unix
def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    """A directory that is missing, a path that is too long for a socket."""
    for place in (tmp_path / "missing" / "s", tmp_path / ("x" * 200)):
        with pytest.raises(OSError, match=place.name[:20]), listen_at(place):
            pass


@needs_unix
def test_a_socket_of_the_next_server_stays(tmp_path: Path) -> None:
    """Only what is still ours is removed."""
    place = tmp_path / "s"
    with listen_at(place):
        place.unlink()
        place.write_text("another's", encoding="utf-8")
    assert place.exists()
