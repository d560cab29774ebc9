"""The table of models: what is in it, how a user's file extends it, and what is refused."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path

import pytest

from pytest_embedcache.errors import SettingsError, UnknownModelError
from pytest_embedcache.models.remote import DIMENSIONS
from pytest_embedcache.service.embedder import EmbedderService
from pytest_embedcache.service.model_table import ModelTable


def written(directory: Path, text: str) -> Path:
    file = directory / "models.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("name", "provider", "dimension", "batch", "price"),
    [
        ("text-embedding-3-small", "openai", 1536, 100, "0.00002"),
        ("text-embedding-3-large", "openai", 3072, 100, "0.00013"),
        ("text-embedding-ada-002", "openai", 1536, 100, "0.0001"),
        ("all-MiniLM-L6-v2", "local", 384, 32, "0"),
        ("all-mpnet-base-v2", "local", 768, 32, "0"),
    ],
)
def test_what_is_in_it(name: str, provider: str, dimension: int, batch: int, price: str) -> None:
    """Five models, to the digit; a price has its day, a text its longest."""
    row = ModelTable()[name]
    assert (row.provider, row.dimension, row.batch_size) == (provider, dimension, batch)
    assert row.price == Decimal(price)
    assert row.max_input_tokens is not None
    assert isinstance(row.prices_of, datetime.date) == row.is_api
    assert DIMENSIONS.get(name, dimension) == dimension


def test_a_file_of_ones_own_adds_rows_and_changes_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given, or named by the environment; what it does not say stays."""
    file = written(
        tmp_path,
        '[models.mine]\nbackend = "openai"\nmodel = "bge-m3"\nbase_url = "http://gpu:8080/v1"\n'
        "[models.text-embedding-3-small]\nprice_per_1k_tokens = 0.1\n",
    )
    monkeypatch.setenv("EMBEDCACHE_MODELS_FILE", str(file))
    for table in (ModelTable(file), ModelTable()):
        assert (table["mine"].model, table["mine"].price) == ("bge-m3", None)
        assert table["text-embedding-3-small"].price == Decimal("0.1")
        assert table["text-embedding-3-small"].batch_size == 100
        assert len(table.rows()) == 6


def test_a_full_name_is_the_same_model() -> None:
    """As everywhere; and what is not in the table is an error that lists what is."""
    table = ModelTable()
    assert table["sentence-transformers/all-MiniLM-L6-v2"] is table["all-MiniLM-L6-v2"]
    with pytest.raises(UnknownModelError) as caught:
        table["nobody/has-it"]
    assert set(caught.value.known) == set(table.rows())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[models.a]\ncolour = 1\n", "colour"),
        ("[models.a]\nbatch_size = 0\n", "batch_size"),
        ('[models.a]\nbatch_size = "8"\n', "batch_size"),
        ("[models.a]\ndimension = true\n", "dimension"),
        ("[models.a]\nprice_per_1k_tokens = -1\n", "price_per_1k_tokens"),
        ("[models.a]\nprice_per_1k_tokens = nan\n", "price_per_1k_tokens"),
        ("[model.a]\n", "model"),
        ("models = 3\n", "models"),
        ("models.a = 3\n", "models.a"),
        ("[models.a\n", "models.toml"),
    ],
)
def test_what_cannot_be_used_is_one_error_that_names_it(
    text: str, told: str, tmp_path: Path
) -> None:
    """With the file."""
    with pytest.raises(SettingsError, match=told) as caught:
        ModelTable(written(tmp_path, text))
    assert "models.toml" in str(caught.value)


@pytest.mark.parametrize("line", ['base_url = "http://gpu:8080/v1"', 'key_variable = "A_KEY"'])
def test_what_is_of_an_api_is_refused_of_another_backend(line: str, tmp_path: Path) -> None:
    """The model would be looked for on the Hub, under a name that its server gave it."""
    (tmp_path / "models.toml").write_text(f"[models.mine]\n{line}\n")
    with pytest.raises(SettingsError, match=r'models\.mine\.backend.*write backend = "openai"'):
        ModelTable(tmp_path / "models.toml")


@pytest.mark.parametrize(
    "url",
    [
        *("", "api.example.org/v1", "api.example.org:8080", "/v1", "https://", "http:///v1"),
        *("ftp://api.example.org", "https://api.example.org:x/v1", "https://[::1/v1"),
        *("https://api.example .org", "https://me:s3cret@/v1?k=s3cret", "me:s3cret@host"),
    ],
)
def test_a_base_url_is_an_address_of_http(url: str, tmp_path: Path) -> None:
    """What is none is an error that names row and value, without what may be a password in it."""
    text = f'[models.mine]\nbackend = "openai"\nbase_url = "{url}"\n'
    with pytest.raises(SettingsError, match=r"models\.mine\.base_url") as caught:
        ModelTable(written(tmp_path, text))
    assert "s3cret" not in str(caught.value)
    assert url.rpartition("@")[2].partition("?")[0] in str(caught.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Not a table without its rows."""
    with pytest.raises(SettingsError, match=r"gone\.toml"):
        ModelTable(tmp_path / "gone.toml")


def test_it_is_told_in_builtin_types(tmp_path: Path) -> None:
    """For JSON; prices as texts, with every digit and no exponent."""
    found = EmbedderService("all-MiniLM-L6-v2").get_available_models()
    small = found["text-embedding-3-small"]
    assert (small["price_per_1k_tokens"], small["prices_of"]) == ("0.00002", "2024-01-25")
    assert found["all-MiniLM-L6-v2"]["price_per_1k_tokens"] == "0"
    assert {type(value) for row in found.values() for value in row.values()} <= {
        *(str, int, type(None)),
    }


def test_what_is_told_of_a_model_has_no_password(tmp_path: Path) -> None:
    """The list of models goes out over HTTP; a URL may hold credentials."""
    url = "https://me:s3cret@api.example.org/v1?k=s3cret"
    text = f'[models.x]\nbackend = "openai"\nbase_url = "{url}"\n'
    told = ModelTable(written(tmp_path, text))["x"].as_dict()
    assert told["base_url"] == "https://api.example.org/v1"
    assert "s3cret" not in str(told)
