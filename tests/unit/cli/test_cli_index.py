"""`embedcache index build|rebuild|search|stats`: texts of a file, found."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.children import python
from support.command import Command
from support.light import LightModel, vector_of
from support.models import tiny_bert

from pytest_embedcache.cli import index as index_command
from pytest_embedcache.cli.entry_files import read_entries
from pytest_embedcache.errors import TextFileError
from pytest_embedcache.search import Entry

ROOT = Path(__file__).parents[3]

Write = Callable[..., Path]
#: Each costs a tenth of a millisecond or more, in every search.
MODULES_OF_A_STORED_QUERY = 100


@pytest.fixture(autouse=True)
def _lazy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The light models stand in the place of torch's."""
    monkeypatch.setenv("EMBEDCACHE_STRATEGY", "lazy")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, *lines)`: a file of these lines."""

    def write(name: str, *lines: str) -> Path:
        path = tmp_path / name
        path.write_bytes("".join(f"{line}\n" for line in lines).encode())
        return path

    return write


def found(shown: dict[str, object]) -> list[str]:
    return [result["id"] for result in shown["results"]]  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------ the commands


def test_what_was_built_is_found(command: Command, write: Write, roles: Path) -> None:
    """Build, search and stats agree on the entries, which were computed once, in their role."""
    texts = write("texts.txt", "a cat sleeps", "", "quarterly revenue")
    ran = command("index", "build", texts)
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.endswith("index: 2 entries, 2 vectors computed\n")
    assert command.computed() == {"a cat sleeps": 1, "quarterly revenue": 1}
    shown = command.json("index", "search", "my cat")
    assert command.computed() == {"my cat": 1}
    assert (shown["by"], shown["notice"]) == ("vectors", None)
    assert sorted(found(shown)) == ["1", "3"]
    asked = vector_of(roles, "my cat", "find: ").astype("float64")
    for result in shown["results"]:
        entry = vector_of(roles, result["text"], "text: ").astype("float64")
        expected = asked @ entry / ((asked @ asked) * (entry @ entry)) ** 0.5
        assert result["score"] == pytest.approx(expected, abs=1e-6)
    ran = command("index", "search", "my cat", "-k", "1")
    assert (ran.status, ran.err, ran.out.count("\n")) == (0, "", 1)
    assert not command.computed(), "the query's vector was stored"
    stats = command.json("index", "stats", "--memory")
    assert (stats["entries"], stats["lacking"], stats["dimension"]) == (2, 0, 16)
    assert stats["memory_bytes"] > 1e6
    assert "2 entries" in command("index", "stats").out


def test_keywords_need_no_model(command: Command, write: Write) -> None:
    """`--keywords` neither loads nor asks for a model; `--hybrid` has both."""
    command("index", "build", write("texts.txt", "a cat sleeps", "a dog"))
    command.log.unlink()
    assert found(command.json("index", "search", "cat", "--keywords")) == ["1"]
    assert not command.log.exists()
    shown = command.json("index", "search", "cat", "--hybrid")
    assert (shown["by"], sorted(found(shown))) == ("both", ["1", "2"])


def test_a_filter_is_a_pair(command: Command, write: Write) -> None:
    """Numbers, strings and `null` are told apart as JSON does; what is no pair is refused."""
    file = write(
        "texts.jsonl",
        '{"id": "a", "text": "a cat", "n": 1, "lang": "en"}',
        '{"id": "b", "text": "a cat", "n": "1", "lang": null}',
    )
    command("index", "build", file)
    for pair, expected in (
        ("n=1", ["a"]),
        ('n="1"', ["b"]),
        ("lang=null", ["b"]),
        ("lang=en", ["a"]),
        ("n=NaN", []),
    ):
        assert found(command.json("index", "search", "x", "--filter", pair)) == expected
    both = ("--filter", "n=1", "--filter", "lang=en")
    assert found(command.json("index", "search", "x", *both)) == ["a"]
    assert command("index", "search", "x", "--filter", "n").status == 2
    ran = command("index", "search", "x", "--filter", "n=1", "--filter", "n=2")
    assert (ran.status, "n is given twice" in ran.err) == (2, True)


def test_a_rebuild_takes_the_model_that_it_is_given(
    command: Command, write: Write, tmp_path: Path, tiny: Path
) -> None:
    """By itself a rebuild and a search use the index's model, whatever the environment says."""
    other = tiny_bert(tmp_path / "other", seed=1)
    command("index", "build", write("texts.txt", "a cat", "a dog"))
    ran = command("index", "search", "x", "--model", other)
    assert "another" in ran.err
    assert "by keyword" not in ran.out
    shown = command.json("index", "rebuild", "--model", other)
    assert (shown["entries"], shown["model"]) == (2, str(other))
    assert command.json("index", "search", "x")["by"] == "vectors"
    shown = command.json("index", "rebuild")
    assert (shown["model"], shown["computed"]) == (str(other), 0)


def test_without_a_model_words_are_found_and_it_is_said(
    command: Command, write: Write, tmp_path: Path
) -> None:
    """The index is built, found by keyword, and stderr says what is missing."""
    nowhere = str(tmp_path / "no-model")
    ran = command("index", "build", write("texts.txt", "a cat", "a dog"), "--model", nowhere)
    assert ran.status == 0
    assert "2 of them have no vector" in ran.out
    ran = command("index", "search", "cat", "--json", "--model", nowhere)
    shown = json.loads(ran.out)
    assert (ran.status, found(shown), shown["by"]) == (0, ["1"], "keywords")
    assert "there is no model" in ran.err
    assert shown["notice"] in ran.err


def test_while_the_model_loads_words_are_shown(
    command: Command, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the keywords find is on stderr until the vectors are there; stdout has these alone."""
    command("index", "build", write("texts.txt", "a cat", "a dog"))
    monkeypatch.setattr(index_command, "_PATIENCE", 0.0)
    go_on = threading.Event()
    encode = LightModel.encode

    def slow(self: LightModel, inputs: object, **options: object) -> object:
        assert go_on.wait(120)
        return encode(self, inputs, **options)

    say = index_command._say_notice

    def said(results: object) -> None:
        say(results)  # type: ignore[arg-type]
        go_on.set()

    monkeypatch.setattr(LightModel, "encode", slow)
    monkeypatch.setattr(index_command, "_say_notice", said)
    ran = command("index", "search", "cat")
    assert ran.status == 0
    assert "loading the model" in ran.err
    assert "a cat" in ran.err
    assert "a dog" not in ran.err
    assert ran.out.count("\n") == 2


def test_a_stored_query_imports_next_to_nothing(command: Command, write: Write) -> None:
    """A fresh process that finds the query's vector imports no library of models, and no lock."""
    command("index", "build", write("texts.txt", "a cat", "a dog"))
    command("index", "search", "cat")
    code = (
        "import sys\n"
        "from pytest_embedcache.cli import main\n"
        "assert main(['index', 'search', 'cat', '--json']) == 0\n"
        "print(*sys.modules)"
    )
    shown, _, modules = python(code).rpartition("\n")
    assert json.loads(shown)["by"] == "vectors"
    unwanted = {"torch", "onnxruntime", "transformers", "sentence_transformers", "tokenizers"}
    unwanted |= {"filelock", "platformdirs", "asyncio", "pytest", "usearch", "apsw", "sqlite_vec"}
    unwanted |= {"huggingface_hub", "socket", "secrets", "importlib.metadata"}
    ours = {name for name in modules.split() if name.startswith("pytest_embedcache.")}
    assert len(ours) <= MODULES_OF_A_STORED_QUERY, sorted(ours)
    unwanted |= {"pytest_embedcache.cli.explain", "pytest_embedcache.cli.doctor"}
    assert unwanted.isdisjoint(modules.split())


def test_there_may_be_no_index(command: Command, write: Write, tmp_path: Path) -> None:
    """Search, rebuild and stats name the command that makes one; `--index` is another place."""
    for verb in (("search", "x"), ("rebuild",), ("stats",)):
        ran = command("index", *verb)
        assert (ran.status, ran.out) == (1, "")
        assert "embedcache index build FILE" in ran.err
    own = tmp_path / "own"
    assert command("index", "build", write("t.txt", "a cat"), "--index", own).status == 0
    assert (own / "current.json").exists()
    assert command("index", "stats").status == 1
    assert command.json("index", "stats", "--index", own)["path"] == str(own)


def test_a_damaged_index_is_an_error_with_its_remedy(
    command: Command, write: Write, tmp_path: Path
) -> None:
    """The command that mends it is named, and does."""
    own, texts = tmp_path / "own", write("t.txt", "a cat")
    command("index", "build", texts, "--index", own)
    (own / "current.json").write_text("{")
    ran = command("index", "search", "cat", "--index", own)
    assert (ran.status, ran.out) == (1, "")
    assert "index build FILE" in ran.err
    assert command("index", "build", texts, "--index", own).status == 0
    assert found(command.json("index", "search", "cat", "--index", own)) == ["1"]


def test_every_option_stands_on_the_page(command: Command) -> None:
    """Of each of the four commands, as of the others."""
    page = (ROOT / "docs" / "command-line.md").read_text(encoding="utf-8")
    section = page.partition("## `embedcache index`")[2].partition("## `embedcache recordings`")[0]
    for verb in ("build", "rebuild", "search", "stats"):
        assert f"`{verb}" in section
        for option in re.findall(
            r"(?<![\w-])--?[a-z][a-z-]*", command("index", verb, "--help").out
        ):
            assert f"`{option}" in section or option in ("-h", "--help", "--dir"), (verb, option)


