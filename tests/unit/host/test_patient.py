"""A host that is silent is waited for as long as its process is at work, and not for ever."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from pytest_embedcache.models.host import patient
from pytest_embedcache.models.host.patient import Patient, at_work

#: It waits for a line, and then computes.
CODE = "import sys; sys.stdin.readline(); print('on', flush=True)\nwhile True: pass"
Pair = tuple[Patient, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield Patient(one, 0.01), other


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], bool]], None]:
    """`works(tell)`: what is found out, by how often it was looked at."""

    def put(tell: Callable[[int], bool]) -> None:
        times = iter(range(1, 1000))
        monkeypatch.setattr(patient, "at_work", lambda process: tell(next(times)))

    return put


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say it in a file")
def test_who_computes_is_at_work() -> None:
    """And not who waits, is stopped, or is gone."""
    command = [sys.executable, "-S", "-c", CODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        while at_work(process.pid):  # until it has started
            threading.Event().wait(0.01)
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"on\n"
        assert at_work(process.pid)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        assert not at_work(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not at_work(process.pid)
    assert not at_work(process.pid)


def test_who_is_at_work_is_waited_for(
    pair: Pair, works: Callable[[Callable[[int], bool]], None]
) -> None:
    """An answer that comes after several times the silence that is borne."""
    mine, other = pair
    works(lambda times: times < 3 or other.send(b"x") == 1)
    buffer = bytearray(1)
    assert mine.recv_into(memoryview(buffer)) == 1
    assert buffer == b"x"


def test_what_is_sent_waits_as_well(
    pair: Pair, works: Callable[[Callable[[int], bool]], None]
) -> None:
    """More than a socket's buffer holds, for one who reads only now and then: all of it, once."""
    mine, other = pair
    came = bytearray()
    works(lambda times: bool(came.extend(other.recv(2**20)) or True))
    sent = os.urandom(3_000_000)
    mine.sendall(sent)
    other.setblocking(False)
    while len(came) < len(sent):
        came += other.recv(2**20)
    assert came == sent


def test_who_is_silent_and_does_nothing_is_not_waited_for(
    pair: Pair, works: Callable[[Callable[[int], bool]], None]
) -> None:
    """One look, and it is over."""
    works(lambda times: pytest.fail("a second look") if times > 1 else False)
    with pytest.raises(TimeoutError):
        pair[0].recv_into(memoryview(bytearray(1)))


def test_nobody_is_waited_for_for_ever(
    pair: Pair, works: Callable[[Callable[[int], bool]], None]
) -> None:
    """A loop that does not end is at work, too."""
    works(lambda times: True)
    with pytest.raises(TimeoutError):
        pair[0].recv_into(memoryview(bytearray(1)))


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="other systems do not say it so")
def test_it_is_the_process_of_the_other_side_that_is_looked_at() -> None:
    """Here it is this one; over loopback nobody knows."""
    one, other = socket.socketpair()
    with one, other:
        assert Patient(one, 1)._process == os.getpid()
    with socket.socket(socket.AF_INET) as unknown:
        assert Patient(unknown, 1)._process == 0
