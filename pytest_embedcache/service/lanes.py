"""Texts that arrive together are encoded together, and those that are equal once."""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from pytest_embedcache.errors import EmbedCacheError, EncodeError, ProviderError
from pytest_embedcache.service.requests import Request

if TYPE_CHECKING:
    import numpy as np

    from pytest_embedcache.vectors.apart import Tokens

__all__ = ["Lane"]

#: What a provider answers to a text that it does not take, whoever else is in the request.
_ABOUT_TEXTS = (400, 413, 422)


class _Entry:
    """A text that waits, or is on its way, and the requests that want it; the first one pays."""

    __slots__ = ("requests", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.requests: list[Request] = []


class Lane:
    """The texts of one model and role that are to be encoded.

    A text waits until `most` are there, or `max_wait` seconds have passed; whatever arrives while
    others are encoded goes with the next. Each call that waits gets its share of a batch in turn,
    so that a single text is not held up by a call with thousands. A call that is cancelled takes
    nothing away from others.

    Args:
        encode: Texts -> their vectors, one row each; called in threads of `start`. Notes those that
            went to the model, and their tokens, in its second argument, also where it raises.
        start: Runs a function in another thread.
        most: Texts of one batch.
        at_once: Batches that may be encoded at the same time.
        max_wait: Seconds.
        report: Called with what `encode` noted, and the seconds that it took.
    """

    def __init__(
        self,
        encode: Callable[[list[str], Tokens], np.ndarray],
        start: Callable[[Callable[[], None]], object],
        *,
        most: int,
        at_once: int,
        max_wait: float,
        report: Callable[[Tokens, float], object],
    ) -> None:
        self._encode = encode
        self._start = start
        self._most = most
        self._at_once = at_once
        self._max_wait = max_wait
        self._report = report
        self._changed = threading.Condition()
        self._entries: dict[str, _Entry] = {}
        self._waiting: deque[deque[_Entry]] = deque()
        self._running = 0
        self._gathering = False
        #: Texts that wait to be encoded.
        self.queued = 0

    def add(self, request: Request, texts: list[str]) -> None:
        """Bring `request` the vectors of `texts`, all distinct."""
        with self._changed:
            queue: deque[_Entry] = deque()
            for text in texts:
                entry = self._entries.get(text)
                if entry is None:
                    entry = self._entries[text] = _Entry(text)
                    queue.append(entry)
                entry.requests.append(request)
            if queue:
                self._waiting.append(queue)
                self.queued += len(queue)
            begins = self._may_begin()
            self._changed.notify_all()
        if begins:
            self._begin()

    def _begin(self) -> None:
        """In one more thread. Where none is to be had, what waits is for those that run already.

        Where none of them does, it is for nobody, and fails.
        """
        try:
            self._start(self._run)
        except BaseException as error:
            with self._changed:
                self._gathering = False
                self._running -= 1
                left: list[_Entry] = []
                while self._waiting and not self._running:
                    left += self._waiting.popleft()
                self.queued -= len(left)
            self._give_up(left, error)

    def _may_begin(self) -> bool:
        """Whether one more is to run; says that it does. The caller has the lock."""
        if not self.queued or self._gathering or self._running >= self._at_once:
            return False
        self._gathering = True
        self._running += 1
        return True

    def _run(self, gathers: bool = True) -> None:
        while True:
            with self._changed:
                if gathers:
                    self._changed.wait_for(lambda: self.queued >= self._most, self._max_wait)
                    self._gathering = False
                batch = self._take()
                if not batch:
                    self._running -= 1
                    return
                begins = self._may_begin()
            if begins:
                self._begin()
            gathers = False
            try:
                self._deliver(batch, {})
            except BaseException as error:  # ours: nobody is to wait for ever because of it
                self._give_up(batch, error)
            if self._goes_on_later():
                return

    def _goes_on_later(self) -> bool:
        """Whether this thread is free: nothing waits, or it is the turn of another lane first."""
        with self._changed:
            if not self.queued:
                self._running -= 1
                return True
        if self._at_once == 1:
            # A model's library has its threads for each of ours: no other one is to begin for this.
            return False
        try:
            self._start(functools.partial(self._run, False))
        except BaseException:  # no thread to be had: this one goes on
            return False
        return True

    def _give_up(self, batch: list[_Entry], error: BaseException) -> None:
        with self._changed:
            for entry in batch:
                if self._entries.get(entry.text) is entry:
                    del self._entries[entry.text]
        for request in {request for entry in batch for request in entry.requests}:
            request.fail(error)

    def _take(self) -> list[_Entry]:
        """A text of each call in turn, until the batch is full or nothing waits."""
        batch: list[_Entry] = []
        while self._waiting and len(batch) < self._most:
            queue = self._waiting.popleft()
            entry = queue.popleft()
            self.queued -= 1
            if queue:
                self._waiting.append(queue)
            if all(request.is_given_up for request in entry.requests):
                del self._entries[entry.text]
                for request in entry.requests:
                    request.fail(CancelledError())  # it has ended, and nobody hears of it
            else:
                batch.append(entry)
        return batch

    def _deliver(self, batch: list[_Entry], sent: Tokens) -> None:
        """Encode it and hand it out; `sent` is what was sent of it before."""
        begun = bool(sent)
        try:
            found = self._encoded([entry.text for entry in batch], sent)
        except BaseException as error:
            with self._changed:  # grouped, or left, at once: nobody joins in between
                groups: dict[frozenset[int], list[_Entry]] = {}
                for entry in batch:
                    groups.setdefault(frozenset(map(id, entry.requests)), []).append(entry)
                splits = len(groups) > 1 and _is_about_texts(error)
                failed = [] if splits else [one for entry in batch for one in self._leave(entry)]
            for group in groups.values() if splits else ():
                # One call's text has spoilt it for others: what the same calls want goes together.
                texts = [entry.text for entry in group]
                self._deliver(group, {text: sent[text] for text in texts if text in sent})
            for request in failed:
                request.fail(error)
            return
        shares: dict[int, tuple[Request, dict[str, int], Tokens]] = {}
        for row, entry in enumerate(batch):
            requests = self._leave(entry)
            pays = next((one for one in requests if not one.is_given_up), None)
            for request in requests:
                _, rows, bill = shares.setdefault(id(request), (request, {}, {}))
                rows[entry.text] = row
                if request is pays and entry.text in sent:
                    bill[entry.text] = sent[entry.text]
        # What was sent before was sent, and counted, with the texts of others.
        exact = not begun and sum(bool(bill) for _, _, bill in shares.values()) == 1
        for request, rows, bill in shares.values():
            vectors = {text: found[row] for text, row in rows.items()}
            request.take(vectors, bill, exact=exact)

    def _encoded(self, texts: list[str], sent: Tokens) -> np.ndarray:
        start = time.perf_counter()
        told: Tokens = {}
        try:
            return self._encode(texts, told)
        finally:
            self._report(told, time.perf_counter() - start)
            for text, tokens in told.items():
                before = sent.get(text)
                sent[text] = tokens if before is None else before + (tokens or 0)

    def _leave(self, entry: _Entry) -> list[Request]:
        """Those who want it; whoever comes now asks the store."""
        with self._changed:
            del self._entries[entry.text]
            return entry.requests


def _is_about_texts(error: BaseException) -> bool:
    """Whether it may be the fault of one of the texts; else it is everybody's."""
    if isinstance(error, ProviderError):
        return error.status in _ABOUT_TEXTS
    if isinstance(error, EncodeError):
        return False
    return isinstance(error, Exception) and not isinstance(error, EmbedCacheError)