# ------------------------------------------------------------------------------ files


def test_a_line_is_a_text(write: Write) -> None:
    """Plain lines have their number for an id; blank ones are passed over."""
    entries = list(read_entries(str(write("t.txt", "one", "  ", ' {"text": "x"}'))))
    assert entries == [Entry("1", "one", {}), Entry("3", ' {"text": "x"}', {})]


def test_a_line_of_jsonl_is_an_entry(write: Write) -> None:
    """Strings, and objects with an id and metadata, inside `metadata` or beside it."""
    file = write(
        "t.jsonl",
        '"one"',
        '{"text": "two", "id": 7, "page": 3, "metadata": {"lang": "en"}}',
        '{"text": "three"}',
    )
    assert list(read_entries(str(file))) == [
        Entry("1", "one", {}),
        Entry("7", "two", {"page": 3, "lang": "en"}),
        Entry("3", "three", {}),
    ]


def test_a_row_of_csv_is_an_entry(write: Write) -> None:
    """Columns besides `text` and `id` are metadata; quoted line breaks belong to a text."""
    file = write("t.csv", "id,text,lang", 'a,"one, and', 'more",en', ",two,de")
    assert list(read_entries(str(file))) == [
        Entry("a", "one, and\nmore", {"lang": "en"}),
        Entry("4", "two", {"lang": "de"}),
    ]
    assert list(read_entries(str(write("t.tsv", "text\tn", "one\t1")))) == [
        Entry("2", "one", {"n": "1"})
    ]


@pytest.mark.parametrize(
    ("name", "lines", "reason"),
    [
        ("t.jsonl", ["{"], "line 1: this is not JSON"),
        ("t.jsonl", ['"one"', '{"id": "a"}'], "line 2: this is neither"),
        ("t.jsonl", ['{"text": "x", "id": [1]}'], "line 1: the id is"),
        ("t.jsonl", ['{"text": "x", "metadata": 1}'], "line 1: the metadata"),
        ("t.csv", ["id,name", "a,b"], "no column named 'text'"),
        ("t.csv", ["text,n", "a,b,c"], "line 2: it has another number"),
        ("t.csv", ["text,n", "a"], "line 2: it has another number"),
        ("nowhere.txt", None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    write: Write, tmp_path: Path, name: str, lines: list[str] | None, reason: str
) -> None:
    """The error has the file, the line, and what is wrong with it."""
    file = tmp_path / name if lines is None else write(name, *lines)
    with pytest.raises(TextFileError, match=reason) as caught:
        list(read_entries(str(file)))
    assert caught.value.file == str(file)
