"""Pages and files that are made from the code: the reference of the command line and of the scenarios, JSON Schema."""

from __future__ import annotations

import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import click

import harness.faults  # noqa: F401  (fills the registry)
from harness.cli import cli
from harness.discovery import load_scenarios
from harness.report import schema
from harness.scenario import Scenario

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
SCENARIOS = ROOT / "scenarios"
PUBLISHED = ROOT / "harness" / "report" / "schemas"
MADE = "<!-- Made by `python -m tests.docs`, which a test compares it with: change the code, then make it anew. -->"
_ABOUT_SCENARIOS = """\
Each is one claim, and how it is put to the test. A PASS proves the requirements ([requirements.md](requirements.md)).
The faults are those of [faults.md](faults.md), in the order of their injection. *alone*: nothing else plays beside it.
*needs*: what not every machine or target has. `harness run NAME` plays one, `harness run -k WORD` those that match.
[How to write one](../how-to/scenario.md)."""
_BLOCK = "\b"
"""By this character, alone on a line, click is told to leave a paragraph's lines as they are."""


def generated() -> Mapping[Path, Callable[[], str]]:
    """Return what makes the text of each file that is made from the code."""
    makers: dict[Path, Callable[[], str]] = {
        REFERENCE / "cli.md": cli_page,
        REFERENCE / "scenarios.md": scenarios_page,
    }
    for kind in schema.KINDS:
        for folder in (REFERENCE, PUBLISHED):
            makers[folder / schema.file_name(kind)] = partial(schema.schema_text, kind)
    return makers


def write(say: Callable[[str], None]) -> None:
    """Write those that are not as they should be."""
    for path, make in generated().items():
        text = make()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            say(f"written: {path.relative_to(ROOT)}")


def cli_page() -> str:
    """Return the page of all commands, their options and their help."""
    top = click.Context(cli, info_name="harness")
    commands = list(_commands(cli, top))
    rows = [(f"[`{ctx.command_path}`](#{slug(ctx.command_path)})", _short(command)) for command, ctx in commands]
    parts = [
        "# The `harness` command",
        MADE,
        *_help_blocks(cli.help or ""),
        _table(("command", "what it does"), rows),
        *(block for command, ctx in commands for block in _command_blocks(command, ctx)),
    ]
    return "\n\n".join(parts) + "\n"


def _commands(group: click.Group, ctx: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield every command below a group, in the order of names, groups before what is in them."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is None or command.hidden:
            continue
        inner = click.Context(command, info_name=name, parent=ctx)
        yield command, inner
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _short(command: click.Command) -> str:
    first = _paragraphs(command.help or "")[0] if command.help else ""
    return cell(_sentence(first))


def _sentence(paragraph: str) -> str:
    line = " ".join(paragraph.split())
    return re.split(r"(?<=\.)\s", line, maxsplit=1)[0]


def _command_blocks(command: click.Command, ctx: click.Context) -> Iterator[str]:
    yield f"## {ctx.command_path}"
    yield f"```text\n{' '.join((ctx.command_path, *command.collect_usage_pieces(ctx)))}\n```"
    yield from _help_blocks(command.help or "")
    options = [param for param in command.get_params(ctx) if isinstance(param, click.Option)]
    records = filter(None, (option.get_help_record(ctx) for option in options))
    rows = [(code(names), cell(" ".join(said.split()))) for names, said in records if "--help" not in names]
    if rows:
        yield _table(("option", "meaning"), rows)


def _help_blocks(said: str) -> Iterator[str]:
    """Yield paragraphs as they are; those whose lines click leaves alone become code."""
    for paragraph in _paragraphs(said):
        if not paragraph.startswith(f"{_BLOCK}\n"):
            yield " ".join(paragraph.split())
            continue
        lines = paragraph.removeprefix(f"{_BLOCK}\n")
        kind = "sh" if lines.startswith("harness ") else "text"
        yield f"```{kind}\n{lines}\n```"


def _paragraphs(said: str) -> Sequence[str]:
    plain = inspect.cleandoc(said.partition("\f")[0])
    return [part for part in re.split(r"\n[ \t]*\n", plain) if part.strip()]


def scenarios_page() -> str:
    """Return the page of all scenarios, by the folder of their file."""
    scenarios = load_scenarios(SCENARIOS)
    groups: dict[str, list[tuple[Path, Scenario]]] = defaultdict(list)
    for scenario in scenarios.values():
        path = scenarios.path_of(scenario)
        groups[path.relative_to(SCENARIOS).parent.as_posix()].append((path, scenario))
    parts = [
        "# Scenarios",
        MADE,
        _ABOUT_SCENARIOS,
    ]
    for folder, members in sorted(groups.items()):
        parts.append(f"## {'In no folder' if folder == '.' else folder}")
        rows = [_scenario_row(path, scenario) for path, scenario in sorted(members, key=lambda one: one[1].name)]
        parts.append(_table(("scenario", "claim", "faults", "proves", "besides"), rows))
    return "\n\n".join(parts) + "\n"


def _scenario_row(path: Path, scenario: Scenario) -> Sequence[str]:
    link = f"[`{scenario.name}`](../../{path.relative_to(ROOT).as_posix()})"
    faults = dict.fromkeys(step.fault.name for step in scenario.schedule.steps)
    needs = sorted(str(need) for need in scenario.needs - {"sql"})
    besides = [*(["alone"] if scenario.exclusive else []), *([f"needs {', '.join(needs)}"] if needs else [])]
    return (
        link,
        cell(scenario.claim),
        ", ".join(f"`{name}`" for name in faults) or "none",
        ", ".join(scenario.requirements) or "none",
        "; ".join(besides),
    )


def slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading, the first of its kind on a page."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def cell(said: str) -> str:
    """Return text for a cell of a table."""
    return said.replace("|", "\\|").replace("<", "\\<")


def code(said: str) -> str:
    """Return code for a cell of a table, where a bar ends the cell even in code."""
    return f"`{said.replace('|', chr(92) + '|')}`"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
