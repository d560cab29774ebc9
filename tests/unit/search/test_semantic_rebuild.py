"""Making a semantic index, and making it anew: the old one answers until the new one is whole."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.semantic import World, sound

from pytest_embedcache import notices
from pytest_embedcache.errors import EntryError, IndexDamagedError, SemanticIndexError
from pytest_embedcache.search import Entry, SemanticIndex


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def parts(world: World) -> set[str]:
    """What lies in the index's directory, but for locks and the pointer."""
    return {name for name in os.listdir(world.path / "index") if name.startswith("build-")}


def database(world: World) -> Path:
    (build,) = parts(world)
    return world.path / "index" / build / "entries.sqlite3"


def test_the_old_index_answers_until_the_new_one_is_whole(world: World) -> None:
    """While entries are read for a build the old ones are found, from then on the new ones."""
    old = world.index()
    old.add(["a cat", "a dog"])
    seen: list[int] = []

    def entries() -> Iterator[Entry]:
        for number in range(3):
            sound(old, {"1": "a cat", "2": "a dog"})
            yield Entry(f"new {number}", f"text {number}", {})

    new = SemanticIndex.build(world.path / "index", entries(), world.model, progress=seen.append)
    expected = {f"new {number}": f"text {number}" for number in range(3)}
    sound(new, expected)
    sound(old, expected)
    assert seen == [3]
    assert len(parts(world)) == 1, "the old build is still there"


def test_a_build_that_fails_leaves_the_old_index(world: World) -> None:
    """Of a build with an error nothing is left, and the old index answers."""
    index = world.index()
    index.add(["a cat"])
    twice = [Entry("one", "a", {}), Entry("one", "b", {})]
    with pytest.raises(EntryError, match="'one' is in the index already"):
        SemanticIndex.build(world.path / "index", twice, world.model)
    sound(index, {"1": "a cat"})
    assert len(parts(world)) == 1


def test_what_changes_during_a_rebuild_is_in_the_new_index(world: World) -> None:
    """An entry that is added, changed or removed while others are encoded is not lost."""
    index, other = world.index(), world.index()
    index.add(["a cat", "a dog", "a bird"])

    def meanwhile(done: int) -> None:
        if len(other) == 3:
            other.update("1", text="a lion")
            other.delete(["2"])
            other.add(["a fish"], ids=["new"])

    assert index.rebuild(progress=meanwhile) == 3
    for seen in (index, other, world.index()):
        sound(seen, {"1": "a lion", "3": "a bird", "new": "a fish"})


