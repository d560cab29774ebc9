"""A worker finds the right host, and knows when it has none any more."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.hosts import LocalHost, Worker, run_address
from support.light import LightBackend, vector_of

from pytest_embedcache import ModelRegistry, ModelSpec, notices
from pytest_embedcache.errors import HostLostError
from pytest_embedcache.models.backends import BACKENDS, remote
from pytest_embedcache.models.backends.remote import hosted
from pytest_embedcache.models.host import link as links
from pytest_embedcache.models.host import patient, surroundings
from pytest_embedcache.models.host.address import Address, address_of, private_directory
from pytest_embedcache.models.host.link import Link, connect
from pytest_embedcache.models.host.surroundings import Surroundings
from pytest_embedcache.models.host.wire import receive, send, welcome
from pytest_embedcache.vectors.api import cached_model
from pytest_embedcache.vectors.cache import VectorCache

Says = Callable[[socket.socket], None]


@pytest.fixture
def scripted(place: Path) -> Iterator[Callable[[Says], Address]]:
    """`scripted(says)`: somebody who knows the secret, and then does as he likes."""
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def make(says: Says) -> Address:
        address = run_address()
        private_directory(address.path.parent, make=True)
        address.secret.write_bytes(b"s" * 32)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(address.path))
        listener.listen()
        listeners.append(listener)

        def serve() -> None:
            sock, _ = listener.accept()
            with sock:
                assert welcome(sock, b"s" * 32, Surroundings.now().environment)
                receive(sock)
                with contextlib.suppress(ConnectionError):  # who has heard enough hangs up
                    says(sock)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return address

    yield make
    for thread in threads:
        thread.join(30)
    for listener in listeners:
        listener.close()


def linked(*found: Address, **options: Any) -> Link:
    return Link(lambda: found, **options)


def test_signs_of_life_are_waited_for(scripted: Callable[[Says], Address]) -> None:
    """As long as a host does something its worker waits, and then has the answer."""

    def says(sock: socket.socket) -> None:
        for progress in (1, 2, 3):
            send(sock, {"busy": progress})
        send(sock, {"answer": 42}, b"raw")

    link = linked(scripted(says))
    assert link.find()
    assert link.ask({"do": "x"}) == ({"answer": 42}, bytearray(b"raw"))
    link.close()


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        (lambda sock: None, "it is gone"),
        (lambda sock: sock.sendall(b"nonsense" * 4), "it is gone"),
        (lambda sock: sock.recv(1), "it does not answer"),
        (lambda sock: [send(sock, {"busy": 1}) for _ in range(3)], "signs of life"),
    ],
    ids=["it ends", "it raves", "it is silent", "it stands still"],
)
def test_a_host_that_gives_no_answer_is_lost(
    scripted: Callable[[Says], Address],
    monkeypatch: pytest.MonkeyPatch,
    says: Says,
    reason: str,
) -> None:
    """Within the time that is borne; one notice, and nobody asks again."""
    monkeypatch.setattr(patient, "_STANDS_STILL", -1)
    # Of those who say something, none is too slow for a busy machine.
    link = linked(scripted(says), silence=0.3 if reason == "it does not answer" else 30)
    assert link.find()
    for _ in range(2):
        with pytest.raises(HostLostError):
            link.ask({"do": "x"})
    assert link.lost
    assert not link.find()
    ((notice, times),) = notices.counts().items()
    assert (reason in notice, times) == (True, 1)


def test_a_host_of_another_environment_is_not_used(
    place: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its vectors may be others: the worker computes by itself, and asks it nothing."""
    host = LocalHost(run_address())
    host.life.server._environment = "another"
    mine = Worker(host.address)
    assert np.array_equal(mine.model(bert).encode(["a"])[0], vector_of(bert, "a"))
    assert (mine.loads, mine.link.asked, mine.link.lost) == (1, 0, False)
    assert host.stats["asked"] == {}
    host.hang_up()


