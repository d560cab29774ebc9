"""The two forms of a report: complete, harmless, and of a size that is taken."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from support.reports import HOSTILE, LARGE, MINILM, case, gate, load, process, report_of, rich, text

from pytest_embedcache.plugin.report_data import SLOWEST
from pytest_embedcache.plugin.report_markdown import markdown
from pytest_embedcache.plugin.report_page import page
from pytest_embedcache.plugin.report_svg import axis
from pytest_embedcache.vectors.tally import Tally

#: What a job summary of GitHub takes.
MEBIBYTE = 1024 * 1024
BACKGROUND = re.compile(r"url\(|@import|https?:|//", re.IGNORECASE)


class Elements(HTMLParser):
    """Tags with the names of their attributes, in order; and what is said."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []
        self.addresses: list[str | None] = []
        self.said = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))
        self.addresses += [value for name, value in attrs if name in ("src", "href", "style")]

    def handle_data(self, data: str) -> None:
        self.said += data


def test_what_happened_is_on_the_page() -> None:
    """Loads, texts by tier, time and money, tests, texts by digest, gates, reasons, settings."""
    said = Elements(page(rich())).said
    for words in (
        *(
            "238 passed",
            "2 failed",
            "1 of 7 gates missed",
            "5 processes",
            "all-MiniLM-L6-v2 · 4.4 s",
        ),
        *("no counts: crashed or stopped", "memory 840", "recordings 120", "redis 280"),
        *("≈ $0.00023", "unknown for text-embedding-3-large", "test_finds_what_is_meant[case-4]"),
        *(
            "14.2 [12.9, 15.8]",
            "11 [too few rounds for an interval]",
            "too small to matter",
            "not measured",
        ),
        *("did not answer in 0.5 s", "recordings: not pruned, because the run was not green"),
        *("mode=replay (CI is set, and there are recordings)", "[case-121] failed"),
    ):
        assert words in said, words
    assert said.count("What is the opening time") == SLOWEST


def test_the_same_is_in_the_markdown() -> None:
    """As tables, each row of which has the cells of its head."""
    lines = markdown(rich()).splitlines()
    assert sum(line.startswith("### ") for line in lines) == 8
    assert "| `gw4` | no counts: crashed or stopped | 0 | 0 |" in lines
    assert any("`·" not in line and "██" in line and "`gw0`" in line for line in lines)
    assert any("┊" in line and "├●─┤" in line and "reached" in line for line in lines)
    assert any(line.startswith(f"| `{LARGE}` | 10 | 412 | unknown | 40 |") for line in lines)
    columns = 0
    for line in lines:
        cells = len(re.findall(r"(?<!\\)\|", line)) - 1
        columns = cells if columns <= 0 else columns
        assert cells in (-1, columns), line
        columns = max(0, cells)


def test_hostile_names_change_no_element_of_the_page() -> None:
    """With them it has the elements and attributes that it has without, in the same order."""
    hostile = Elements(page(rich("".join(HOSTILE))))
    assert hostile.seen == Elements(page(rich("tame"))).seen
    assert hostile.said.count("<script>document.title='owned'</script>") > 10


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_no_markup_in_markdown(name: str) -> None:
    """With them it has as many lines, cells and code spans as without."""

    def shape(form: str) -> list[int]:
        return [len(re.findall(r"(?<!\\)\|", line)) for line in form.splitlines()]

    hostile = markdown(rich(name))
    assert shape(hostile) == shape(markdown(rich("tame")))
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", hostile)
    assert not re.search(r"[<>\[\]`@!]|://", outside)


def test_the_page_asks_for_nothing() -> None:
    """It has no script, no address but that of an empty icon, and a policy that allows none."""
    text = page(rich())
    elements = Elements(text)
    assert not {"script", "img", "iframe", "a"} & {tag for tag, _ in elements.seen}
    assert elements.addresses == ["data:,"]
    assert "default-src 'none'" in text
    style = text[text.index("<style>") : text.index("</style>")]
    assert not BACKGROUND.search(style)


def test_the_largest_run_fits_into_a_job_summary() -> None:
    """Hundreds of workers, models, gates and notices with names as long as can be."""
    long = "|`<" * 200
    run: dict[str, Any] = {}
    tests = []
    for worker in range(200):
        models = {f"{long}{worker}": Tally(asked=1, computed=1)}
        timeline = {
            "loads": [load(long, n, 1.0, test=long) for n in range(4)],
            "computing": [[n, n + 0.5, 1] for n in range(50)],
            "texts": [text(long, f"{n}{worker}", 1.0, text=long, test=long) for n in range(4)],
            "tests": {},
        }
        notices = {f"{long[:worker]}{worker}": 1}
        run[f"gw{worker}"] = process(models, timeline, notices=notices)
        run[f"gw{worker}"]["gates"] = [gate("missed", 1.0, 0.5, 2.0, test=long, reason=long)] * 5
        tests += [case(n, f"gw{worker}", n, 1.0, test=f"{long}{worker}{n}") for n in range(4)]
    report = report_of(run, tests)
    assert len(markdown(report).encode()) < MEBIBYTE
    assert page(report).count('class="lane"') == 200


def test_a_run_without_anything_has_a_page() -> None:
    """It says that nothing happened, and has no empty tables."""
    report = report_of({"main": process({}) | {"threads": None}}, [])
    assert "<table" not in page(report)
    assert "Loads" in Elements(page(report)).said
    assert "###" not in markdown(report)


def test_ten_thousand_tests_are_drawn_as_stretches() -> None:
    """And a failed one among them is still to be seen."""
    tests = [case(n, "main", n * 0.01, 0.009) for n in range(10_000)]
    tests[5000]["outcome"] = "failed"
    report = report_of({"main": process({MINILM: Tally(asked=1)})}, tests)
    (lane,) = report["lanes"]
    assert len(lane["stretches"]) <= 300
    assert sum(row["tests"] for row in lane["stretches"]) == lane["tests"] == 10_000
    assert [row["name"] for row in lane["stretches"] if row["failed"]] == [tests[5000]["test"]]


@pytest.mark.parametrize("whole", [1e-9, 0.0004, 0.9, 1.0, 7.3, 61.0, 999.0, 86_400.0])
def test_an_axis_has_a_few_lines_for_any_run(whole: float) -> None:
    """From the beginning on, and none beyond the end."""
    ticks = re.findall(r'x1="([\d.]+)%"', axis(whole))
    assert 2 <= len(ticks) <= 7
    assert all(0 <= float(tick) <= 100 for tick in ticks)


def test_tests_that_pass_and_fail_in_turns_are_drawn_one_by_one() -> None:
    """There is nothing that could be joined, and the end comes all the same."""
    tests = [
        case(n, "main", n * 0.01, 0.009, outcome=("passed", "failed")[n % 2]) for n in range(2000)
    ]
    (lane,) = report_of({"main": process({})}, tests)["lanes"]
    assert len(lane["stretches"]) == 2000
