"""How a report's drawings look; the rest is that of all our pages."""

from __future__ import annotations

from pytest_embedcache import page_style

__all__ = ["STYLE"]

STYLE = (
    page_style.STYLE
    + """\
.lane, .axis, .shares, .gate { display: block; width: 100%; overflow: hidden; }
.lanes { display: grid; grid-template-columns: minmax(5.5rem, max-content) 1fr; gap: 0 1rem; }
.lanes > div { border-bottom: 1px solid var(--line); padding: .25rem 0; min-width: 0; }
.lanes > div:nth-last-child(-n+2) { border-bottom: 0; }
.lanes b { font-weight: 600; display: block; line-height: 1.25; }
.lanes span { font-size: .78rem; color: var(--quiet); }
.lane { height: 38px; } .axis { height: 22px; }
.axis text { font-size: 11px; fill: var(--quiet); } .axis line { stroke: var(--line); }
rect.tests { fill: var(--tests); } rect.failed { fill: var(--bad); }
rect.loads { fill: var(--load); } rect.imports { fill: #00000052; }
text.on { fill: #fff; font-size: 11.5px; font-weight: 600; }
rect.computed { fill: var(--computed); } rect.memory { fill: var(--memory); }
rect.recordings { fill: var(--recordings); } rect.sqlite { fill: var(--sqlite); }
rect.redis { fill: var(--redis); } rect.other { fill: var(--other); }
rect.shared { fill: var(--shared); } rect.past { fill: var(--past); }
rect.changed { fill: var(--bad); }
.shares { height: 18px; border-radius: 6px; margin: .3rem 0 .45rem; background: var(--soft); }
.model + .model { margin-top: 1.1rem; }
.model > p:first-child { display: flex; justify-content: space-between; gap: 1rem; }
.model > p:first-child span { font-size: .85rem; white-space: nowrap; }
.model { overflow-wrap: anywhere; }
td.bar { width: 12rem; min-width: 8rem; } td.bar .shares { height: 9px; margin: .4rem 0 0; }
td.drawn { width: 34%; min-width: 13rem; }
td.sha code { overflow-wrap: normal; white-space: nowrap; }
th.sha { white-space: nowrap; }
.gate { height: 28px; } .gate .enough { fill: var(--enough); }
.gate .bound { stroke: var(--quiet); stroke-dasharray: 3 3; }
.gate .interval { stroke: currentColor; stroke-width: 2; }
.gate circle, .gate path { fill: currentColor; }
.gate.good { color: var(--good); } .gate.bad { color: var(--bad); }
.gate.unsure { color: var(--computed); }
@media (max-width: 40rem) { .lanes { gap: 0 .6rem; } }
"""
)
