"""The requests of a host: a thread for each worker, and a sign of life while it computes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from pytest_embedcache.errors import HostError
from pytest_embedcache.models.host.holding import Holding, peak_memory
from pytest_embedcache.models.host.wire import (
    Message,
    pack_rows,
    receive,
    send,
    unpack_texts,
    welcome,
)
from pytest_embedcache.spec import ModelSpec

__all__ = ["BEAT", "Peer", "Server"]

#: Seconds between two signs of life.
BEAT = 1.0
#: Seconds in which somebody has to say who he is; a worker may wait for a processor.
_TO_GREET = 60.0
_FIELDS = {field.name for field in fields(ModelSpec) if field.init} - {"token"}


class Peer:
    """One connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        #: A sign of life must not stand in the middle of an answer.
        self.sending = threading.Lock()
        self.waits = False


class Server:
    """Answers workers.

    Args:
        holding: The models.
        secret: What a worker has to know.
        environment: Whose vectors these are.
        stop: Called when somebody asks the host to end.
    """

    def __init__(
        self, holding: Holding, secret: bytes, environment: str, stop: Callable[[], object]
    ) -> None:
        self.holding = holding
        self.active = time.monotonic()
        self.since = time.time()
        self._secret = secret
        self._environment = environment
        self._stop = stop
        self._lock = threading.Lock()
        self._peers: set[Peer] = set()

    @property
    def peers(self) -> int:
        """Connections that are open."""
        return len(self._peers)

    def serve(self, sock: socket.socket) -> None:
        """Answer one connection, in a thread of its own; returns at once."""
        threading.Thread(target=self._converse, args=(sock,), daemon=True).start()

    def beat(self) -> None:
        """Tell everybody who waits that this goes on; called every `BEAT` seconds."""
        with self._lock:
            waiting = [peer for peer in self._peers if peer.waits]
        for peer in waiting:
            if not peer.sending.acquire(blocking=False):
                continue  # the answer is on its way
            try:
                # Who was stopped reads nothing, and must not stop everybody else.
                if peer.waits and select.select((), (peer.sock,), (), 0)[1]:
                    send(peer.sock, {"busy": self.holding.progress})
            except (OSError, ValueError):
                pass  # its own thread will see it
            finally:
                peer.sending.release()

    def _converse(self, sock: socket.socket) -> None:
        peer = Peer(sock)
        with contextlib.closing(sock), contextlib.suppress(OSError):
            sock.settimeout(_TO_GREET)
            if not welcome(sock, self._secret, self._environment):
                return
            sock.settimeout(None)
            with self._lock:
                self._peers.add(peer)
            try:
                while True:
                    message, payload = receive(sock)
                    self.active = time.monotonic()
                    peer.waits = True
                    answer, rest = self._answer(message, payload)
                    with peer.sending:
                        peer.waits = False
                        send(sock, answer, rest)
                    self.active = time.monotonic()
                    if message.get("do") == "stop":
                        self._stop()
            finally:
                with self._lock:
                    self._peers.discard(peer)

    def _answer(self, message: Message, payload: bytearray) -> tuple[Message, Any]:
        try:
            match message.get("do"):
                case "open":
                    return self._open(message), b""
                case "encode":
                    return self._encode(message, payload)
                case "stats":
                    return self.stats(), b""
                case "stop":
                    return self.stats(), b""
                case other:
                    return {"refused": f"it does not know {other!r}"}, b""
        except HostError as error:
            return {"refused": error.reason}, b""
        except Exception as error:
            return {"refused": f"{type(error).__name__}: {error}"}, b""

    def _open(self, message: Message) -> Message:
        given = message["spec"]
        spec = ModelSpec(**{name: given[name] for name in _FIELDS})
        if not spec.is_resolved or spec.trust_remote_code:
            raise HostError("it loads resolved models without code of their own")
        ticket, held = self.holding.open(spec, message["fingerprint"], message["signature"])
        with held.handle.held() as model:
            return {
                "ticket": ticket,
                "prompts": dict(getattr(model, "prompts", {})),
                "default_prompt_name": getattr(model, "default_prompt_name", None),
                "truncate_dim": getattr(model, "truncate_dim", None),
                "load_seconds": held.handle.load_time or 0.0,
            }

    def _encode(self, message: Message, payload: bytearray) -> tuple[Message, Any]:
        texts = unpack_texts(message["lengths"], payload)
        asked = message["ticket"], texts, dict(message["options"]), str(message["worker"])
        try:
            rows = self.holding.rows(*asked)
        except (ValueError, TypeError) as error:
            # The exact class: what derives from it may say more than its name and its text.
            if type(error) not in (ValueError, TypeError):
                raise
            return {"raised": type(error).__name__, "text": str(error)}, b""
        return pack_rows(rows)

    def stats(self) -> Message:
        """What this host is and did."""
        told: Message = {"pid": os.getpid(), "since": self.since, "peers": self.peers}
        told |= {"peak_bytes": peak_memory()}
        return told | self.holding.stats()
