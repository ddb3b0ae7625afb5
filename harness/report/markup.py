"""Small pieces of HTML.  Whatever comes in as text leaves escaped; only :class:`Markup` passes unchanged."""

from __future__ import annotations

import html
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

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


def tag(name: str, content: Content = "", /, **attributes: str) -> Markup:
    """Make one element; ``class_`` stands for ``class``, ``_`` in a name for ``-``."""
    return raw_tag(name, content, "", **attributes)


def raw_tag(name: str, content: Content, flags: str, /, **attributes: str) -> Markup:
    """Make one element that has ``flags``, attributes without a value, as well."""
    more = f" {flags}" if flags else ""
    return Markup(f"<{name}{_attributes(attributes)}{more}>{escaped(content)}</{name}>")


def void(name: str, /, **attributes: str) -> Markup:
    """Make an element that has no content and no end, such as ``input``."""
    return Markup(f"<{name}{_attributes(attributes)}>")


def _attributes(attributes: Mapping[str, str]) -> str:
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    return "".join(f' {key}="{html.escape(value, quote=True)}"' for key, value in pairs)


def separated(parts: Iterable[Content], by: Content) -> Markup:
    """Put pieces after one another, with something between any two."""
    return Markup(escaped(by).join(escaped(part) for part in parts))


def section(anchor: str, title: str, *parts: Content) -> Markup:
    """Make a part of the page with a heading that can be linked to; nothing at all when it would be empty."""
    body = joined(parts)
    return tag("section", joined([tag("h2", title), body, Markup("\n")]), id=anchor) if body else Markup("")


def table(
    titles: Sequence[str],
    rows: Iterable[Sequence[Content]],
    numbers: frozenset[int] = frozenset(),
    *,
    caption: str = "",
    heads: bool = False,
    marks: Iterable[Mapping[str, str]] = (),
    **attributes: str,
) -> Markup:
    """Make a table that scrolls sideways on a phone.

    ``numbers`` are the columns set to the right; with ``heads`` the first cell of a row is its heading.  The caption
    names the table to those who do not see it among its neighbours.  ``marks`` are attributes of the rows, in order.
    """
    none: Mapping[str, str] = {}
    marked = zip(rows, itertools.chain(marks, itertools.repeat(none)), strict=False)
    body = tag("tbody", joined(tag("tr", joined(_cells(row, numbers, heads=heads)), **mark) for row, mark in marked))
    head = tag("thead", tag("tr", joined(_titles(titles, numbers)))) if titles else Markup("")
    named = tag("caption", caption, class_="unseen") if caption else Markup("")
    label = f"{caption or 'Table'}, scrolls sideways"
    drawn = tag("table", joined([named, head, body]), **attributes)
    return tag("div", drawn, class_="scroll", tabindex="0", role="region", aria_label=label)


def _titles(titles: Sequence[str], numbers: frozenset[int]) -> Iterable[Markup]:
    for index, title in enumerate(titles):
        yield tag("th", title, scope="col", **({"class_": "number"} if index in numbers else {}))


def _cells(row: Sequence[Content], numbers: frozenset[int], *, heads: bool) -> Iterable[Markup]:
    for index, cell in enumerate(row):
        attributes = {"class_": "number"} if index in numbers else {}
        if heads and index == 0:
            yield tag("th", cell, scope="row", **attributes)
        else:
            yield tag("td", cell, **attributes)


def pairs(caption: str, rows: Iterable[tuple[str, Content]]) -> Markup:
    """Make a table of names and values."""
    return table((), rows, caption=caption, heads=True)


def navigation(links: Iterable[tuple[str, str]], sections: Iterable[Markup]) -> Markup:
    """Link to those sections of a page that are there; ``links`` are anchors with their titles."""
    opened = {part.partition(">")[0] for part in sections}
    there = [(anchor, title) for anchor, title in links if f'<section id="{anchor}"' in opened]
    entries = (tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in there)
    return tag("nav", tag("ul", joined(entries)), aria_label="Parts of this page")


def address(target: Path, folder: Path) -> str:
    """The relative URL of a file or folder, for a page that lies in ``folder``."""
    return quote(Path(os.path.relpath(target.resolve(), folder.resolve())).as_posix())


def items(rows: Iterable[Content]) -> Markup:
    """Make a list; nothing when there is nothing to list."""
    body = joined(tag("li", row) for row in rows)
    return tag("ul", body) if body else Markup("")


def folded(title: Content, content: Content, *, is_open: bool = False, **attributes: str) -> Markup:
    """Make a part that opens on a click or on Enter."""
    body = joined([tag("summary", title), content])
    return raw_tag("details", body, "open" if is_open else "", **attributes)


def badge(head: Headline, *, small: bool = False) -> Markup:
    """Show a verdict by symbol, word and colour."""
    symbol = tag("span", head.symbol, aria_hidden="true")
    classes = f"verdict {head.css}{' small' if small else ''}"
    return tag("span", joined([symbol, f" {head.word}"]), class_=classes)


def chart_area(name: str, label: str, figures: str) -> Markup:
    """Make the place of a chart and of what there is to say of it; ``figures`` says which tables have its figures."""
    state = tag("p", f"The chart needs JavaScript; {figures}.", class_="chart-state", role="status")
    place = {"class_": "scroll", "tabindex": "0", "role": "region", "aria_label": f"{label}; {figures}"}
    return joined([state, tag("div", tag("div", "", id=name), **place)])


def unseen(content: Content) -> Markup:
    """Say something to a screen reader that a symbol says to the eye."""
    return tag("span", content, class_="unseen")


def for_script(text: str) -> Markup:
    """Fit text into a ``<script>`` of data, so that nothing in it can end the element."""
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))
