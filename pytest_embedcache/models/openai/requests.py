"""Requests to an embeddings endpoint: how many texts go into one, and when to ask again."""

from __future__ import annotations

import email.utils
import logging
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pytest_embedcache.errors import ProviderError

__all__ = ["MAX_INPUTS", "MAX_INPUT_TOKENS", "MAX_REQUEST_TOKENS", "Asking", "in_requests"]

#: The limits of the endpoint, as the `openai` client documents them at `embeddings.create`.
MAX_INPUTS = 2048
MAX_INPUT_TOKENS = 8192
MAX_REQUEST_TOKENS = 300_000

#: Requests for one answer, the first included.
_ATTEMPTS = 6
#: Seconds before the second request, and at most, where the service does not say; doubled between.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 8.0
#: Seconds: a service that wants us back later than this is said to be away.
_TOO_LONG = 60.0
#: A 429 that waiting does not mend: the account has no money left.
_FOR_GOOD = ("insufficient_quota", "billing_hard_limit_reached")

_REMEDIES = {
    401: "Check the key: OPENAI_API_KEY, openai_api_key=, or the key_variable of the model's row.",
    403: "Check what the key, or its project, is allowed.",
    404: "Check the model's name, and its base_url.",
    400: "Look at the texts: the provider takes none above 8,192 tokens.",
    413: "Look at the texts: they are too long for one request.",
    422: "Look at the texts, and at what the provider takes.",
    429: "Ask less at once, or raise the limit of the account.",
}
_AWAY = "Check that it can be reached from here, or try again later."

_log = logging.getLogger(__name__)


def in_requests(texts: Sequence[str], size: int | None = None) -> Iterator[Sequence[str]]:
    """`texts` in pieces, each of which one request may carry, in their order.

    At most `size` texts and `MAX_INPUTS`; and never more than `MAX_REQUEST_TOKENS`, counted at
    the most that they can be: no token of a byte-level vocabulary is shorter than a byte, and no
    text may have more than `MAX_INPUT_TOKENS`.
    """
    most = min(size or MAX_INPUTS, MAX_INPUTS)
    start = tokens = 0
    for place, text in enumerate(texts):
        here = min(len(text.encode("utf-8", "surrogatepass")), MAX_INPUT_TOKENS)
        if place > start and (place - start == most or tokens + here > MAX_REQUEST_TOKENS):
            yield texts[start:place]
            start, tokens = place, 0
        tokens += here
    if start < len(texts):
        yield texts[start:]


class Asking:
    """Asks an endpoint until it answers, or says something that asking again does not mend.

    After 429 and 5xx it asks again, when `Retry-After` says so, or else after a wait that doubles.

    Args:
        model: For errors.
        where: The endpoint; for errors.
        wait: Waits for so many seconds.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        model: str,
        where: str,
        *,
        wait: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._model = model
        self._where = where
        self._wait = wait
        self._now = now

    def __call__(self, request: Callable[[], Any]) -> Any:
        """The answer to `request`.

        Raises `ProviderError`, with the client's own error as its cause.
        """
        import openai

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return request()
            except openai.APIStatusError as error:
                asked = self._retry_after(error)
                pause = _backoff(attempt) if asked is None else asked
                if not _passes(error) or attempt == _ATTEMPTS or pause > _TOO_LONG:
                    raise self._failed(error, error.status_code, asked) from error
                _log.info(
                    "%s answered %d for model '%s'; asked again in %.3g s",
                    *(self._where, error.status_code, self._model, pause),
                )
            except openai.OpenAIError as error:  # no answer, or one that is none
                raise self._failed(error, None, None) from error
            self._wait(pause)
        raise AssertionError("the last attempt returns or raises")

    def _failed(self, error: Any, status: int | None, after: float | None) -> ProviderError:
        # Not the provider's own words: they may quote a text, or a part of the key.
        code = getattr(error, "code", None)
        told = f", {code}" if isinstance(code, str) and code else ""
        if status is None:
            reason = f"{self._where} gave no answer ({type(error).__name__})"
        else:
            reason = f"{self._where} answered {status}{told}"
        return ProviderError(
            self._model, reason, _REMEDIES.get(status or 0, _AWAY), status=status, retry_after=after
        )

    def _retry_after(self, error: Any) -> float | None:
        """Seconds that the service says, in any of the three forms that are in use."""
        headers = error.response.headers
        for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
            try:
                seconds = float(headers.get(name, "")) / unit
            except ValueError:
                continue
            if math.isfinite(seconds) and seconds >= 0:
                return seconds
        when = email.utils.parsedate_tz(headers.get("retry-after", ""))
        return None if when is None else max(0.0, email.utils.mktime_tz(when) - self._now())


def _passes(error: Any) -> bool:
    """Whether the same request may succeed later."""
    if error.status_code == 429:
        return getattr(error, "code", None) not in _FOR_GOOD
    return bool(error.status_code >= 500)


def _backoff(attempt: int) -> float:
    # Less by chance, so that those who were refused together do not come back together.
    longest = min(_FIRST_WAIT * 2.0 ** (attempt - 1), _LONGEST_WAIT)
    return longest * random.uniform(0.75, 1.0)
