"""The page's figures: samples of a service, and the HTML that is made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("prometheus_client")
pytest.importorskip("starlette")

from pytest_embedcache.service.http import page
from pytest_embedcache.service.http.charts import Line, chart
from pytest_embedcache.service.http.figures import KEPT, Figures, Sample


class Service:
    """As much of a service as is sampled."""

    default_model = "<b>model</b>"
    caching_enabled = True
    models_loaded = ("<script>alert(1)</script>",)

    def __init__(self) -> None:
        self.texts = self.cached = 0

    def get_metrics(self) -> dict[str, Any]:
        total = {
            "total_texts": self.texts,
            "cache_hits": self.cached,
            "total_embeddings_generated": self.texts - self.cached,
            "cache_hit_rate": self.cached / self.texts if self.texts else None,
            "total_tokens": 7,
            "total_cost_usd": Decimal("0.00014"),
            "total_saved_usd": Decimal("0.5"),
            "unpriced_tokens": 0,
        }
        models = {"<script>alert(1)</script>": total | {"unpriced_tokens": 3}}
        loaded = {"models_loaded": ["<script>alert(1)</script>"], "model_loads": 2}
        return total | loaded | {"models": models}

    def prometheus(self) -> tuple[bytes, str]:
        return b"theirs 1\n", "text/plain"


class Clock:
    """Seconds that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def figures(service: Service, clock: Clock) -> Figures:
    return Figures(service, clock=clock)  # type: ignore[arg-type]


def test_a_sample_is_of_what_happened_since_the_last(
    figures: Figures, service: Service, clock: Clock
) -> None:
    """Rates and times are of the stretch between two samples; of other routes no time is taken."""
    for seconds in (0.001, 0.002, 0.003):
        figures.seen("/embed/text", 200, seconds)
    figures.seen("/metrics", 200, 9.0)
    service.texts, service.cached, clock.now = 4, 3, 102.0
    first = figures.sample()
    assert (first.answers, first.median, first.slowest) == (1.5, 0.002, 0.003)
    assert (first.hit_rate, first.loads, first.resident) == (0.75, 2, 1)
    assert (first.spent, first.saved) == (0.00014, 0.5)
    assert first.memory > 2**20
    clock.now = 104.0
    second = figures.sample()
    assert (second.answers, second.median, second.hit_rate) == (0.0, None, None)
    service.texts = service.cached = 1  # a reset in between
    assert figures.sample().hit_rate is None


def test_only_so_many_samples_are_kept(figures: Figures, clock: Clock) -> None:
    """Ten minutes of them: a server that runs for weeks does not grow."""
    for _ in range(KEPT + 5):
        clock.now += 2
        figures.sample()
    assert len(figures.samples) == KEPT
    for number in range(10_000):
        figures.seen(f"/invented/{number}", 404, 0.1)
    content, _ = figures.prometheus()
    assert b'route="other"' in content
    assert b"invented" not in content
    assert content.startswith(b"theirs 1\n")


def shown(figures: Figures, service: Service) -> str:
    return page.figures(figures.samples, figures.health(), service.get_metrics())


def test_the_figures_are_shown_and_no_name_is_markup(
    figures: Figures, service: Service, clock: Clock
) -> None:
    """Texts, rate, costs, and what is not known of these; names are text."""
    assert "<svg" in shown(figures, service)  # before the first sample, too
    service.texts, service.cached = 4, 3
    for _ in range(3):
        clock.now += 2
        figures.seen("/embed/text", 200, 0.002)
        figures.sample()
    found = shown(figures, service)
    for words in ("75.0 %", "$0.00014", "$0.00014 or more", "$0.50", "2 ms", "Up for 6 s"):
        assert words in found
    assert found.count("<section>") == 7
    assert "<script" not in found
    assert "<b>model" not in found
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in found


def test_the_frame_runs_its_own_script_alone() -> None:
    """Its policy names the script by its hash, and nothing from elsewhere; no figure is in it."""
    document = page.shell()
    assert document.count("<script>") == 1
    assert "script-src 'sha256-" in page.POLICY
    assert "default-src 'none'" in page.POLICY
    assert "unsafe-inline" not in page.POLICY.partition("script-src")[2].partition(";")[0]
    assert not re.findall(r"(?:src|href)=\"(?!data:)[^\"]*\"|https?://", document)


def points(drawn: str) -> Iterator[list[tuple[float, float]]]:
    """Of each line of a chart."""
    for found in re.findall(r'points="([^"]*)"', drawn):
        yield [(float(x), float(y)) for x, y in (pair.split(",") for pair in found.split())]


def test_a_line_rises_with_its_amounts_and_has_its_gaps() -> None:
    """From 0 at the bottom to the largest at the top; None is a gap, and a lone point is seen."""
    drawn = chart([0, 1, 2, 3, 4], [Line("a", "<a>", [0, 5, None, 10, None])], str)
    rising, lone = points(drawn)
    assert rising == [(0.0, 96.0), (250.0, 50.0)]
    assert lone[0] == (750.0, 4.0)
    assert len(lone) == 2
    assert "&lt;a&gt;" in drawn


@pytest.mark.parametrize("amounts", [[], [None], [0.0], [0.0, 0.0]])
def test_a_line_of_nothing_is_drawn_all_the_same(amounts: list[float | None]) -> None:
    """No moment, no amount, or none but 0: nothing is divided by it."""
    assert "<svg" in chart(list(range(len(amounts))), [Line("a", "a", amounts)], str)


def test_a_sample_has_a_value_for_each_line_of_the_charts() -> None:
    """Each chart draws an attribute that there is, and writes it."""
    sample = Sample(1.0, 2.0, 0.003, 0.004, 0.5, 6, 7, 8 * 2**20, 0.09, 1.0)
    assert len(page._CHARTS) == 6
    for _, lines, written in page._CHARTS:
        for _, _, read in lines:
            assert written(read(sample))
