"""`embedcache stats|warm|verify|prune|clear`: the vectors of this machine."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.children import python_path
from support.command import Command
from support.light import vector_of
from support.models import COMMIT, MINILM, add_to_hub_cache, tiny_bert
from support.redis_server import RedisServer

from pytest_embedcache import ModelSpec
from pytest_embedcache.cli.texts import read_texts
from pytest_embedcache.errors import TextFileError
from pytest_embedcache.vectors.redis import RedisStore

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(name, *lines)`: a file of these lines, each a string or some JSON."""

    def write(name: str, *lines: object) -> Path:
        path = tmp_path / name
        dump = json.dumps if path.suffix == ".jsonl" else str
        path.write_bytes("".join(f"{dump(line)}\n" for line in lines).encode())
        return path

    return write


def database(cache_dir: Path) -> Path:
    return cache_dir / "v1" / "vectors.sqlite3"


# ------------------------------------------------------------------------------ warm


def test_what_was_warmed_is_found(command: Command, write: Write, tiny: Path) -> None:
    """The vectors are the model's; a second time nothing is computed, and the model not loaded."""
    texts = write("texts.txt", "a cat", "a kitten", "a cat")
    ran = command("warm", texts)
    assert ran == (0, "3 texts: 0 were stored, 2 computed, 1 repeated\n", "")
    assert command.computed() == {"a cat": 1, "a kitten": 1}
    ran = command("warm", texts, write("more.txt", "a dog"))
    assert ran.out == "4 texts: 2 were stored, 1 computed, 1 repeated\n"
    assert command.computed() == {"a dog": 1}
    ran = command("warm", texts, "--quiet")
    assert (ran.out, command.log.exists()) == (
        "3 texts: 2 were stored, 0 computed, 1 repeated\n",
        False,
    )
    store = command.store()
    (use,) = store.models()
    found = store.get_many(use.fingerprint, list(keys_of(tiny, "a cat", "a dog")))
    assert {vector.tobytes() for vector in found.values()} == {
        vector_of(tiny, text).tobytes() for text in ("a cat", "a dog")
    }
    store.close()


def keys_of(model: Path, *texts: str, **options: str) -> dict[bytes, str]:
    from pytest_embedcache import ModelRegistry
    from pytest_embedcache.vectors.cache import VectorCache
    from pytest_embedcache.vectors.cached_model import CachedModel

    made = CachedModel(ModelRegistry(), ModelSpec(str(model), device="cpu"), VectorCache(None))
    return dict(zip(made.keys(texts, **options), texts, strict=True))


def test_queries_and_documents_are_stored_apart(
    command: Command, write: Write, roles: Path
) -> None:
    """By the line's own role, else by the option's, else by none."""
    lines = write("texts.jsonl", "a", {"text": "a", "role": "query"}, {"text": "a", "role": None})
    assert command("warm", lines).out == "3 texts: 0 were stored, 2 computed, 1 repeated\n"
    assert command("warm", lines, "--role", "document").out == (
        "3 texts: 1 were stored, 1 computed, 1 repeated\n"
    )
    store = command.store()
    for role, prompt in ((None, ""), ("query", "find: "), ("document", "text: ")):
        (key,) = keys_of(roles, "a", **({"role": role} if role else {}))
        found = store.get_many(store.models()[0].fingerprint, [key])
        assert found[key].tobytes() == vector_of(roles, "a", prompt).tobytes()
    assert store.stats().entries == 3
    store.close()


