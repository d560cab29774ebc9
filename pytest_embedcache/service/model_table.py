"""The models that the service knows: a TOML file of the package, and one of the user's."""

from __future__ import annotations

import datetime
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any

from pytest_embedcache.errors import SettingsError, UnknownModelError
from pytest_embedcache.models.remote import bare_url, is_http

__all__ = ["API_BACKENDS", "VARIABLE", "ModelRow", "ModelTable"]

VARIABLE = "EMBEDCACHE_MODELS_FILE"
#: Those whose model is somebody's API: it costs, and takes no empty text.
API_BACKENDS = frozenset(("openai",))
#: No price, length or dimension is as much as that.
_MOST = 10**9
_OWN = Path(__file__).with_name("models.toml")


@dataclass(frozen=True)
class ModelRow:
    """A model of the table.

    Attributes:
        name: By which the service is asked for it.
        model: By which its backend is asked for it; the same, unless the row says otherwise.
        backend: `torch`, `onnx`, `openai`, …; None is that of the process's strategy.
        dimension: Of its vectors; None where only the model knows.
        batch_size: Texts that go through the model, or into a request, at once.
        max_input_tokens: Of one text: an API takes none that is longer, others are cut.
        price_per_1k_tokens: US dollars; None where it is not known. A local model's is 0.
        prices_of: The day on which that was the price.
        base_url: Of an API that is not the one of the environment.
        key_variable: The environment variable that has the key for it.
        revision: Branch, tag or commit; of an API, a version of your own.
        device: Of a local model.
    """

    name: str
    model: str
    backend: str | None = None
    dimension: int | None = None
    batch_size: int = 32
    max_input_tokens: int | None = None
    price_per_1k_tokens: Decimal | None = None
    prices_of: datetime.date | None = None
    base_url: str | None = None
    key_variable: str | None = None
    revision: str | None = None
    device: str | None = "cpu"

    @property
    def is_api(self) -> bool:
        """Whether the model is behind somebody's API."""
        return self.backend in API_BACKENDS

    @property
    def provider(self) -> str:
        """Whose it is: the backend's name where that asks another machine, else `local`."""
        return str(self.backend) if self.is_api or self.backend == "remote" else "local"

    @property
    def price(self) -> Decimal | None:
        """US dollars for 1,000 tokens; None where it is not known."""
        if self.price_per_1k_tokens is None and not self.is_api:
            return Decimal(0)
        return self.price_per_1k_tokens

    def as_dict(self) -> dict[str, Any]:
        """The same for JSON; prices are texts, which lose no digit. No key or password is in it."""
        found = {**asdict(self), "provider": self.provider}
        found["base_url"] = None if self.base_url is None else bare_url(self.base_url)
        found["price_per_1k_tokens"] = None if self.price is None else f"{self.price:f}"
        found["prices_of"] = None if self.prices_of is None else self.prices_of.isoformat()
        return found


#: Key of a row -> the types of its values.
_TYPES: dict[str, tuple[type, ...]] = {
    "model": (str,),
    "backend": (str,),
    "dimension": (int,),
    "batch_size": (int,),
    "max_input_tokens": (int,),
    "price_per_1k_tokens": (Decimal, int),
    "prices_of": (datetime.date,),
    "base_url": (str,),
    "key_variable": (str,),
    "revision": (str,),
    "device": (str,),
}
assert _TYPES.keys() == {f.name for f in fields(ModelRow)} - {"name"}


class ModelTable:
    """The rows by name.

    Args:
        file: The user's, which adds rows and changes values; None is that of
            `EMBEDCACHE_MODELS_FILE`, if it is set.

    Raises:
        SettingsError: The file cannot be read, or a value in it cannot be used.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        source = "models_file" if file is not None else VARIABLE
        path = file if file is not None else os.environ.get(VARIABLE)
        raw = _read(_OWN, "the package")
        if path:
            for name, values in _read(Path(path), source).items():
                raw[name] = {**raw.get(name, {}), **values}
        self._rows = {
            name: ModelRow(name=name, **{"model": name, **values}) for name, values in raw.items()
        }
        for name, row in self._rows.items():
            if not row.is_api and (row.base_url or row.key_variable):
                what = "base_url" if row.base_url else "key_variable"
                raise SettingsError(
                    f"models.{name}.backend",
                    row.backend,
                    f"{source}: {path}",
                    f'{what} is that of an API: write backend = "openai", or leave {what} out',
                )

    def __getitem__(self, name: str) -> ModelRow:
        """The row `name`; also by a full name on the Hub, `sentence-transformers/…`."""
        row = self._rows.get(name) or self._rows.get(name.removeprefix("sentence-transformers/"))
        if row is None:
            raise UnknownModelError(name, tuple(self._rows))
        return row

    def rows(self) -> Mapping[str, ModelRow]:
        """All of them, in the order of the files."""
        return self._rows


def _read(path: Path, source: str) -> dict[str, dict[str, Any]]:
    def refused(what: str, value: object, remedy: str) -> SettingsError:
        return SettingsError(what, value, f"{source}: {path}", remedy)

    try:
        with path.open("rb") as stream:
            found = tomllib.load(stream, parse_float=Decimal)
    except (OSError, ValueError) as error:
        raise refused("the table of models", str(path), str(error)) from error
    models = found.pop("models", {})
    if found or not isinstance(models, dict):
        raise refused("the table of models", sorted(found), "write a table [models.NAME] for each")
    for name, row in models.items():
        if not isinstance(row, dict):
            raise refused(f"models.{name}", row, f"write a table [models.{name}]")
        for key, value in row.items():
            what = f"models.{name}.{key}"
            if key not in _TYPES:
                raise refused(what, value, f"use one of {', '.join(_TYPES)}")
            if not isinstance(value, _TYPES[key]) or isinstance(value, bool):
                kinds = " or ".join(kind.__name__ for kind in _TYPES[key])
                raise refused(what, value, f"give a value of type {kinds}")
            if isinstance(value, int | Decimal) and not (
                Decimal(value).is_finite() and 0 <= value < _MOST
            ):
                raise refused(what, value, "give a number that is not negative")
        if not is_http(url := row.get("base_url", "http://localhost")):
            # Without what may be a password, wherever it stands.
            shown = url.rpartition("@")[2].partition("?")[0]
            remedy = "give an address such as https://api.example.com/v1"
            raise refused(f"models.{name}.base_url", shown, remedy)
        if row.get("batch_size") == 0 or row.get("dimension") == 0:
            raise refused(f"models.{name}", row, "give a batch_size and a dimension above 0")
        if isinstance(row.get("price_per_1k_tokens"), int):
            row["price_per_1k_tokens"] = Decimal(row["price_per_1k_tokens"])
    return models
