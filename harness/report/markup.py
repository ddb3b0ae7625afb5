"""Small pieces of HTML.  Whatever comes in as text leaves escaped; only :class:`Markup` passes unchanged."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from .summary import Headline


class Markup(str):
    """HTML that this project wrote itself."""

    __slots__ = ()


Content = str | Markup


def escaped(content: Content) -> Markup:
    """Escape text; leave markup."""
    return content if isinstance(content, Markup) else Markup(html.escape(content, quote=True))


def joined(parts: Iterable[Content]) -> Markup:
    """Put pieces after one another."""
    return Markup("".join(escaped(part) for part in parts))


def tag(name: str, content: Content = "", **attributes: str) -> Markup:
    """Make one element; ``class_`` stands for ``class``, ``_`` in a name for ``-``."""
    pairs = (
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"' for key, value in attributes.items()
    )
    return Markup(f"<{name}{''.join(pairs)}>{escaped(content)}</{name}>")


def section(anchor: str, title: str, *parts: Content) -> Markup:
    """Make a part of the page with a heading that can be linked to; nothing at all when it would be empty."""
    body = joined(parts)
    return tag("section", joined([tag("h2", title), body, Markup("\n")]), id=anchor) if body else Markup("")


def table(titles: Sequence[str], rows: Iterable[Sequence[Content]], numbers: frozenset[int] = frozenset()) -> Markup:
    """Make a table that scrolls sideways on a phone; ``numbers`` are the columns set to the right."""

    def cells(kind: str, row: Sequence[Content]) -> Markup:
        return joined(
            tag(kind, cell, class_="number") if index in numbers else tag(kind, cell) for index, cell in enumerate(row)
        )

    head = tag("thead", tag("tr", cells("th", titles))) if titles else Markup("")
    body = tag("tbody", joined(tag("tr", cells("td", row)) for row in rows))
    return tag(
        "div",
        tag("table", joined([head, body])),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="Table, scrolls sideways",
    )


def pairs(rows: Iterable[tuple[str, Content]]) -> Markup:
    """Make a table of names and values."""
    body = joined(tag("tr", joined([tag("th", name, scope="row"), tag("td", value)])) for name, value in rows)
    return tag("div", tag("table", tag("tbody", body)), class_="scroll")


def items(rows: Iterable[Content]) -> Markup:
    """Make a list; nothing when there is nothing to list."""
    body = joined(tag("li", row) for row in rows)
    return tag("ul", body) if body else Markup("")


def folded(title: Content, content: Content, *, is_open: bool = False) -> Markup:
    """Make a part that opens on a click or on Enter."""
    state = " open" if is_open else ""
    return Markup(f"<details{state}>{tag('summary', title)}{escaped(content)}</details>")


def badge(head: Headline, *, small: bool = False) -> Markup:
    """Show a verdict by symbol, word and colour."""
    symbol = tag("span", head.symbol, aria_hidden="true")
    classes = f"verdict {head.css}{' small' if small else ''}"
    return tag("span", joined([symbol, f" {head.word}"]), class_=classes)


def for_script(text: str) -> Markup:
    """Fit text into a ``<script>`` of data, so that nothing in it can end the element."""
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