def test_texts_come_from_standard_input_too(command: Command, write: Write) -> None:
    """Lines, or JSONL where that is said."""
    ran = command("warm", "-", stdin="a cat\r\nun café\n\n last".encode())
    assert ran.out == "4 texts: 0 were stored, 4 computed\n"
    assert command.computed() == {"a cat": 1, "un café": 1, "": 1, " last": 1}
    ran = command("warm", "--jsonl", "-", write("texts.txt"), stdin=b'"a cat"\n{"text": "new"}\n')
    assert ran.out == "2 texts: 1 were stored, 1 computed\n"


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("a.txt", b"", []),
        ("a.txt", b"\n", [""]),
        ("a.txt", b"one\r\ntwo\r\n", ["one", "two"]),
        ("a.txt", b"one\n two \nthree", ["one", " two ", "three"]),
        ("a.txt", b"\xef\xbb\xbfone\n", ["one"]),
        (
            "a.txt",
            "\u2028 is no line end\x0c, nor\rthis\n".encode(),
            ["\u2028 is no line end\x0c, nor\rthis"],
        ),
        ("a.jsonl", b'"one"\r\n\r\n{"text": "tw\\no", "n": 1}\n', ["one", "tw\no"]),
        ("a.jsonl", b'\xef\xbb\xbf"one"', ["one"]),
        ("a.ndjson", b'"\\ud83d\\ude00"', ["\N{GRINNING FACE}"]),
    ],
)
def test_a_line_is_a_text_as_it_stands(
    tmp_path: Path, name: str, content: bytes, read: list[str]
) -> None:
    """But for its end, and a byte order mark before the first."""
    (tmp_path / name).write_bytes(content)
    assert [text for _, text in read_texts([str(tmp_path / name)])] == read


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"not JSON", "not JSON"),
        (b"7", "neither a string nor"),
        (b'["a"]', "neither a string nor"),
        (b"null", "neither a string nor"),
        (b'{"txt": "a"}', "neither a string nor"),
        (b'{"text": 7}', "neither a string nor"),
        (b'{"text": "a", "role": "judge"}', "'judge'"),
        (b'{"text": "a", "role": ["query"]}', "query"),
        (b'"\\ud83d"', "surrogate"),
        (b'"\xff"', "not UTF-8"),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_one_bad_line_is_named_and_nothing_is_computed(
    command: Command, tmp_path: Path, cache_dir: Path, line: bytes, reason: str
) -> None:
    """By its file and number; the good ones before it wait."""
    file = tmp_path / "texts.jsonl"
    file.write_bytes(b'"good"\n"good too"\n' + line + b'\n"good again"\n')
    for name in ("warm", "verify"):
        ran = command(name, *(["--texts"] if name == "verify" else []), file)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith(f"embedcache: {file}, line 3: ")
        assert reason in ran.err
    assert command.computed().total() == 0
    assert not cache_dir.exists()
    with pytest.raises(TextFileError) as caught:
        list(read_texts([str(file)]))
    assert (caught.value.file, caught.value.line) == (str(file), 3)


def test_a_file_that_cannot_be_read_is_named(command: Command, tmp_path: Path) -> None:
    """One that there is not, a directory, and a text that is no UTF-8."""
    (tmp_path / "latin").write_bytes(b"one\nun caf\xe9\n")
    for name, where in (("nowhere", ""), (".", ""), ("latin", ", line 2")):
        ran = command("warm", tmp_path / name)
        assert (ran.status, ran.out) == (1, "")
        assert ran.err.startswith(f"embedcache: {tmp_path / name}{where}: ")


def test_a_model_that_there_is_not_is_an_error(command: Command, write: Write) -> None:
    """Before anything is done."""
    ran = command("warm", write("texts.txt", "a"), "--model", "org/nobody")
    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("embedcache: model 'org/nobody'")


