"""Texts to hold a prepared model against the one that it was made of."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator

__all__ = ["docstrings", "hard_texts"]

#: Modules whose documentation is read; of few imports, and in every Python.
_DOCUMENTED = (
    *("argparse", "ast", "asyncio", "calendar", "codecs", "collections", "configparser"),
    *("contextlib", "csv", "datetime", "decimal", "difflib", "email.message", "fractions"),
    *("functools", "heapq", "html.parser", "http.client", "inspect", "ipaddress", "json"),
    *("logging", "mailbox", "os", "pathlib", "pickle", "platform", "random", "re", "sched"),
    *("shutil", "sqlite3", "statistics", "string", "subprocess", "tarfile", "tempfile"),
    *("textwrap", "threading", "unittest", "urllib.request", "uuid", "zipfile"),
)


def hard_texts(special: tuple[str, ...] = ()) -> list[str]:
    """About 40 texts on which tokenizers and models go wrong, if they do.

    Short, long and longer than any limit, empty, blank, in many scripts, not normalised, with the
    model's `special` tokens written out.
    """
    long = "The committee met again in the afternoon, and decided nothing of importance. "
    texts = [
        *("", " ", "\n\t", "a", ".", "?!", "0", "I", "cat", "A CAT sat.", "déjà vu", "naïve café"),
        *("  white space  before and   after  ", "tab\tnew\nline\r\nend", "trailing newline\n"),
        "The quick brown fox jumps over the lazy dog.",
        "How do I cancel my subscription, and get the money back for this month?",
        "SELECT name FROM users WHERE id = 42; -- a comment",
        "def encode(self, texts: list[str]) -> np.ndarray: ...",
        "https://example.org/a/path?query=1&other=%20#fragment",
        "pneumonoultramicroscopicsilicovolcanoconiosis",
        "x" * 300,
        "1234567890 3.14159 -7e-12 ½ ² ₂ Ⅷ",
        *("Der Fluß überschwemmte die Straße.", "Žluťoučký kůň", "Пять кошек и одна собака"),
        *(
            "猫が好きです",
            "我喜欢猫，也喜欢狗。",
            "고양이를 좋아해요",
            "ฉันชอบแมว",
            "أحب القطط",
            "אני אוהב חתולים",
        ),
        *("मुझे बिल्लियाँ पसंद हैं", "e\u0301 and é, ﬁ and fi, Å and Å", "🐈‍⬛ 👩🏽‍🚀 🇫🇷 :-)"),
        *("a\u200bb\u00adc\ufeffd", "null \x00 and bell \x07", "\u202eright to left\u202c"),
        long * 3,
        long * 12,
        long * 60,
        "word " * 900,
    ]
    texts += [f"before {token} after" for token in special]
    return [*texts, "".join(special)] if special else texts


def docstrings(count: int = 300) -> list[str]:
    """Real texts, the same in every process of one Python: documentation of its library.

    Long ones are among them; none occurs twice.
    """
    found: dict[str, None] = {}
    per_module = max(1, -(-count // len(_DOCUMENTED)))
    for name in _DOCUMENTED:
        listed = list(_documented(importlib.import_module(name)))
        # Of every length: the longest, and from among the rest in equal steps.
        listed.sort(key=lambda text: (-len(text), text))
        step = max(1, len(listed) // (per_module * 2))
        found.update(dict.fromkeys(listed[: per_module * 2 * step : step]))
    texts = sorted(found, key=lambda text: (text[::-1], text))  # no order of topic or length
    return texts[:count]


def _documented(module: object) -> Iterator[str]:
    members = [module, *(value for _, value in inspect.getmembers(module))]
    for member in members:
        if inspect.ismodule(member) or inspect.isclass(member) or inspect.isroutine(member):
            text = getattr(member, "__doc__", None)
            if isinstance(text, str) and len(text) >= 40:
                yield inspect.cleandoc(text)
