"""The page at `/`: a frame that asks for its figures again and again, and the figures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from pytest_embedcache import page_style
from pytest_embedcache.pages import frame, section, table, tiled
from pytest_embedcache.service.http.charts import STYLE, Line, chart
from pytest_embedcache.service.http.figures import EVERY, Sample
from pytest_embedcache.words import count, dollars, in_html, seconds

__all__ = ["POLICY", "figures", "shell"]

#: Asks for the figures with the token that its reader gave, which no other tab or visit knows.
_SCRIPT = f"""
const main = document.querySelector("main"), form = document.querySelector("form");
let token = sessionStorage.getItem("embedcache") || "";
async function look() {{
  let said = "The server does not answer.";
  try {{
    const headers = token ? {{ Authorization: "Bearer " + token }} : {{}};
    const answer = await fetch("figures", {{ headers, cache: "no-store" }});
    form.hidden = answer.status !== 401;
    if (answer.ok) {{ main.innerHTML = await answer.text(); said = ""; }}
    else if (form.hidden) said = "The server answers with status " + answer.status + ".";
    else said = token ? "This is not the server's token." : "The figures need the token.";
  }} catch (error) {{}}
  document.querySelector("#said").textContent = said;
}}
form.addEventListener("submit", (event) => {{
  event.preventDefault();
  token = form.elements.token.value.trim();
  sessionStorage.setItem("embedcache", token);
  look();
}});
look();
setInterval(() => {{ if (!document.hidden) look(); }}, {EVERY * 1000:.0f});
"""
_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
#: This script and no other; figures from this server, and nothing from elsewhere.
POLICY = (
    f"default-src 'none'; script-src 'sha256-{_HASH}'; connect-src 'self'; "
    "style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
)


def shell() -> str:
    """The document; no figure is in it, so that anybody may have it."""
    body = (
        '<header><h1>embedcache</h1><p class="quiet" id="said" role="status"></p></header>\n'
        '<form hidden><label>Token <input name="token" type="password" autocomplete="off">'
        "</label> <button>Show</button></form>\n<main></main>\n"
        f"<noscript><p>The figures need a script.</p></noscript>\n<script>{_SCRIPT}</script>"
    )
    return frame("embedcache", body, style=page_style.STYLE + STYLE, policy=POLICY)


def figures(
    samples: Sequence[Sample], health: Mapping[str, Any], metrics: Mapping[str, Any]
) -> str:
    """What goes into the document: HTML, from `Figures` and `EmbedderService.get_metrics`."""
    return "\n".join(
        (*_tiles(samples, health, metrics), *_charts(samples, health), *_models(metrics))
    )


def _tiles(
    samples: Sequence[Sample], health: Mapping[str, Any], metrics: Mapping[str, Any]
) -> Iterator[str]:
    last = samples[-1] if samples else None
    loaded = health["models_loaded"]
    median = None if last is None else next((s.median for s in reversed(samples) if s.median), None)
    yield from tiled(
        (
            (
                "texts",
                count(metrics["total_texts"]),
                f"{count(metrics['total_embeddings_generated'])} computed",
            ),
            (
                "hit rate",
                _percent(metrics["cache_hit_rate"]),
                "of all texts, since the start or a reset",
            ),
            ("an answer", "-" if median is None else seconds(median), "median of the last ones"),
            ("models loaded", count(len(loaded)), ", ".join(loaded) or "none"),
            (
                "spent",
                _spent(metrics),
                f"{dollars(metrics['total_saved_usd'])} saved by hits",
            ),
        )
    )


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{100 * rate:.1f} %"


def _spent(facts: Mapping[str, Any]) -> str:
    """What is known of it; that something is not known is said."""
    return dollars(facts["total_cost_usd"]) + (" or more" if facts["unpriced_tokens"] else "")


def _charts(samples: Sequence[Sample], health: Mapping[str, Any]) -> Iterator[str]:
    span = samples[-1].at - samples[0].at if samples else 0.0
    note = f"Up for {seconds(health['uptime_seconds'])}; drawn are the last {seconds(span)}, "
    note += f"a point every {EVERY:g} s. The default model is {in_html(health['default_model'])}."
    yield f'<p class="note">{note}</p><div class="charts">'
    for title, lines, written in _CHARTS:
        drawn = [Line(kind, name, [read(s) for s in samples]) for kind, name, read in lines]
        yield from section(title, "", [chart([s.at for s in samples], drawn, written)])
    yield "</div>"


def _models(metrics: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (
            f"<code>{in_html(name)}</code>",
            count(facts["total_texts"]),
            count(facts["cache_hits"]),
            count(facts["total_embeddings_generated"]),
            count(facts["total_tokens"]),
            _spent(facts),
            dollars(facts["total_saved_usd"]),
        )
        for name, facts in metrics["models"].items()
    ]
    if rows:
        heads = [("wide", "model"), ("n", "texts"), ("n", "found"), ("n", "computed")]
        heads += [("n", "tokens sent"), ("n", "spent"), ("n", "saved")]
        yield from section("Models", "", table(heads, rows))


def _bytes(amount: float) -> str:
    return f"{amount / 2**20:,.0f} MiB"


def _usd(amount: float) -> str:
    return dollars(Decimal(repr(amount)))


#: Title, lines (class, name, what of a sample) and how an amount is written.
_CHARTS: Any = (
    ("Hit rate", [("rate", "of the texts", lambda s: s.hit_rate)], _percent),
    (
        "Latency",
        [
            ("quick", "median", lambda s: s.median),
            ("slow", "slowest in a hundred", lambda s: s.slowest),
        ],
        seconds,
    ),
    ("Answers per second", [("answers", "answers", lambda s: s.answers)], count),
    (
        "Loads",
        [
            ("loads", "loads so far", lambda s: s.loads),
            ("resident", "models in memory", lambda s: s.resident),
        ],
        count,
    ),
    ("Memory", [("memory", "of the process", lambda s: s.memory)], _bytes),
    (
        "Cost",
        [("slow", "spent", lambda s: s.spent), ("quick", "saved", lambda s: s.saved)],
        _usd,
    ),
)
