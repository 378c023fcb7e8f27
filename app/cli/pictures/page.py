"""A picture as one HTML page that asks nothing of a network: the drawing, its notes, and the figures behind it."""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Protocol

NUMERIC = frozenset("0123456789.,-+−$%kMG ")
WIDE = 36
"""Longer cells than this may wrap."""

CSS = """
body { margin: 0 auto; max-width: 1180px; padding: 24px; background: #f6f7f9; color: #12161c;
  font: 14px/20px system-ui, sans-serif; }
figure { margin: 0 0 24px; background: #ffffff; border: 1px solid #e2e5ea; border-radius: 8px; overflow: hidden; }
svg { display: block; width: 100%; height: auto; }
svg use:hover, svg path:hover { stroke: #12161c; }
h1 { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
h2 { font-size: 15px; margin: 24px 0 8px; }
p { margin: 4px 0 16px; color: #434c59; }
div { overflow-x: auto; background: #ffffff; border: 1px solid #e2e5ea; border-radius: 8px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; line-height: 18px;
  font-variant-numeric: tabular-nums; }
th { text-align: left; font-size: 12px; color: #5f6876; white-space: nowrap; }
th, td { padding: 6px 12px; border-bottom: 1px solid #e2e5ea; }
td { white-space: nowrap; }
td.n, th.n { text-align: right; }
td.w { white-space: normal; min-width: 220px; }
tr:last-child td { border-bottom: 0; }
"""


class Described(Protocol):
    """What a page tells of a picture."""

    @property
    def title(self) -> str:
        """One line."""
        ...

    @property
    def about(self) -> str:
        """What it shows."""
        ...

    @property
    def source(self) -> str:
        """Where the figures come from."""
        ...

    @property
    def columns(self) -> Sequence[str]:
        """Of the table of figures."""
        ...

    @property
    def rows(self) -> Sequence[Sequence[str]]:
        """Its cells."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What a reader must know."""
        ...


def page(described: Described, svg: str) -> str:
    """The page; its policy allows its own style, by hash, and nothing else.

    Args:
        described: title, notes and table.
        svg: the drawing, without a style of its own.
    """
    allowed = b64encode(hashlib.sha256(CSS.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{allowed}'"
    notes = "".join(f"<li>{escape(note)}</li>" for note in described.notes)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(described.title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n"
        f"<h1>{escape(described.title)}</h1>\n<figure>{svg}</figure>\n"
        + (f"<h2>Notes</h2>\n<ul>{notes}</ul>\n" if notes else "")
        + f"<h2>The figures</h2>\n<div>{_table(described)}</div>\n<p>{escape(described.source)}</p>\n</body>\n</html>\n"
    )


def _table(described: Described) -> str:
    kinds = [_kind([row[place] for row in described.rows]) for place in range(len(described.columns))]
    head = _cells("th", described.columns, kinds)
    body = "\n".join(f"<tr>{_cells('td', row, kinds)}</tr>" for row in described.rows)
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _kind(cells: Sequence[str]) -> str:
    """The class of a column: ``n`` for numbers, which stand flush right; ``w`` for wide text, which may wrap."""
    if any(cells) and all(NUMERIC.issuperset(cell) for cell in cells):
        return "n"
    return "w" if max(map(len, cells), default=0) > WIDE else ""


def _cells(tag: str, texts: Sequence[str], kinds: Sequence[str]) -> str:
    opened = {kind: f'<{tag} class="{kind}">' if kind else f"<{tag}>" for kind in kinds}
    return "".join(f"{opened[kind]}{escape(text)}</{tag}>" for text, kind in zip(texts, kinds, strict=True))
