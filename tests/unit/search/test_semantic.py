"""`SemanticIndex`: what is put in is found, by its meaning and its words, and by nothing older."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.semantic import World, score, sound

from pytest_embedcache.errors import EntryError, SemanticIndexError
from pytest_embedcache.search import Entry, SemanticIndex, opened
from pytest_embedcache.search.semantic.results import fused


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ids(results: object) -> list[str]:
    return [result.id for result in results]  # type: ignore[attr-defined]


def test_an_entry_is_found_with_what_was_put_in(world: World) -> None:
    """Text and metadata come back as they were given, with the cosine of the two roles."""
    index = world.index()
    texts = ["a cat sleeps", "a dog barks", "quarterly revenue"]
    assert index.add(texts, metadata=[{"page": n} for n in range(3)]) == ["1", "2", "3"]
    found = index.search("a cat", k=2)
    assert (found.by, found.notice, len(found)) == ("vectors", None, 2)
    expected = sorted(texts, key=lambda text: -score("a cat", text))[:2]
    assert [result.text for result in found] == expected
    assert [result.metadata["page"] for result in found] == [texts.index(t) for t in expected]
    assert [r.score for r in found] == pytest.approx(
        [score("a cat", t) for t in expected], abs=1e-6
    )


def test_a_text_is_computed_once(world: World) -> None:
    """What the model's store has is not computed again; a query is another text than an entry."""
    index = world.index()
    index.add(["a cat", "a dog", "a cat"])
    assert world.computed == 2
    index.search("a cat")
    index.search("a cat")
    assert world.computed == 3
    index.rebuild()
    assert world.computed == 3


def test_a_changed_text_is_found_under_its_new_meaning_at_once(world: World) -> None:
    """After `update` neither the old vector nor the old words find the entry; others stay."""
    index = world.index()
    index.add(["a cat", "a dog"], ids=["one", "two"])
    assert ids(index.search("x"))
    assert ids(index.keyword_search("cat")) == ["one"]
    index.update("one", text="quarterly revenue")
    sound(index, {"one": "quarterly revenue", "two": "a dog"})
    assert ids(index.keyword_search("cat")) == []
    assert ids(index.keyword_search("revenue")) == ["one"]


def test_metadata_changes_without_the_model(world: World) -> None:
    """`update` of the metadata computes nothing, and keeps the text."""
    index = world.index()
    index.add(["a cat"], metadata=[{"page": 1}])
    index.update("1", metadata={"page": 2})
    assert world.computed == 1
    assert index.get("1") == Entry("1", "a cat", {"page": 2})
    sound(index, {"1": "a cat"})


def test_metadata_leave_the_vectors_as_they_are(world: World) -> None:
    """A change of metadata alone takes no row of the vector index, and is no change of it."""
    index = world.index()
    index.add(["a cat", "a dog"], metadata=[{"page": 1}, {}])
    sound(index, {"1": "a cat", "2": "a dog"})
    before = index.stats().vectors
    assert before is not None
    index.update("1", metadata={"page": 2})
    assert index.search("x", filter={"page": 2})[0].id == "1"
    index.update("2", text="a dog", metadata={"page": 3})
    assert index.search("x", filter={"page": 3})[0].id == "2"
    after = index.stats().vectors
    assert after is not None
    for figure in ("commit", "removed", "bytes"):
        assert after[figure] == before[figure]


