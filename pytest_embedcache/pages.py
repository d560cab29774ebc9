"""The parts of which our pages are made; what is given to them is text, unless it says HTML."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pytest_embedcache.words import in_html

__all__ = ["frame", "section", "table", "tiled"]


def frame(title: str, body: str, *, style: str, policy: str) -> str:
    """A whole document; `title` and `body` are HTML, `policy` is what it may ask for and run."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def tiled(tiles: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    """Figures side by side: name, value and note of each; the name is HTML."""
    yield '<div class="tiles">'
    for name, value, note in tiles:
        yield f'<div class="tile"><span class="name">{name}</span><b>{in_html(value)}</b>'
        yield f"<span>{in_html(note)}</span></div>"
    yield "</div>"


def section(title: str, note: str, content: Iterable[str]) -> Iterator[str]:
    """A card; all of it is HTML."""
    yield f"<section><h2>{title}</h2>"
    if note:
        yield f'<p class="note">{note}</p>'
    yield from content
    yield "</section>"


def table(heads: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """`heads` are (class, words) of the columns; cells are HTML."""
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f'<th class="{kind}">{words}</th>' for kind, words in heads)
    yield "</tr></thead><tbody>"
    for row in rows:
        cells = zip(heads, row, strict=True)
        yield "<tr>" + "".join(f'<td class="{k}">{cell}</td>' for (k, _), cell in cells) + "</tr>"
    yield "</tbody></table></div>"
