"""How our pages look, in the light and in the dark."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f6f8; --card: #ffffff; --line: #e2e5ea; --soft: #eef0f4;
  --ink: #1a2029; --quiet: #5c6675;
  --load: #4f52c9; --computed: #c2620a; --tests: #c3cad5; --bad: #c92a2a; --good: #16803c;
  --memory: #0b8a7d; --recordings: #2b62d9; --sqlite: #2794c4; --redis: #8b46d1;
  --other: #4c8f2f; --shared: #94a0b2; --past: #68758a; --enough: #16803c14;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1116; --card: #161b22; --line: #2a313b; --soft: #1f2630;
    --ink: #e4e8ee; --quiet: #97a2b2;
    --load: #6f73ea; --computed: #ee9b3a; --tests: #424d5c; --bad: #f26d6d; --good: #4cc274;
    --memory: #2fc0b0; --recordings: #6497ff; --sqlite: #58bbe6; --redis: #b583f0;
    --other: #86c766; --shared: #6b788b; --past: #8b98ab; --enough: #4cc2741a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2.2rem 1.2rem 4rem; max-width: 70rem; background: var(--page);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
h1 { font-size: 1.5rem; font-weight: 650; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.02rem; font-weight: 650; margin: 0 0 .2rem; }
p { margin: 0; }
.quiet, .note { color: var(--quiet); }
.note { font-size: .85rem; margin: 0 0 .9rem; max-width: 52rem; }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 1.15rem 1.3rem 1.25rem; margin-top: 1.1rem;
}
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem; }
.tiles { margin-top: 1.3rem; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.tile { padding: .85rem 1rem .9rem; }
.tile b { display: block; font-size: 1.55rem; font-weight: 650; letter-spacing: -.02em; }
.tile b { line-height: 1.35; font-variant-numeric: tabular-nums; }
.tile span { font-size: .82rem; color: var(--quiet); display: block; overflow-wrap: anywhere; }
.tile .name { color: var(--ink); font-weight: 550; }
.pill { border-radius: 99px; padding: .06rem .6rem; font-size: .8rem; font-weight: 600; }
.pill { white-space: nowrap; background: var(--soft); color: var(--quiet); }
.pill.good { color: var(--good); } .pill.bad { color: var(--bad); }
.pill.unsure { color: var(--computed); }
header .pill { background: var(--card); border: 1px solid var(--line); margin-right: .25rem; }
header p { margin-top: .3rem; }
code { font: .86em/1.45 ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; }
code { overflow-wrap: anywhere; }
.key { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1.1rem; }
.key { font-size: .85rem; color: var(--quiet); white-space: nowrap; }
.key svg { width: 11px; height: 11px; border-radius: 3px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
table { font-size: .93rem; }
th { font-size: .78rem; font-weight: 550; color: var(--quiet); text-align: left; }
th, td { padding: .38rem .9rem .38rem 0; border-bottom: 1px solid var(--line); }
td { vertical-align: top; }
tr:last-child td { border-bottom: 0; }
th:last-child, td:last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
td.wide { width: 99%; min-width: 15rem; }
td .text { display: block; color: var(--quiet); font-size: .85rem; overflow-wrap: anywhere; }
footer { margin-top: 1.4rem; font-size: .82rem; color: var(--quiet); }
@media (max-width: 40rem) {
  body { padding: 1.2rem .7rem 3rem; } section { padding: 1rem .9rem; }
}
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
"""
