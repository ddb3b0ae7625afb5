"""Forms that choose what a page shows of a long list; hidden until a script makes them work, and all is shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .markup import Markup, joined, raw_tag, tag, void


@dataclass(frozen=True)
class Choice:
    """A menu: shown are items whose ``data-<name>`` has the value as a word or, if ``at_least``, is no smaller."""

    name: str
    label: str
    options: Sequence[tuple[str, str]]
    """Value and text; the first means all."""
    at_least: bool = False


def filter_form(target: str, what: str, label: str, choices: Sequence[Choice]) -> Markup:
    """Make the form for the items of the element with the id ``target``: those inside it with ``data-item``."""
    search = tag("label", joined(["Search ", void("input", type="search", name="q", autocomplete="off")]))
    menus = (tag("label", joined([f"{choice.label} ", _menu(choice)])) for choice in choices)
    clear = tag("button", "Show all", type="reset")
    said = tag("span", "", role="status", class_="count", data_what=what)
    body = joined([search, *menus, clear, said])
    return raw_tag("form", body, "hidden", class_="filter", role="search", aria_label=label, data_for=target)


def _menu(choice: Choice) -> Markup:
    options = joined(tag("option", text, value=value) for value, text in choice.options)
    return raw_tag("select", options, "data-at-least" if choice.at_least else "", name=choice.name)
