"""A host ends when it is of no use any more, and leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.hosts import LIGHT_HOST, LocalHost, Worker, ended, run_address
from support.light import LightBackend, vector_of
from support.models import tiny_bert

from pytest_embedcache import ModelRegistry, ModelSpec
from pytest_embedcache.errors import HostLostError
from pytest_embedcache.models.host import patient, starting
from pytest_embedcache.models.host import process as life
from pytest_embedcache.models.host.address import Address, address_of, known
from pytest_embedcache.models.host.holding import Holding
from pytest_embedcache.models.host.lifeline import is_over
from pytest_embedcache.models.host.link import ask_once, connect
from pytest_embedcache.models.host.process import SIGN, Job
from pytest_embedcache.models.host.serving import Peer
from pytest_embedcache.models.host.starting import start, start_at, sweep
from pytest_embedcache.models.host.wire import receive, send

posix = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


@pytest.fixture
def somebody() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts that are started here have light models."""
    monkeypatch.setattr(starting, "COMMAND", LIGHT_HOST)


def left(address: Address) -> list[str]:
    return sorted(p.name for p in address.path.parent.iterdir() if p.suffix != ".lock")


@posix
def test_a_killed_process_is_over_before_anybody_looked(
    somebody: subprocess.Popen[bytes],
) -> None:
    """It still has an entry in the table of processes, and does not count as alive."""
    over = is_over(somebody.pid)
    assert over is not None
    assert not over()
    somebody.kill()
    os.waitid(os.P_PID, somebody.pid, os.WEXITED | os.WNOWAIT)
    assert over()
    somebody.wait()
    gone = is_over(somebody.pid)
    assert gone is not None
    assert gone()


@posix
def test_a_host_ends_with_its_owner(
    place: Path, somebody: subprocess.Popen[bytes], light: None
) -> None:
    """Killed with SIGKILL: the host's process is gone, and so are socket and secret, although a
    worker is connected."""
    address = run_address()
    start_at(address, Job(str(address.path), str(place), owner=somebody.pid))
    sock, said = connect(address)
    assert len(left(address)) == 2
    somebody.kill()
    assert ended(said["pid"])
    sock.close()
    assert left(address) == []


