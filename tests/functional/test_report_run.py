"""`--embedcache-report` in somebody's run: one page for all its workers, and only where asked."""

from __future__ import annotations

import importlib.util
import json
from typing import Any

import pytest
from support.suites import Suite, complaints, outcome

needs_xdist = pytest.mark.skipif(
    importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed"
)

SUITE = """
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_texts(embedding_model, number):
        embedding_model.encode([f"secret {number}", "<script>shared</script>"])

    @pytest.mark.parametrize("name", ["</script><script>alert(1)</script>"])
    def test_hostile(embedding_model, name):
        assert not name
"""


@needs_xdist
def test_one_page_has_what_all_workers_did(suite: Suite) -> None:
    """Loads, computing and tests of each; texts by digest alone; no line more in the summary."""
    suite.write(test_it=SUITE)
    paths = [suite.path / "out" / "report.html", suite.path / "report.md"]
    counts = suite.path / "counts.json"
    plain = suite.run("-n", "2", "--embedcache-mode=live")
    for path in paths:
        result = suite.run(
            *("-n", "2", "--embedcache-mode=live", f"--embedcache-report={path}"),
            f"--embedcache-json={counts}",
        )
        assert outcome(result) == {"passed": 4, "failed": 1}
        complaints(result)
        assert _section(result) == _section(plain)
    html, markdown = (path.read_text(encoding="utf-8") for path in paths)
    for page in (html, markdown):
        assert all(worker in page for worker in ("gw0", "gw1"))
        assert "4 passed" in page
        assert "1 failed" in page.replace("**", "")
        assert "secret" not in page
    assert "<script" not in html
    found: dict[str, Any] = json.loads(counts.read_text(encoding="utf-8"))
    assert found["timelines"].keys() == {"gw0", "gw1"}
    for name, timeline in found["timelines"].items():
        per_process = found["vectors"][0]["per_process"][name]
        assert sum(texts for *_, texts in timeline["computing"]) == per_process["bypassed"]
        loads = [model["per_process"].get(name, {"loads": 0})["loads"] for model in found["models"]]
        assert [load["failed"] for load in timeline["loads"]] == [False] * sum(loads)


def _section(result: pytest.RunResult) -> int:
    """How many lines of ours there are."""
    lines = result.stdout.lines
    start = next(i for i, line in enumerate(lines) if line.strip("= ") == "embedcache")
    return next(i for i, line in enumerate(lines[start + 1 :]) if line.startswith("="))


def test_texts_are_shown_where_that_is_asked_for(suite: Suite) -> None:
    """And what was computed for the store is among them, in a run of one process."""
    suite.write(test_it=SUITE)
    path = suite.path / "report.html"
    asked = [f"--embedcache-report={path}", "--embedcache-report-texts"]
    assert outcome(suite.run(*asked)) == {"passed": 4, "failed": 1}
    page = path.read_text(encoding="utf-8")
    assert "“secret 2”" in page
    assert "“&lt;script&gt;shared&lt;/script&gt;”" in page
    assert "<script" not in page
    assert outcome(suite.run(*asked)) == {"passed": 4, "failed": 1}
    page = path.read_text(encoding="utf-8")  # all of them were found
    assert "secret" not in page
    assert "sqlite" in page


def test_a_report_that_cannot_be_written_ends_no_run(suite: Suite) -> None:
    """It is said in the summary; nothing is written where tests are only collected."""
    suite.write(test_it=SUITE)
    (suite.path / "file").write_text("in the way", encoding="utf-8")
    result = suite.run("--embedcache-report=file/report.html", "-k", "texts")
    assert outcome(result) == {"passed": 4, "deselected": 1}, complaints(result)
    result.stdout.fnmatch_lines(["the report could not be written to *"])
    suite.run("--embedcache-report=other/report.html", "--collect-only")
    assert not (suite.path / "other").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--embedcache-report=report.pdf", "*ends in .html or .md*"),
        ("--embedcache-prices=my-model=cheap", "*name=dollars for a million tokens*"),
    ],
)
def test_a_value_that_cannot_be_used_ends_the_run(suite: Suite, option: str, said: str) -> None:
    """Before it has begun, with the forms that can be."""
    result = suite.run(option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])