def test_stats_bear_that_files_go(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may remove one between its name and its length; a search counts none."""
    index = world.index()
    index.add(["a cat"])
    sound(index, {"1": "a cat"})
    size, walk = index.stats().bytes, os.walk

    def seen(path: Path) -> Iterator[tuple[str, list[str], list[str]]]:
        for folder, folders, names in walk(path):
            yield folder, folders, [*names, "gone"]

    with monkeypatch.context() as patched:
        patched.setattr(os, "walk", seen)
        assert index.stats().bytes == size
    monkeypatch.setattr(opened, "size", None)
    index.add(["a dog"])
    sound(world.index(), {"1": "a cat", "2": "a dog"})


def test_what_was_deleted_is_nowhere(world: World) -> None:
    """A deleted entry is found by nothing; its vector stays in the store unless it is forgotten."""
    index = world.index()
    index.add(["a cat", "a dog", "a bird"])
    index.search("x")
    assert index.delete(["1", "no such id"]) == 1
    assert index.delete(["1"]) == 0
    assert len(index.search("a cat", k=2)) == 2, "what was deleted took a place"
    sound(index, {"2": "a dog", "3": "a bird"})
    assert index.get("1") is None
    before = world.store.stats().entries
    assert index.delete(["2"], forget=True) == 1
    assert world.store.stats().entries == before - 1


def test_an_id_is_added_once(world: World) -> None:
    """Of an `add` with an id that is there nothing is stored."""
    index = world.index()
    index.add(["a cat"], ids=["one"])
    with pytest.raises(EntryError, match="'one' is in the index already") as caught:
        index.add(["a dog", "a bird"], ids=["two", "one"])
    assert caught.value.id == "one"
    sound(index, {"one": "a cat"})
    with pytest.raises(EntryError, match="is not in the index"):
        index.update("two", text="x")
    with pytest.raises(EntryError, match="is not in the index"):
        index.find_similar("two")


@pytest.mark.parametrize(
    ("metadata", "reason"), [({"a": {1}}, "JSON"), ({"a": float("nan")}, "JSON")]
)
def test_metadata_is_json(world: World, metadata: dict[str, object], reason: str) -> None:
    """What JSON cannot hold is refused, by the entry's id."""
    with pytest.raises(EntryError, match=reason):
        world.index().add(["a cat"], ids=["one"], metadata=[metadata])


def test_a_text_is_kept_to_the_byte(world: World) -> None:
    """Nothing of a text is normalised; half of a surrogate pair is no text."""
    index = world.index()
    texts = ["", " a\tcat\r\n", "e\u0301 \u00e9", "nul\0byte", "'\"; DROP TABLE entries"]
    index.add(texts)
    assert [index.get(str(n)).text for n in range(1, 6)] == texts  # type: ignore[union-attr]
    with pytest.raises(EntryError, match="surrogate"):
        index.add(["\ud800"], ids=["half"])


@pytest.mark.parametrize(
    "query", ['"', "cat OR", "NEAR(", "-cat*", "text:cat", "''", "", "\0", "🐈"]
)
def test_a_query_has_no_syntax(world: World, query: str) -> None:
    """No character of a query is an operator, or an error."""
    index = world.index()
    index.add(["a cat", "a dog"])
    expected = ["1"] if "cat" in query else []
    assert ids(index.keyword_search(query)) == expected
    assert sorted(ids(index.hybrid_search(query))) == ["1", "2"]


def test_keywords_know_no_accents_and_no_case(world: World) -> None:
    """A word is found whatever its case and accents."""
    index = world.index()
    index.add(["Café Zürich", "tea"])
    assert ids(index.keyword_search("cafe ZURICH")) == ["1"]


def test_a_filter_lets_pass_what_has_the_values(world: World) -> None:
    """By vectors, by keywords and by both, only entries with the named metadata are found."""
    index = world.index()
    known: list[dict[str, object]] = [
        {"lang": "en", "n": 1},
        {"lang": "de", "n": 1},
        {"lang": "en", "n": None},
        {},
    ]
    index.add(["a cat"] * 4, metadata=known)
    for wanted, expected in (
        ({"lang": "en"}, ["1", "3"]),
        ({"lang": "en", "n": 1}, ["1"]),
        ({"n": None}, ["3"]),
        ({"lang": "fr"}, []),
        ({}, ["1", "2", "3", "4"]),
    ):
        for found in (
            index.search("x", filter=wanted),
            index.keyword_search("cat", filter=wanted),
            index.hybrid_search("cat", filter=wanted),
        ):
            assert sorted(ids(found)) == expected, wanted
    assert ids(index.find_similar("1", filter={"lang": "de"})) == ["2"]
    for nothing in ([1], float("nan")):
        with pytest.raises(ValueError, match="cannot be looked for"):
            index.search("x", filter={"n": nothing})


def test_a_filter_knows_the_kinds_of_values_apart(world: World) -> None:
    """As JSON does: true is no 1, "1" is no number, null is neither an array nor missing."""
    index = world.index()
    values: list[object] = [1, True, 0, False, None, "1", "true", [1], {}]
    index.add(["a cat"] * 9, metadata=[{"n": value} for value in values])
    for wanted, expected in (
        (1, ["1"]),
        (1.0, ["1"]),
        (True, ["2"]),
        (0, ["3"]),
        (False, ["4"]),
        (None, ["5"]),
        ("1", ["6"]),
        ("true", ["7"]),
    ):
        assert ids(index.search("x", filter={"n": wanted})) == expected, wanted


def test_two_rankings_are_fused_by_their_ranks() -> None:
    """The score is the sum of 1 / (60 + rank) over the rankings; ties go to the smaller number."""
    assert fused([[7, 8], [8, 9]], 3) == [
        (8, pytest.approx(1 / 62 + 1 / 61)),
        (7, pytest.approx(1 / 61)),
        (9, pytest.approx(1 / 62)),
    ]
    assert [number for number, _ in fused([[5], [4]], 2)] == [4, 5]


def test_a_hybrid_search_has_the_word_that_the_meaning_misses(world: World) -> None:
    """An entry that only its word finds is in front of what neither finds."""
    index = world.index()
    index.add([f"thing {n}" for n in range(80)] + ["the zyzzyva"])
    by_meaning = ids(index.search("zyzzyva", k=81))
    found = index.hybrid_search("zyzzyva", k=3)
    assert (found.by, found.notice) == ("both", None)
    assert "81" in ids(found)
    assert by_meaning[0] in ids(found)


def test_similar_entries_need_no_model(world: World) -> None:
    """`find_similar` leaves the entry itself out, and compares documents with documents."""
    world.index().add(["a cat", "a dog", "a bird"])
    index = SemanticIndex(world.path / "index")
    found = index.find_similar("1", k=5)
    assert sorted(ids(found)) == ["2", "3"]
    assert found.by == "vectors"


def test_k_may_be_anything(world: World) -> None:
    """More than there is gives all, nothing gives nothing."""
    index = world.index()
    assert list(index.search("x")) == []
    assert index.search("x").notice == "the index is empty"
    index.add(["a cat", "a dog"])
    assert len(index.search("x", k=99)) == len(index.hybrid_search("cat", k=99)) == 2
    assert len(index.search("x", k=0)) == len(index.hybrid_search("x", k=0)) == 0
    assert len(index.find_similar("1", k=0)) == 0


def test_wrong_arguments_are_refused(world: World) -> None:
    """One string is no list of texts, and lengths have to agree."""
    index = world.index()
    with pytest.raises(TypeError, match="not one string"):
        index.add("a cat")
    with pytest.raises(TypeError, match="not int"):
        index.add([1])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="not bytes"):
        index.search(b"a cat")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for each text"):
        index.add(["a cat"], ids=[])
    with pytest.raises(SemanticIndexError, match="there is none"):
        SemanticIndex(world.path / "other", create=False)
    assert not (world.path / "other").exists()


