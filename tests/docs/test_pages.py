"""The pages of the documentation: made from the code and up to date, linked from the index, and no link is dead."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from harness import checkers as _checkers  # noqa: F401  (fills the registry)
from harness.checking import CHECKERS
from harness.cli import cli
from harness.discovery import load_scenarios

from . import links, pages

DOCS = pages.ROOT / "docs"
INDEX = DOCS / "README.md"


@pytest.mark.parametrize("path", pages.generated(), ids=lambda path: path.relative_to(pages.ROOT).as_posix())
def test_what_is_made_from_the_code_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages.generated()[path](), "make it anew: python -m tests.docs"


def test_every_command_and_every_option_is_on_the_page_of_the_command_line() -> None:
    page = (pages.REFERENCE / "cli.md").read_text(encoding="utf-8")

    def look(command: click.Command, name: str) -> None:
        assert f"\n## {name}\n" in page
        for param in command.params:
            for option in param.opts if isinstance(param, click.Option) and not param.hidden else ():
                assert option in page, f"{name} {option}"
        if isinstance(command, click.Group):
            for inner in command.commands.values():
                look(inner, f"{name} {inner.name}")

    for command in cli.commands.values():
        look(command, f"harness {command.name}")


def test_every_scenario_and_every_claim_is_on_the_page_of_the_scenarios() -> None:
    page = (pages.REFERENCE / "scenarios.md").read_text(encoding="utf-8")
    scenarios = load_scenarios(pages.SCENARIOS)
    assert len(scenarios) > 50
    for name, scenario in scenarios.items():
        assert f"[`{name}`]" in page
        assert pages.cell(scenario.claim) in page


def test_every_requirement_that_a_scenario_proves_is_told() -> None:
    page = (pages.REFERENCE / "requirements.md").read_text(encoding="utf-8")
    proved = {one for scenario in load_scenarios(pages.SCENARIOS).values() for one in scenario.requirements}
    assert not [one for one in sorted(proved) if f"\n| {one} |" not in page]


def test_every_checker_has_a_row() -> None:
    page = (pages.REFERENCE / "checkers.md").read_text(encoding="utf-8")
    assert not [name for name in CHECKERS if f"\n| `{name}` |" not in page]


@pytest.mark.parametrize("path", links.tracked_pages(), ids=lambda path: path.relative_to(pages.ROOT).as_posix())
def test_every_link_leads_somewhere(path: Path) -> None:
    assert list(links.dead_links(path)) == []


def test_every_page_is_linked_from_the_index_or_from_an_index_that_it_links() -> None:
    found = links.linked_pages(INDEX)
    for inner in [page for page in found if page.name == "README.md" and page.is_relative_to(DOCS)]:
        found |= links.linked_pages(inner)
    every = {path for path in links.tracked_pages() if path.is_relative_to(DOCS)} - {INDEX}
    assert {path.relative_to(DOCS).as_posix() for path in every - found} == set()


def test_a_dead_link_and_a_dead_anchor_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "ROOT", tmp_path)
    (tmp_path / "other.md").write_text('# A `b` (c), d\n\n## Twice\n\n## Twice\n\n<a id="mine"></a>\n')
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n[a](other.md) [b](other.md#a-b-c-d) [c](other.md#twice-1) [d](other.md#mine) [e](#page)\n"
        "[f](https://example.org/x#y) `[g](gone.md)`\n\n```\n[h](gone.md)\n```\n\n"
        "| x |\n|---|\n| [i](gone.md) |\n\n[j](other.md#thrice) [k](#nowhere) ![l](gone.png) [m](../out.md)\n"
    )
    dead = [said.split(": ")[1] for said in links.dead_links(page)]
    assert dead == ["gone.md", "other.md#thrice", "#nowhere", "gone.png", "../out.md"]