def test_what_decides_vectors_is_in_an_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another library, variable, cache directory or run: another name; else the same."""
    found = {address_of("/cache"), address_of("/other"), address_of("/cache", "run")}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    found.add(address_of("/cache"))
    monkeypatch.setattr(surroundings, "_version", lambda package, origin: f"{package} 99")
    found.add(address_of("/cache"))
    assert len(found) == 5
    assert address_of("/cache") in found


def test_a_path_has_room_on_every_system(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS allows 104 bytes, and has long temporary directories."""
    for folder in ("/var/folders/" + "x" * 60 + "/T", "/tmp"):
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        assert len(os.fsencode(address_of("/cache", "r" * 32).path)) < 104


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
@pytest.mark.parametrize("bad", ["open", "a link", "a file"])
def test_a_directory_that_others_can_enter_is_not_used(place: Path, bert: Path, bad: str) -> None:
    """Nothing is read there and nothing is started; the vectors are computed in the worker."""
    address = run_address()
    folder = address.path.parent
    if bad == "open":
        folder.mkdir()
        folder.chmod(0o755)
    elif bad == "a link":
        (place / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(place / "elsewhere")
    else:
        folder.write_text("")
    with pytest.raises(OSError, match="not a directory of this user alone"):
        connect(address)
    with pytest.raises(OSError, match="not a directory of this user alone"):
        LocalHost(address)
    mine = Worker(address)
    assert np.array_equal(mine.model(bert).encode(["a"])[0], vector_of(bert, "a"))


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_socket_and_secret_are_this_users_alone(host: LocalHost) -> None:
    """0600 in a directory of mode 0700."""
    modes = [path.stat().st_mode & 0o777 for path in (host.address.path, host.address.secret)]
    assert modes == [0o600, 0o600]
    assert host.address.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_host_that_cannot_be_started_is_said_once(bert: Path) -> None:
    """The worker computes by itself, for every model."""
    tried: list[int] = []

    def start() -> None:
        tried.append(1)
        raise HostLostError("it could not be started: no")

    mine = Worker(run_address(), start=start)
    assert np.array_equal(mine.model(bert).encode(["a"])[0], vector_of(bert, "a"))
    assert not mine.link.find()
    assert (len(tried), mine.link.lost, mine.loads) == (1, True, 1)
    assert list(notices.counts().values()) == [1]


def test_the_first_address_that_answers_is_taken(place: Path) -> None:
    """One that was kept is preferred to the run's, which need not be there."""
    kept, run = address_of("/cache"), run_address()
    host = LocalHost(kept)

    def start() -> None:
        pytest.fail("a second one was started")

    link = linked(run, kept, start=start)
    assert link.find()
    assert link.pid == os.getpid()
    link.close()
    host.hang_up()


def test_a_host_over_loopback(place: Path, bert: Path) -> None:
    """Where there are no Unix sockets: the same, and who has not the secret gets nothing."""
    address = Address(run_address().path.with_suffix(".port"), unix=False)
    host = LocalHost(address)
    mine = Worker(address)
    assert np.array_equal(mine.model(bert).encode(["a"])[0], vector_of(bert, "a"))
    assert (mine.loads, mine.link.asked) == (0, 1)
    address.secret.write_bytes(b"wrong" * 8)
    with pytest.raises(ConnectionError):
        connect(address)
    assert host.stats["asked"] == {"gw0": 1}
    mine.link.close()
    host.hang_up()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(
    host: LocalHost, worker: Callable[..., Worker], bert: Path
) -> None:
    """Parent and child ask at the same time, and each gets its own rows."""
    mine = worker()
    model = mine.model(bert)
    model.encode(["warm"])
    child = os.fork()
    if child == 0:
        right = all(
            np.array_equal(model.encode([f"c{n}"])[0], vector_of(bert, f"c{n}")) for n in range(20)
        )
        os._exit(0 if right and mine.loads == 0 else 1)
    for n in range(20):
        assert np.array_equal(model.encode([f"p{n}"])[0], vector_of(bert, f"p{n}"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (mine.loads, host.registry.stats().loads) == (0, 1)


def test_a_registry_can_be_told_a_host(
    host: LocalHost, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the address that its user gives, or by its cache directory; without one it loads."""
    monkeypatch.setattr(remote, "_SAME_THERE", (LightBackend,))
    monkeypatch.setitem(BACKENDS, "torch", LightBackend())
    cache = VectorCache(None)
    spec = ModelSpec(str(bert), device="cpu")
    told = hosted(ModelRegistry(), address=host.address.path)
    assert np.array_equal(cached_model(told, cache, spec).encode("a"), vector_of(bert, "a"))
    kept = LocalHost(address_of(str(bert.parent)))
    found = hosted(ModelRegistry(cache_dir=bert.parent))
    assert np.array_equal(cached_model(found, cache, spec).encode("a"), vector_of(bert, "a"))
    none = hosted(ModelRegistry(), address="/nowhere/host.sock")
    assert np.array_equal(cached_model(none, cache, spec).encode("a"), vector_of(bert, "a"))
    assert [r.stats().loads for r in (told, found, none)] == [0, 0, 1]
    assert [h.registry.stats().loads for h in (host, kept)] == [1, 1]
    for registry in (told, found):
        registry.handle(spec).link.close()  # type: ignore[attr-defined]
    kept.hang_up()


def silence_of(value: str, monkeypatch: pytest.MonkeyPatch) -> float:
    monkeypatch.setenv("EMBEDCACHE_HOST_PATIENCE", value)
    return links.patience()


@pytest.mark.parametrize(("value", "seconds"), [("3.5", 3.5), ("", 15), ("no", 15), ("-1", 15)])
def test_how_long_silence_is_borne(
    value: str, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment says, if that is a number of seconds."""
    assert silence_of(value, monkeypatch) == seconds