def test_a_score_is_that_of_the_text_beside_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An entry that changes between its vector's finding and its reading is looked for again."""
    index, other = world.index(), world.index()
    index.add(["a cat", "a dog"])
    entries = index._opened.current().entries
    rows = entries.rows

    def meanwhile(numbers: Sequence[int]) -> object:
        monkeypatch.setattr(entries, "rows", rows)
        other.update("1", text="quarterly revenue")
        return rows(numbers)

    monkeypatch.setattr(entries, "rows", meanwhile)
    found = {result.text: result.score for result in index.search("x")}
    assert set(found) == {"quarterly revenue", "a dog"}
    for text, value in found.items():
        assert value == pytest.approx(score("x", text), abs=1e-6)


def test_threads_share_an_index(world: World) -> None:
    """What several threads add, change and remove through one object is there, and found."""
    index = world.index()

    def work(me: int) -> None:
        for n in range(4):
            index.add([f"text {me} {n}", f"gone {me} {n}"], ids=[f"{me} {n}", f"gone {me} {n}"])
            index.delete([f"gone {me} {n}"])
            index.update(f"{me} {n}", text=f"new {me} {n}")
            assert f"{me} {n}" in ids(index.search("x", k=99))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    sound(index, {f"{me} {n}": f"new {me} {n}" for me in range(4) for n in range(4)})


TEXTS = st.sampled_from(["a cat", "a dog", "a bird sings", "quarterly revenue", ""])
NAMES = st.sampled_from(["one", "two", "three", "four"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NAMES, TEXTS),
        st.tuples(st.just("update"), NAMES, TEXTS),
        st.tuples(st.just("delete"), NAMES, TEXTS),
        st.tuples(st.sampled_from(["search", "rebuild", "reopen"]), NAMES, TEXTS),
    ),
    max_size=12,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_index_is_a_dictionary_of_texts(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str]]
) -> None:
    """After any steps it holds what a dictionary would, with the right vectors and words."""
    world = World(tmp_path_factory.mktemp("world"))
    index = world.index()
    expected: dict[str, str] = {}
    for step, name, text in steps:
        if step == "add" and name not in expected:
            index.add([text], ids=[name])
            expected[name] = text
        elif step == "update" and name in expected:
            index.update(name, text=text)
            expected[name] = text
        elif step == "delete":
            assert index.delete([name]) == int(expected.pop(name, None) is not None)
        elif step == "search":
            assert len(index.search(text, k=9)) == len(expected)
        elif step == "rebuild" and expected:
            assert index.rebuild() == len(expected)
        elif step == "reopen":
            index.close()
            index = world.index()
    spoken = {name: text for name, text in expected.items() if text}
    index.delete([name for name in expected if name not in spoken])
    if spoken:
        sound(index, spoken)
    index.close()


def test_ids_that_are_numbers_do_not_stand_in_the_way(world: World) -> None:
    """A file's line numbers run ahead of the entries' own where it has a header or empty lines."""
    index = world.index()
    index.add(["a cat", "a dog"], ids=["3", "5"])
    given = index.add(["a fox", "a hen"])
    assert len({*given, "3", "5"}) == 4
    assert index.get(given[0]) is not None
    assert len(index.add(["an owl"])) == 1