def test_a_writer_that_waited_writes_into_the_new_index(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that takes another's place while somebody waits to write loses nothing."""
    index, other = world.index(), world.index()
    index.add(["a cat"])
    entries = index._opened.current().entries
    writing = entries.writing

    def late() -> object:
        monkeypatch.setattr(entries, "writing", writing)
        other.rebuild()
        return writing()

    monkeypatch.setattr(entries, "writing", late)
    index.add(["a dog"])
    for seen in (index, other):
        sound(seen, {"1": "a cat", "2": "a dog"})


def test_of_two_rebuilds_the_second_gives_way(world: World) -> None:
    """A rebuild whose base was replaced meanwhile is dropped, and says so."""
    index, other = world.index(), world.index()
    index.add(["a cat"])

    def meanwhile(done: int) -> None:
        other.rebuild()

    with pytest.raises(SemanticIndexError, match="another build"):
        index.rebuild(progress=meanwhile)
    sound(index, {"1": "a cat"})
    assert len(parts(world)) == 1


def test_what_a_killed_build_left_goes_with_the_next(world: World) -> None:
    """A build that nobody is making is removed; one that somebody is making is not."""
    world.index().add(["a cat"])
    left = world.path / "index" / "build-0123456789abcdef"
    left.mkdir()
    (left / "entries.sqlite3").write_bytes(b"half")

    def entries() -> Iterator[Entry]:
        assert len(parts(world)) == 3  # the current one, this one, and what was left
        world.index().rebuild()
        yield Entry("one", "a dog", {})

    SemanticIndex.build(world.path / "index", entries(), world.model)
    sound(world.index(), {"one": "a dog"})
    assert len(parts(world)) == 1


@pytest.mark.parametrize("damage", ["cut", "overwritten", "empty", "gone"])
def test_a_damaged_database_is_found_on_open(world: World, damage: str) -> None:
    """The error names the file and the command that makes it anew, and that mends it."""
    with world.index() as index:
        index.add([f"text {number}" for number in range(50)])
    path = database(world)
    content = path.read_bytes()
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {"cut": content[: len(content) // 2], "empty": b""}.get(damage, b"x" * 9999)
        )
    with pytest.raises(IndexDamagedError, match="embedcache index build FILE") as caught:
        world.index().search("x")
    assert str(world.path / "index") in caught.value.path
    SemanticIndex.build(world.path / "index", [Entry("one", "a cat", {})], world.model)
    sound(world.index(), {"one": "a cat"})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"build": "../../etc"}', b'{"build": 1}'])
def test_a_damaged_pointer_is_found_on_open(world: World, content: bytes) -> None:
    """What names no build of this index is an error with its remedy."""
    world.index().add(["a cat"])
    (world.path / "index" / "current.json").write_bytes(content)
    with pytest.raises(IndexDamagedError, match=r"current\.json is damaged.*index build FILE"):
        world.index()
    SemanticIndex.build(world.path / "index", [Entry("one", "a cat", {})], world.model)
    sound(world.index(), {"one": "a cat"})


def test_a_vector_index_that_is_gone_is_made_anew(world: World) -> None:
    """The entries hold every vector: without the derived files nothing is computed, or lost."""
    with world.index() as index:
        index.add(["a cat", "a dog"])
        sound(index, {"1": "a cat", "2": "a dog"})
    computed = world.computed
    shutil.rmtree(database(world).parent / "vectors")
    sound(world.index(), {"1": "a cat", "2": "a dog"})
    assert world.computed == computed


def test_a_damaged_vector_index_is_made_anew_and_it_is_said(world: World) -> None:
    """Damage of the derived files costs a notice, not the answer."""
    with world.index() as index:
        index.add(["a cat", "a dog"])
        sound(index, {"1": "a cat", "2": "a dog"})
    for file in (database(world).parent / "vectors").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damage" * 100)
    sound(world.index(), {"1": "a cat", "2": "a dog"})
    assert any("made anew" in message for message in notices.counts())


def test_an_older_vector_index_is_made_anew(world: World) -> None:
    """One that was put back from a copy does not hide what was added since."""
    index = world.index()
    index.add(["a cat"])
    sound(index, {"1": "a cat"})
    index.close()
    vectors = database(world).parent / "vectors"
    shutil.copytree(vectors, world.path / "copy")
    index.add(["a dog"])
    sound(index, {"1": "a cat", "2": "a dog"})
    index.close()
    shutil.rmtree(vectors)
    shutil.copytree(world.path / "copy", vectors)
    sound(world.index(), {"1": "a cat", "2": "a dog"})


def put_back(world: World, *, without_vectors: bool = False) -> None:
    """Entries from before a change are in the place of those that were searched after it."""
    index = world.index()
    index.add(["a cat", "a dog"])
    sound(index, {"1": "a cat", "2": "a dog"})
    index.close()
    path = database(world)
    shutil.copy(path, world.path / "copy")
    if without_vectors:
        shutil.rmtree(path.with_name("vectors"))
    index.update("1", text="a lion")
    sound(index, {"1": "a lion", "2": "a dog"})
    index.close()
    shutil.copy(world.path / "copy", path)


def test_a_vector_index_ahead_of_its_entries_is_made_anew(world: World) -> None:
    """Entries that were put back from a copy are found under their own meaning, and it is said."""
    put_back(world)
    sound(world.index(), {"1": "a cat", "2": "a dog"})
    assert any("is not the one of its entries" in message for message in notices.counts())
    said = len(notices.counts())
    sound(world.index(), {"1": "a cat", "2": "a dog"})
    assert len(notices.counts()) == said


def test_another_vector_index_of_as_many_changes_is_made_anew(world: World) -> None:
    """Put back from a copy beside entries that were told of another one by the same number."""
    put_back(world, without_vectors=True)
    sound(world.index(), {"1": "a cat", "2": "a dog"})


def test_a_vector_index_is_looked_at_again_before_it_is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process is just bringing up to date is ahead for a moment, and is kept."""
    index = world.index()
    index.add(["a cat"])
    sound(index, {"1": "a cat"})
    build = index._opened.current()
    vectors = build.vectors.current()
    assert vectors is not None
    followed, state = build.entries.followed, vectors.state

    def before() -> tuple[int, int, str | None]:
        monkeypatch.setattr(build.entries, "followed", followed)
        return (1, 1, "another")

    monkeypatch.setattr(build.entries, "followed", before)
    sound(index, {"1": "a cat"})
    assert build.vectors.current() is vectors
    assert vectors.state == state
    assert not notices.counts()


def test_a_number_is_never_given_again(world: World) -> None:
    """That of an entry that was the last one and is gone; also after a rebuild, and a second."""
    index = world.index()
    assert index.add(["a cat", "a dog", "a bird"])[-1] == "3"
    index.delete(["3"])
    index.rebuild()
    assert index.add(["a fish"]) == ["4"]
    index.delete(["1", "2", "4"])
    index.rebuild()
    index.rebuild()
    assert index.add(["a fox"]) == ["5"]
    sound(index, {"5": "a fox"})


def test_the_first_build_needs_no_links(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every file system has them; of two that make the first build, one gives way."""

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    index = world.index()
    index.add(["a cat"])
    builds = index._opened.builds
    with builds.building() as second:
        assert not builds.publish_first(second)
    sound(world.index(), {"1": "a cat"})
    assert len(parts(world)) == 1


def test_a_damaged_vector_is_left_out_and_filled(world: World) -> None:
    """A stored vector that fails its check is said, not returned, and computed by `fill`."""
    import sqlite3

    with world.index() as index:
        index.add(["a cat", "a dog"])
    connection = sqlite3.connect(database(world))
    connection.execute("UPDATE vectors SET value = x'00' WHERE number = 1")
    connection.commit()
    connection.close()
    index = world.index()
    found = index.search("x")
    assert [result.id for result in found] == ["2"]
    assert found.notice is not None
    assert "entries without a vector: 1" in found.notice
    assert index.fill() == 1
    sound(index, {"1": "a cat", "2": "a dog"})


def test_another_version_is_said(world: World) -> None:
    """A database of a later version is left alone."""
    import sqlite3

    world.index().close()
    connection = sqlite3.connect(database(world))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(SemanticIndexError, match="version 99"):
        world.index()


def test_the_index_is_the_users_alone(world: World) -> None:
    """Directories are 0700 and files 0600: texts are in them."""
    if os.name != "posix":
        pytest.skip("modes are POSIX's")
    with world.index() as index:
        index.add(["a cat"])
        index.search("x")
        for path in (world.path / "index").rglob("*"):
            if path.is_dir():
                assert path.stat().st_mode & 0o777 == 0o700, path
            elif not path.name.endswith("lock"):  # which are empty
                assert path.stat().st_mode & 0o077 == 0, path
    assert json.loads((world.path / "index" / "current.json").read_bytes())["build"]