def test_a_host_without_anybody_to_watch_goes_by_its_connections(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system cannot tell that a process has ended."""
    monkeypatch.setattr(life, "is_over", lambda process: None)
    host = LocalHost(run_address(), owner=1)
    sock, _ = connect(host.address)
    send(sock, {"do": "stats"})
    assert receive(sock)[0]["peers"] == 1
    monkeypatch.setattr(life, "ALONE", 0.0)
    host._thread.join(0.6)
    assert host._thread.is_alive()
    sock.close()
    host.wait()
    assert left(host.address) == []


def test_a_kept_host_ends_when_nobody_asks(place: Path) -> None:
    """After its idle time, and not before."""
    host = LocalHost(run_address(), idle=0.2)
    host.wait()
    assert left(host.address) == []


def test_a_host_that_is_stopped_says_what_it_did(host: LocalHost) -> None:
    """The last words are its counts; then it is gone."""
    told = ask_once(host.address, {"do": "stop"})
    assert (told["pid"], told["models"]) == (os.getpid(), [])
    host.wait()
    with pytest.raises(OSError, match="No such file"):
        connect(host.address)


def test_a_host_that_was_replaced_leaves_the_other_alone(place: Path, bert: Path) -> None:
    """Two at one address: the first ends by itself, and the second is found."""
    first = LocalHost(run_address())
    second = LocalHost(run_address())
    first.end()
    mine = Worker(second.address)
    assert np.array_equal(mine.model(bert).encode(["a"])[0], vector_of(bert, "a"))
    assert (mine.loads, second.registry.stats().loads) == (0, 1)
    mine.link.close()
    second.hang_up()


@posix
def test_starters_at_one_time_have_one_host(place: Path, light: None, bert: Path) -> None:
    """Six processes that all want one: it is one, which serves them all."""
    code = (
        "import sys, json; sys.path.insert(0, sys.argv[1]); "
        "from support.hosts import LIGHT_HOST, Worker; "
        "from pytest_embedcache.models.host import starting; starting.COMMAND = LIGHT_HOST; "
        "from pytest_embedcache.models.host.address import Address; "
        "from pytest_embedcache.models.host.process import Job; from pathlib import Path; "
        "a = Address(Path(sys.argv[2])); "
        "w = Worker(a, start=lambda: starting.start_at(a, Job(sys.argv[2], sys.argv[3], "
        "owner=int(sys.argv[5])))); "
        "v = w.model(Path(sys.argv[4])).encode(['a']); "
        "print(json.dumps([w.link.pid, w.loads, v.tobytes().hex()]))"
    )
    tests = str(Path(__file__).parents[2])
    address = run_address()
    arguments = [tests, str(address.path), str(place), str(bert), str(os.getpid())]
    processes = [
        subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
        for _ in range(6)
    ]
    said = [json.loads(process.communicate()[0]) for process in processes]
    right = vector_of(bert, "a").tobytes().hex()
    assert len({pid for pid, _, _ in said}) == 1
    assert {(loads, vector) for _, loads, vector in said} == {(0, right)}
    assert ask_once(address, {"do": "stop"})["asked"] == {"gw0": 6}
    assert ended(said[0][0])


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("pass", "it ended at once"),
        (f"print('{SIGN}1'); print('{SIGN}OSError: no room')", "no room"),
        (f"import time; print('{SIGN}{2**30}', flush=True); time.sleep(600)", "not ready in 1 s"),
    ],
    ids=["ends", "fails", "hangs"],
)
def test_a_host_that_does_not_start_says_why(place: Path, code: str, why: str) -> None:
    """And leaves no process of which nobody knows."""
    job = Job(str(run_address().path), str(place))
    with pytest.raises(HostLostError, match=why):
        start(job, command=(sys.executable, "-c", code), patience=1.0 if "1 s" in why else 60.0)


def test_a_worker_that_was_stopped_stops_nobody_else(host: LocalHost) -> None:
    """It reads nothing of what the host sends it, and the host goes on."""
    mine, other = socket.socketpair()
    with mine, other:
        mine.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while mine.send(b"x" * 2**16):
                pass
        mine.setblocking(True)
        peer = Peer(mine)
        peer.waits = True
        host.life.server._peers.add(peer)
        beat = threading.Thread(target=host.life.server.beat, daemon=True)
        beat.start()
        beat.join(30)
        assert not beat.is_alive()
        host.life.server._peers.discard(peer)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say who computes")
def test_a_host_that_computes_and_lets_nobody_else_is_waited_for(
    place: Path, bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library holds the interpreter's lock for several times the silence that is borne, so that
    there is no sign of life: the answer is waited for."""
    *options, code = LIGHT_HOST
    holds = (
        "from support.light import LightModel; encode = LightModel.encode; seven = 7; "
        "LightModel.encode = lambda *a, **k: (seven ** 2_000_000, encode(*a, **k))[1]; "
    )
    monkeypatch.setattr(
        starting, "COMMAND", (*options, code.replace("install();", f"install(); {holds}"))
    )
    address = run_address()
    start_at(address, Job(str(address.path), str(place), owner=os.getpid()))
    monkeypatch.setattr(patient, "_STANDS_STILL", 2000)  # of a busy machine, too
    mine = Worker(address, silence=0.05)
    assert np.array_equal(mine.model(bert).encode(["a"])[0], vector_of(bert, "a"))
    assert (mine.loads, mine.link.lost) == (0, False)
    mine.link.close()
    assert ended(ask_once(address, {"do": "stop"})["pid"])


@posix
def test_what_is_printed_before_a_host_begins_is_not_its_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a `.pth` file, a sitecustomize or a library; with an end of the line, or without."""
    *options, code = LIGHT_HOST
    noise = "print('hello', 17); print('ready'); print('and on', end=''); "
    monkeypatch.setattr(starting, "COMMAND", (*options, noise + code))
    address = run_address()
    start_at(address, Job(str(address.path), str(place), owner=os.getpid()))
    assert ended(ask_once(address, {"do": "stop"})["pid"])


def test_what_killed_hosts_left_is_swept_away(place: Path) -> None:
    """After an hour, and not what a living one has."""
    alive = LocalHost(run_address("alive"))
    for name, age in (("old", 7200), ("young", 10)):
        dead = run_address(name)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(dead.path))
        dead.secret.write_bytes(b"")
        when = dead.path.stat().st_mtime - age
        os.utime(dead.path, (when, when))
    os.utime(alive.address.path, (0, 0))
    assert len(known()) == 3
    sweep(place / f"embedcache-{os.getuid()}")
    assert set(known()) == {alive.address, run_address("young")}
    alive.hang_up()


def test_memory_bounds_what_is_held(tmp_path: Path, place: Path) -> None:
    """Where there is no room for one more, what was not used for longest goes; its ticket stays
    good."""
    free = [10**9]
    registry = ModelRegistry(backends={"torch": LightBackend()})
    holding = Holding(registry, memory=lambda: free[0])
    tickets = []
    for seed in range(3):
        path = tiny_bert(tmp_path / str(seed), seed=seed)
        spec = registry.resolve(ModelSpec(str(path), device="cpu"))
        identity = registry.identify(spec)
        if seed == 2:
            free[0] = 0
        ticket, _ = holding.open(spec, identity.fingerprint, str(identity.signature))
        tickets.append(ticket)
    assert [row["loaded"] for row in holding.stats()["models"]] == [False, False, True]
    again = holding.rows(tickets[0], ["a"], {}, "w")
    assert np.array_equal(again[0], vector_of(tmp_path / "0", "a"))
    assert registry.stats().loads == 4


@posix
@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can be others")
def test_another_user_cannot_reach_a_host(host: LocalHost) -> None:
    """Neither the socket nor the secret: the directory does not let him in."""
    code = (
        "import os, socket, sys; os.setgid(65534); os.setuid(65534)\n"
        "for action in (lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[1]),\n"
        "               lambda: open(sys.argv[2], 'rb')):\n"
        "    try: action()\n"
        "    except PermissionError: print('refused')\n"
    )
    os.chmod(host.address.path.parent.parent, 0o755)
    paths = [str(host.address.path), str(host.address.secret)]
    ran = subprocess.run(
        [sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["refused", "refused"]


def test_a_stranger_of_the_same_user_learns_nothing(host: LocalHost) -> None:
    """Without the secret each request is answered by the end of the connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(30)
        sock.connect(str(host.address.path))
        said, _ = receive(sock)
        assert set(said) == {"protocol", "nonce"}
        send(sock, {"do": "stop", "nonce": "x", "proof": "y"})
        with pytest.raises(ConnectionError):
            receive(sock)
    assert host._thread.is_alive()
    assert host.life.server.peers == 0


def test_addresses_are_of_one_user_and_cache(place: Path) -> None:
    """Two cache directories, and two runs, have each their own."""
    found = {address_of(d, r) for d in ("/a", "/b") for r in (None, "1", "2")}
    assert len(found) == 6
