"""A worker's way to a host: finds one, or starts it, and knows when it is lost."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from pytest_embedcache import notices
from pytest_embedcache.errors import EmbedCacheError, HostError, HostLostError
from pytest_embedcache.models.host.address import Address, private_directory
from pytest_embedcache.models.host.patient import Patient
from pytest_embedcache.models.host.surroundings import Surroundings
from pytest_embedcache.models.host.wire import Message, greet, receive, send

__all__ = ["Link", "ask_once", "connect", "patience"]

#: Of what a host has to say when it is asked once.
_TO_ANSWER = 5.0
#: Seconds of silence that are borne; while a host computes it gives a sign every second.
SILENCE = 15.0
_RAISED: dict[str, type[Exception]] = {e.__name__: e for e in (ValueError, TypeError)}


def patience() -> float:
    """Seconds of silence that are borne: `EMBEDCACHE_HOST_PATIENCE`, else 15."""
    with contextlib.suppress(ValueError):
        if (found := float(os.environ.get("EMBEDCACHE_HOST_PATIENCE") or SILENCE)) > 0:
            return found
    return SILENCE


def connect(address: Address, *, timeout: float = _TO_ANSWER) -> tuple[Patient, Message]:
    """A connection to the host at this address, and what it says of itself.

    Raises `ConnectionError` for one of another protocol or environment, and for somebody else who
    listens there; `OSError` where there is nobody.
    """
    private_directory(address.path.parent)
    secret = address.secret.read_bytes()
    if address.unix:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        target: Any = str(address.path)
    else:
        told = json.loads(address.path.read_bytes())
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        target = ("127.0.0.1", int(told["port"]))
    try:
        sock.settimeout(timeout)
        sock.connect(target)
        patient = Patient(sock, timeout)
        said = greet(patient, secret)
    except BaseException:
        sock.close()
        raise
    return patient, said


def ask_once(address: Address, message: Message, *, around: Surroundings | None = None) -> Message:
    """What the host at this address answers; with `around`, only one of that environment.

    Raises `OSError` where there is none, or it is silent.
    """
    sock, said = connect(address)
    with contextlib.closing(sock):
        if around is not None and said.get("environment") != around.environment:
            raise ConnectionError("it is of another environment")
        send(sock, message)
        while "busy" in (answer := receive(sock)[0]):
            pass
        return answer


class Link:
    """The host of this process, if there is one; a connection for each thread that asks at once.

    Args:
        addresses: Where a host may be, the most welcome first.
        start: Starts one at the last of them, and returns when it listens; raises `HostError`, or
            `OSError`. None where none is to be started.
        worker: Under which name this process asks.
        silence: Seconds after which a host that says nothing, and is not at work, is lost.
        around: Whose vectors a host has to have; None is for those of this process now.

    Attributes:
        asked: Texts that a host was asked for.
        lost: Whether there was a host, or should have been one, and is none any more.
        pid: Of the host, None before.
    """

    def __init__(
        self,
        addresses: Callable[[], Sequence[Address]],
        start: Callable[[], None] | None = None,
        *,
        worker: str = "main",
        silence: float | None = None,
        around: Surroundings | None = None,
    ) -> None:
        self.worker = worker
        self.asked = 0
        self.lost = False
        self.pid: int | None = None
        self._addresses = addresses
        self._start = start
        self._silence = patience() if silence is None else silence
        self._around = around or Surroundings.now()
        self._found: Address | None = None
        self._renew()

    def _renew(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._free: list[Patient] = []

    def find(self) -> bool:
        """Whether there is a host now; starts one where that is wanted. It is said once if not."""
        self._here()
        with self._lock:
            if self.lost or self._found is not None:
                return not self.lost
            try:
                found = self._look()
                if found is None and self._start is not None:
                    self._start()
                    if (found := self._look()) is None:
                        raise HostLostError("it was started, and cannot be reached")
            except (EmbedCacheError, OSError) as error:
                self._lose(error)
                return False
            return found is not None

    def _look(self) -> Address | None:
        for address in self._addresses():
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                sock, said = connect(address)
                if said.get("environment") != self._around.environment:
                    sock.close()
                    continue
                self.pid = int(said["pid"])
                self._free.append(sock)
                self._found = address
                return address
        return None

    def ask(self, message: Message, payload: bytes = b"") -> tuple[Message, bytearray]:
        """What the host answers.

        Raises:
            HostLostError: It is gone, or silent; from now on nobody of this process asks it.
            HostError: It does not serve this.
            ValueError, TypeError: The model raised it for these texts, or for the call.
        """
        self._here()
        if self.lost or self._found is None:
            raise HostLostError("it was lost before")
        sock = None
        try:
            with self._lock:
                sock = self._free.pop() if self._free else None
            sock = sock or connect(self._found)[0]
            answer, rest = self._exchange(sock, message, payload)
        except (OSError, ValueError, KeyError) as error:
            if sock is not None:
                sock.close()
            with self._lock:
                raise self._lose(error) from error
        except BaseException:
            # Interrupted: an answer may be on its way, and it is nobody's.
            if sock is not None:
                sock.close()
            raise
        with self._lock:
            self._free.append(sock)
        if "refused" in answer:
            raise HostError(str(answer["refused"]))
        if "raised" in answer:
            raise _RAISED.get(str(answer["raised"]), ValueError)(str(answer.get("text", "")))
        return answer, rest

    def _exchange(
        self, sock: Patient, message: Message, payload: bytes
    ) -> tuple[Message, bytearray]:
        sock.silence = self._silence
        send(sock, message, payload)
        progress, since = None, time.monotonic()
        while True:
            answer, rest = receive(sock)
            if "busy" not in answer:
                return answer, rest
            if answer["busy"] != progress:
                progress, since = answer["busy"], time.monotonic()
            elif time.monotonic() - since > sock.most:
                raise TimeoutError("it gives signs of life, and does nothing")

    def close(self) -> None:
        """Leave the host; it can be found again."""
        with self._lock:
            for sock in self._free:
                sock.close()
            self._free.clear()
            self._found = None

    def _lose(self, error: Exception) -> HostLostError:
        """Say once that there is no host any more."""
        found = error if isinstance(error, HostLostError) else HostLostError(_reason(error))
        if not self.lost:
            self.lost = True
            for sock in self._free:
                sock.close()
            self._free.clear()
            notices.degraded(
                f"the model host is of no use ({found.reason}); models are loaded in this process"
            )
        return found

    def _here(self) -> None:
        """In a forked child the connections are the parent's: what is said on them is not ours."""
        if self._process != os.getpid():
            for sock in self._free:
                sock.close()  # the parent's stays open
            self._renew()


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return str(error) if error.args and "signs" in str(error) else "it does not answer"
    if isinstance(error, EmbedCacheError | ConnectionError):
        return "it is gone"
    return f"{type(error).__name__}: {error}"