def test_model_device_and_revision_are_those_that_are_asked_for(
    command: Command,
    write: Write,
    hub_cache: Path,
    tiny: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By option, or by the environment; `auto` is the best device there is."""
    texts = write("texts.txt", "a")
    add_to_hub_cache(hub_cache, "org/light", tiny)
    add_to_hub_cache(hub_cache, "org/light", tiny_bert(tmp_path / "b", seed=1), commit="d" * 40)
    for options in ([], ["--revision", COMMIT, "--device", "auto"], ["--dtype", "bfloat16"]):
        ran = command("warm", texts, "--model", "org/light", *options)
        assert ran.out == "1 texts: 0 were stored, 1 computed\n"
    monkeypatch.setenv("EMBEDCACHE_MODEL", "org/light")
    monkeypatch.setenv("EMBEDCACHE_DEVICE", "auto")
    assert command("warm", texts).out == "1 texts: 1 were stored, 0 computed\n"
    assert len({model["fingerprint"] for model in command.json("stats")["models"]}) == 3


def test_a_warming_that_is_killed_is_taken_up_where_it_was(
    cache_dir: Path, write: Write, command: Command, tiny: Path
) -> None:
    """SIGKILL in the middle: what was stored until then is there, and only the rest is computed."""
    code = """if True:
        import os, signal, sys
        from support import light; light.install()
        from pytest_embedcache.cli import main, warm
        warm._CHUNK = 10
        encode, left = light.LightModel.encode, [int(sys.argv[1])]
        def encode_or_die(self, texts, **options):
            left[0] -= len(texts)
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return encode(self, texts, **options)
        light.LightModel.encode = encode_or_die
        raise SystemExit(main(["warm", sys.argv[2]]))
    """
    if not hasattr(signal, "SIGKILL"):
        pytest.skip("there is no SIGKILL here")
    texts = write("texts.txt", *(f"text {number}" for number in range(50)))
    environment = {**os.environ, "PYTHONPATH": python_path("tests")}
    arguments = [sys.executable, "-W", "error", "-c", code, "35", str(texts)]
    killed = subprocess.run(arguments, env=environment, capture_output=True, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"")
    assert command.computed().total() == 30
    ran = command("warm", texts)
    assert ran.out == "50 texts: 30 were stored, 20 computed\n"
    assert command.computed() == {f"text {number}": 1 for number in range(30, 50)}
    assert command("verify").status == 0


def test_warming_shows_its_progress_to_a_person(
    command: Command, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal: from nothing to all; with --quiet, and in a log, there is none."""
    monkeypatch.setattr("pytest_embedcache.cli.warm._CHUNK", 2)
    texts = write("texts.txt", "a", "b", "c", "d", "e")
    assert command("warm", texts).err == ""
    monkeypatch.setattr("pytest_embedcache.cli.warm.sys.stderr.isatty", lambda: True, raising=False)
    shown = command("warm", texts).err
    assert [part.rpartition(" ")[2] for part in shown.split("\r")[1:]] == [
        "0/5",
        "2/5",
        "4/5",
        "5/5\n",
    ]
    assert command("warm", texts, "--quiet").err == ""


def test_what_could_not_be_stored_is_an_error(
    command: Command, write: Write, tmp_path: Path
) -> None:
    """A directory that cannot be made; a model whose vectors no store holds."""
    (tmp_path / "file").write_text("")
    texts = write("texts.txt", "a", "b")
    ran = command("warm", texts, "--dir", tmp_path / "file")
    assert (ran.status, ran.out) == (1, "2 texts: 0 were stored, 2 computed\n")
    assert "not everything could be kept in the store sqlite" in ran.err
    assert "Traceback" not in ran.err
    ran = command("warm", texts, "--dtype", "float64")
    assert (ran.status, ran.out) == (1, "2 texts: 0 were stored, 0 computed\n")
    assert "2 vectors are of a kind that no store holds" in ran.err


# ------------------------------------------------------------------------------ stats


def test_stats_of_an_empty_store(command: Command, cache_dir: Path) -> None:
    """All the keys are there."""
    assert command.json("stats") == {
        "path": str(database(cache_dir)),
        "entries": 0,
        "bytes": 0,
        "file_bytes": 0,
        "models": [],
        "redis": None,
    }
    assert command("stats").out == f"{database(cache_dir)}: 0 vectors, 0 B\n"


def test_stats_say_what_is_stored_and_what_it_was_good_for(
    command: Command, write: Write, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By model, the largest first; the hit rate is that of warming and of runs together."""
    other = tiny_bert(tmp_path / "other", seed=1)
    for texts in (["a", "b", "c", "c"], ["b", "c", "d"]):
        command("warm", write("texts.txt", *texts))
    command("warm", write("texts.txt", "a"), "--model", other)
    monkeypatch.setenv("EMBEDCACHE_CACHE_TTL", "86400")
    found = command.json("stats", "--memory")
    assert found["entries"] == 5
    assert 0 < found["bytes"] <= found["file_bytes"]
    assert (found["journal_mode"], found["read_only"], found["moved_aside"]) == ("wal", False, 0)
    assert found["cache_ttl_days"] == 1
    assert found["redis"] is None
    assert found["memory_bytes"] is None or found["memory_bytes"] > 10_000_000
    one, two = found["models"]
    assert one == {
        "model": str(tiny),
        "fingerprint": ModelSpec(str(tiny)).fingerprint(),
        "entries": 4,
        "bytes": 4 * (16 + 4 * 16),
        "asked": 7,
        "found": {"sqlite": 2},
        "computed": 4,
        "hit_rate": 2 / 6,
    }
    assert (two["model"], two["entries"], two["hit_rate"]) == (str(other), 1, 0.0)
    ran = command("stats", "--memory")
    assert f"  {tiny}: 4 vectors, 320 B, 33.3% found\n" in ran.out
    assert "memory of this process: " in ran.out


def test_stats_show_the_redis_of_the_environment(
    command: Command, write: Write, redis: RedisServer
) -> None:
    """Its entries, what the server uses, how long a vector stays; and that it is away, if it is."""
    assert command("warm", write("texts.txt", "a", "b")).status == 0
    found = command.json("stats")["redis"]
    assert (found["entries"], found["bytes"], found["counted_all"]) == (2, 2 * 80, True)
    assert found["cache_ttl_days"] == 7
    assert found["redis_memory_used"] > 10_000
    assert found["location"] == f"127.0.0.1:{redis.port}/0"
    line = f"Redis at 127.0.0.1:{redis.port}/0: 2 vectors, 160 B, kept for 7 days; the server uses"
    assert line in command("stats").out
    redis.kill()
    away = command("stats")
    assert away.status == 0
    assert f"Redis at 127.0.0.1:{redis.port}/0 is away: " in away.out
    assert "2 vectors" in away.out.splitlines()[0]
    assert "error" in command.json("stats")["redis"]
    ran = command("warm", write("texts.txt", "c"))
    assert (ran.status, ran.out) == (1, "1 texts: 0 were stored, 1 computed\n")
    assert "the store redis" in ran.err
    assert "hunter2" not in away.out + away.err + ran.err


def test_a_password_may_stand_beside_the_url(
    command: Command, write: Write, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In `REDIS_PASSWORD`: a URL without one can be in a repository. One in the URL wins."""
    texts = write("texts.txt", "a")
    monkeypatch.setenv("REDIS_PASSWORD", "another")
    assert command("warm", texts).status == 0
    monkeypatch.setenv("EMBEDCACHE_REDIS_URL", f"redis://127.0.0.1:{redis.port}/0")
    assert "error" in command.json("stats")["redis"]
    monkeypatch.setenv("REDIS_PASSWORD", "hunter2")
    assert command.json("stats")["redis"]["entries"] == 1


# ------------------------------------------------------------------------------ verify


def flip(cache_dir: Path, *, rows: int) -> None:
    """Change one bit of the value in so many rows."""
    with closing(sqlite3.connect(database(cache_dir))) as connection, connection:
        for number, value in connection.execute(
            "SELECT id, value FROM vectors ORDER BY id LIMIT ?", (rows,)
        ).fetchall():
            flipped = value[:20] + bytes([value[20] ^ 0x10]) + value[21:]
            connection.execute("UPDATE vectors SET value = ? WHERE id = ?", (flipped, number))


def test_verify_finds_flipped_bits_and_repair_removes_them(
    command: Command, write: Write, cache_dir: Path
) -> None:
    """The sound ones stay; what was removed is computed again, and then all is well."""
    texts = write("texts.txt", *(f"text {number}" for number in range(20)))
    command("warm", texts)
    assert command("verify") == (0, "20 vectors checked, 0 damaged\n", "")
    flip(cache_dir, rows=3)
    left = "20 vectors checked, 3 damaged (left in place; --repair removes them)\n"
    assert command("verify") == (1, left, "")
    assert command("verify") == (1, left, "")
    assert command("verify", "--repair") == (0, "20 vectors checked, 3 damaged (3 removed)\n", "")
    assert command("verify") == (0, "17 vectors checked, 0 damaged\n", "")
    command.computed()
    assert command("warm", texts).out == "20 texts: 17 were stored, 3 computed\n"
    assert command("verify").status == 0


def test_a_database_that_is_damaged_itself_is_begun_anew_and_said(
    command: Command, write: Write, cache_dir: Path
) -> None:
    """Once: it was moved aside. The other commands go on with an empty store."""
    command("warm", write("texts.txt", "a"))
    for name in ("verify", "stats", "prune", "clear"):
        database(cache_dir).write_bytes(b"garbage" * 3000)
        ran = command(name)
        assert ran.status == (name == "verify")
        assert ("the database itself was damaged" in ran.out) == (name == "verify")
        assert "Traceback" not in ran.err
        assert command("verify") == (0, "0 vectors checked, 0 damaged\n", "")
    (aside,) = database(cache_dir).parent.glob("*.corrupt-*")
    assert aside.read_bytes().startswith(b"garbage")


def test_a_store_of_another_version_is_left_alone(
    command: Command, write: Write, cache_dir: Path
) -> None:
    """Each command says so, and ends with status 1."""
    texts = write("texts.txt", "a")
    command("warm", texts)
    with closing(sqlite3.connect(database(cache_dir))) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = database(cache_dir).read_bytes()
    for name in ("stats", "verify", "prune", "clear"):
        ran = command(name)
        assert (ran.status, ran.out) == (1, "")
        assert "version 99" in ran.err
    assert command("warm", texts).status == 1
    assert database(cache_dir).read_bytes() == before


def drift(command: Command, model: Path, by: float, *texts: str, **options: str) -> None:
    """Store vectors that are a little different from those that the model gives."""
    keys = keys_of(model, *texts, **options)
    store = command.store()
    (fingerprint,) = {use.fingerprint for use in store.models()}
    found = store.get_many(fingerprint, list(keys))
    store.delete_many(fingerprint, list(keys))
    store.put_many(
        fingerprint, {key: vector + np.float32(by) * vector.max() for key, vector in found.items()}
    )
    store.close()


def test_verify_notices_vectors_that_drifted_from_the_model(
    command: Command, write: Write, roles: Path
) -> None:
    """In every role; what differs by less than machines do is no drift."""
    texts = write("texts.jsonl", "a", "b", {"text": "b", "role": "query"}, "never stored")
    command("warm", write("stored.jsonl", "a", "b", {"text": "b", "role": "query"}))
    ran = command("verify", "--texts", texts)
    assert ran.status == 0
    assert "3 of 3 stored texts computed anew: 0 drifted; largest difference 0.0e+00" in ran.out
    assert "smallest cosine 1.000000" in ran.out
    drift(command, roles, 1e-6, "a")
    assert command("verify", "--texts", texts).status == 0
    drift(command, roles, 1e-3, "b", role="query")
    ran = command("verify", "--texts", texts)
    assert ran.status == 1
    assert "3 of 3 stored texts computed anew: 1 drifted; largest difference 1.0e-03" in ran.out
    assert "3 vectors checked, 0 damaged\n" in ran.out, "as bytes they are sound"


def test_verify_computes_a_sample_of_what_is_stored(command: Command, write: Write) -> None:
    """As many as are asked for; texts that are not stored are not computed."""
    stored = write("stored.txt", *(f"text {number}" for number in range(30)))
    command("warm", stored)
    command.computed()
    ran = command("verify", "--texts", stored, write("other.txt", "x", "y"), "--sample", "7")
    assert (ran.status, "7 of 30 stored texts" in ran.out) == (0, True)
    counted = command.computed()
    assert (len(counted), counted.total()) == (7, 7)
    assert "x" not in counted
    ran = command("verify", "--texts", write("other.txt", "x", "y"))
    assert (ran.status, command.computed().total()) == (0, 0)
    assert "none of the 2 texts is stored: nothing to compare" in ran.out


def test_a_vector_of_another_dimension_has_drifted(
    command: Command, write: Write, tiny: Path
) -> None:
    """It is no reason to fail over it."""
    texts = write("texts.txt", "a", "b")
    command("warm", texts)
    (key,) = keys_of(tiny, "a")
    store = command.store()
    (use,) = store.models()
    store.delete_many(use.fingerprint, [key])
    store.put_many(use.fingerprint, {key: np.ones(3, dtype=np.float32)})
    store.close()
    ran = command("verify", "--texts", texts)
    assert (ran.status, "1 drifted" in ran.out) == (1, True)


# ------------------------------------------------------------------------------ prune, clear


def age(cache_dir: Path, days: float, *, rows: int) -> None:
    """Let so many rows be so old."""
    with closing(sqlite3.connect(database(cache_dir))) as connection, connection:
        connection.execute(
            "UPDATE vectors SET stored = stored - ? WHERE id IN"
            " (SELECT id FROM vectors ORDER BY id LIMIT ?)",
            (days * 86400, rows),
        )


def test_prune_removes_what_is_old(
    command: Command, write: Write, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the time to live of the environment, and beyond a number of days."""
    command("warm", write("texts.txt", *"abcdef"))
    age(cache_dir, 10, rows=3)
    age(cache_dir, 10, rows=1)
    assert command("prune").out.startswith("removed 0 vectors, freed ")
    assert command("prune", "--older-than", "15").out.startswith("removed 1 vectors, ")
    monkeypatch.setenv("EMBEDCACHE_CACHE_TTL", str(5 * 86400))
    assert command("prune", "--older-than", "100").out.startswith("removed 2 vectors, ")
    monkeypatch.delenv("EMBEDCACHE_CACHE_TTL")
    assert command("prune", "--older-than", "0.5").out.startswith("removed 0 vectors, ")
    assert command.json("stats")["entries"] == 3
    assert command("prune", "--older-than", "0").out.startswith("removed 3 vectors, ")


def test_prune_removes_what_is_above_the_bound_and_shrinks_the_file(
    command: Command, write: Write, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the environment, or a given one; not more than it has to."""
    command("warm", write("texts.txt", *(f"text {number}" for number in range(3000))))
    before = command.json("stats")
    monkeypatch.setenv("EMBEDCACHE_CACHE_MAX_SIZE", str(before["bytes"]))
    assert command("prune").out.startswith("removed 0 vectors")
    monkeypatch.setenv("EMBEDCACHE_CACHE_MAX_SIZE", str(before["bytes"] * 3 // 4))
    assert not command("prune").out.startswith("removed 0 vectors")
    middle = command.json("stats")
    assert middle["bytes"] <= before["bytes"] * 3 // 4
    assert middle["entries"] > 1000
    assert middle["file_bytes"] < before["file_bytes"]
    command("prune", "--max-size", str(before["bytes"] // 4))
    assert 0 < command.json("stats")["entries"] < middle["entries"]
    assert command("verify").status == 0


@pytest.fixture
def filled(command: Command, write: Write, hub_cache: Path, tmp_path: Path) -> dict[str, list[str]]:
    """A store of several models; their names, and the fingerprints under each."""
    models = {
        "sentence-transformers/light": [COMMIT],
        "org/light": [COMMIT, "d" * 40],
        "org/other": [COMMIT],
    }
    texts = write("texts.txt", "a", "b")
    found: dict[str, list[str]] = {}
    for number, (name, commits) in enumerate(models.items()):
        for step, commit in enumerate(commits):
            made = tiny_bert(tmp_path / f"{number}-{step}", seed=10 * number + step)
            add_to_hub_cache(hub_cache, name, made, commit=commit)
            command("warm", texts, "--model", name)
            found.setdefault(name, []).append(ModelSpec(name).fingerprint())
    assert command.json("stats")["entries"] == 8
    return found


@pytest.mark.parametrize(
    ("name", "cleared"),
    [
        ("org/light", "org/light"),
        ("light", "sentence-transformers/light"),
        ("sentence-transformers/light", "sentence-transformers/light"),
        ("other", "org/other"),
    ],
)
def test_clear_removes_all_revisions_of_a_model_and_nothing_else(
    command: Command, filled: dict[str, list[str]], name: str, cleared: str
) -> None:
    """By full name, or by a short one, which means what it means on the Hub."""
    gone = filled.pop(cleared)
    assert command("clear", name).out == f"removed {2 * len(gone)} vectors\n"
    again = command("clear", name)
    if name == "other":  # which means one on the Hub that was never here
        assert (again.status, again.out) == (1, "")
    else:
        assert again == (0, "removed 0 vectors\n", "")
    left = {model["fingerprint"] for model in command.json("stats")["models"]}
    assert left == {fingerprint for others in filled.values() for fingerprint in others}


def test_clear_takes_the_first_digits_of_a_fingerprint(
    command: Command, filled: dict[str, list[str]]
) -> None:
    """Eight, or more; of one of two revisions, only that one goes."""
    old, new = filled["org/light"]
    assert command("clear", old[:8].upper()).out == "removed 2 vectors\n"
    assert command("clear", new).out == "removed 2 vectors\n"
    short = filled["org/other"][0][:7]
    assert command("clear", short).status == 1
    assert command("clear").out == "removed 4 vectors\n"
    assert command.json("stats")["entries"] == 0


def test_a_directory_is_cleared_by_its_path_however_it_is_written(
    command: Command, write: Write, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And by its last part; also when it is gone, or was changed since."""
    texts = write("texts.txt", "a", "b")
    monkeypatch.chdir(tiny.parent)
    for name in (str(tiny), "./tiny-bert", "tiny-bert"):
        command("warm", texts)
        assert command("clear", name).out == "removed 2 vectors\n"
    command("warm", texts)
    tiny.rename(tiny.parent / "elsewhere")
    assert command("clear", str(tiny)).out == "removed 2 vectors\n"


def test_a_name_that_means_two_models_or_none_removes_nothing(
    command: Command, filled: dict[str, list[str]], write: Write, tmp_path: Path
) -> None:
    """The error lists what could be meant, or what there is."""
    for parent in ("one", "two"):
        made = tiny_bert(tmp_path / parent / "twin", seed=77 + (parent == "one"))
        command("warm", write("texts.txt", "a"), "--model", made)
    ran = command("clear", "twin")
    assert (ran.status, ran.out) == (1, "")
    assert all(str(tmp_path / parent / "twin") in ran.err for parent in ("one", "two"))
    ran = command("clear", "nobody")
    assert (ran.status, ran.out) == (1, "")
    assert all(name in ran.err for name in filled)
    assert command("clear", "").status == 1
    assert command.json("stats")["entries"] == 10


def test_clear_leaves_the_shared_redis_alone_unless_it_is_told(
    command: Command, write: Write, redis: RedisServer, tiny: Path, tmp_path: Path
) -> None:
    """And says so; then a model's vectors go for all machines, and others' stay."""
    other = tiny_bert(tmp_path / "other", seed=1)
    texts = write("texts.txt", "a", "b")
    command("warm", texts)
    command("warm", texts, "--model", other)
    ran = command("clear", str(tiny))
    kept = f"Redis at 127.0.0.1:{redis.port}/0 keeps its own; with --redis they go for all machines"
    assert ran.out == f"removed 2 vectors\n{kept}\n"
    assert command("warm", texts).out == "2 texts: 2 were stored, 0 computed\n"
    ran = command("clear", "--redis", str(tiny))
    assert ran.out == "removed 2 vectors\nremoved 2 vectors from Redis\n"
    assert command("warm", texts).out == "2 texts: 0 were stored, 2 computed\n"
    assert command.json("stats")["redis"]["entries"] == 4
    # On a machine that has nothing itself.
    ran = command("clear", "--redis", "--dir", tmp_path / "another")
    assert ran.out == "nothing is stored\nremoved 4 vectors from Redis\n"
    store = RedisStore(os.environ["EMBEDCACHE_REDIS_URL"])
    assert store.stats().entries == 0
    store.close()
    redis.kill()
    ran = command("clear", "--redis", str(other))
    assert ran.status == 1
    assert "hunter2" not in ran.err


# ------------------------------------------------------------------------------ the real thing


@pytest.mark.skipif(
    find_spec("sentence_transformers") is None, reason="sentence-transformers is not installed"
)
def test_the_installed_command_serves_a_real_model(
    minilm_in_hub_cache: Path, write: Write, cache_dir: Path
) -> None:
    """all-MiniLM-L6-v2: warmed, found without torch, explained, and computed anew without drift."""
    texts = write("texts.jsonl", "a cat", {"text": "a kitten", "role": "query"})
    command = Path(sys.executable).with_name("embedcache")

    def run(*command: str, **environment: str) -> str:
        ran = subprocess.run(
            [sys.executable, "-W", "error", *command],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    if command.exists():
        ran = subprocess.run([command, "where"], capture_output=True, text=True, check=True)
        assert ran.stdout == f"{cache_dir / 'v1'}\n"
    # Both need the model, whose libraries take seconds to import.
    code = "import sys; from pytest_embedcache.cli import main\n"
    code += "assert main(['warm', sys.argv[1]]) == main(['verify', '--texts', sys.argv[1]]) == 0"
    first, checked, compared = run("-c", code, str(texts)).splitlines()
    assert first == "2 texts: 0 were stored, 2 computed"
    assert checked == "2 vectors checked, 0 damaged"
    assert compared.startswith("2 of 2 stored texts computed anew: 0 drifted")

    # And these need none: three commands in one process.
    code = "import sys; sys.modules['torch'] = None\nfrom pytest_embedcache.cli import main\n"
    code += "assert main(['warm', sys.argv[1]]) == main(['stats', '--json']) == 0\n"
    code += "raise SystemExit(main(['explain', 'all-MiniLM-L6-v2', '--text', 'a cat']))"
    warmed, rest = run("-c", code, str(texts)).split("\n", 1)
    assert warmed == "2 texts: 2 were stored, 0 computed"
    stats, end = json.JSONDecoder().raw_decode(rest)
    (model,) = stats["models"]
    assert (model["model"], model["entries"], model["hit_rate"]) == (MINILM, 2, 0.5)
    assert "stored       yes" in rest[end:]
