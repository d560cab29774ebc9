"""How the value of a setting is read: each raises `ValueError` with what is good in its place."""

from __future__ import annotations

from collections.abc import Callable

__all__ = [
    "byte_count",
    "count",
    "device",
    "flag",
    "idle_timeout",
    "one_of",
    "pairs",
    "prices",
    "redis_url",
    "report",
    "text",
    "threads",
]


def one_of(*names: str) -> Callable[[str], str]:
    """Any of these."""

    def parse(value: str) -> str:
        if value in names:
            return value
        raise ValueError(f"use {', '.join(names)}")

    return parse


def text(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty; give a value, or leave it out")
    return value


def device(value: str) -> str | None:
    from pytest_embedcache.spec import ModelSpec

    return None if value == "auto" else ModelSpec("x", device=text(value)).device


def idle_timeout(value: str) -> float:
    from pytest_embedcache.models.idle import read_timeout

    try:
        return read_timeout(value)
    except ValueError:
        raise ValueError("use a number of seconds; 0 is at once, -1 never") from None


def redis_url(value: str) -> str:
    from pytest_embedcache.errors import SettingsError
    from pytest_embedcache.vectors.redis_client import URL_FORMS, location_of

    try:
        location_of(value)
    except SettingsError:
        raise ValueError(URL_FORMS) from None
    return value


def count(value: str) -> int:
    if value.isdecimal() and int(value):
        return int(value)
    raise ValueError("use a whole number above 0")


def byte_count(value: str) -> int:
    if value.isdecimal() and int(value):
        return int(value)
    raise ValueError("give it in bytes, as a whole number above 0")


def threads(value: str) -> str | int:
    if value in ("auto", "off"):
        return value
    if value.isdecimal() and int(value):
        return int(value)
    raise ValueError("use auto, off, or a number of threads from 1 up")


def flag(value: str) -> bool:
    found = {"true": True, "1": True, "yes": True, "on": True}
    found |= {"false": False, "0": False, "no": False, "off": False}
    try:
        return found[value.strip().lower()]
    except KeyError:
        raise ValueError("use true or false") from None


def pairs(form: str) -> Callable[[str], dict[str, str]]:
    def parse(value: str) -> dict[str, str]:
        found = {}
        for part in value.replace(",", "\n").split("\n"):
            left, equals, right = (word.strip() for word in part.partition("="))
            if left and equals and right:
                found[left] = right
            elif part.strip():
                raise ValueError(f"use {form}, separated by commas or lines")
        return found

    return parse


def report(value: str) -> str:
    if value.lower().endswith((".html", ".htm", ".md")):
        return value
    raise ValueError("use a path that ends in .html or .md")


def prices(value: str) -> dict[str, str]:
    import re

    prices = pairs("name=dollars")(value)
    for price in prices.values():
        if not re.fullmatch(r"\d+(\.\d+)?", price, re.ASCII):
            raise ValueError("use name=dollars for a million tokens, as in my-model=0.02")
    return prices
