"""Examples in the documentation: commands and options exist, files are valid, code runs, paths are those that stay."""

from __future__ import annotations

import json
import re
import shlex
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from markdown_it import MarkdownIt

from harness.cli import cli
from harness.fault import FAULTS, Fault, fault_from_json, fault_to_json
from harness.report import base, latest, schema
from harness.scenario import Scenario
from tests.unit import report_samples as samples

from .examples import FAULT_MODULE, FAULT_NAME, HOW_TO, code_of, documented_fault
from .links import tracked_pages
from .pages import ROOT


@dataclass(frozen=True)
class Block:
    """A fenced block: its page, its line, and its kind with what else stands there."""

    page: Path
    line: int
    kind: str
    text: str


def blocks(*pages: Path) -> Iterator[Block]:
    for page in pages:
        for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
            if token.type == "fence":
                yield Block(page, (token.map or [0])[0] + 1, token.info.strip(), token.content)


def harness_lines(page: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield commands of the harness in a page's shell blocks: their line, and their words without comments."""
    for block in blocks(page):
        if block.kind.split(" ")[0] not in ("sh", "console"):
            continue
        # A command that goes on in the next line is one, and keeps the lines after it in their places.
        text = re.sub(r"\\\n(.*)\n", r" \1\n\n", block.text)
        for number, line in enumerate(text.splitlines(), block.line + 1):
            command = re.split(r"\s\|\s|;|\s>\s", line.removeprefix("$ ").strip())[0]
            # On the page of the command line an example's meaning follows after two spaces.
            command = re.split(r"\s{2,}(?!-)|\s#", command)[0]
            if command.startswith("harness "):
                yield number, shlex.split(command)[1:]


def unknown_in(words: list[str]) -> str:
    """Say what of a command the command line does not know; nothing if it knows all."""
    command: click.Command = cli
    known = {"-h", "--help", "--version"}
    for word in words:
        if word == "--":
            # What follows is another program's.
            break
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.commands.get(word)
            if found is None:
                return f"command {word}"
            command = found
            known |= {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        elif word.startswith("-") and len(word) > 1 and word.split("=")[0] not in known:
            return f"option {word} of {command.name}"
    return ""


@pytest.mark.parametrize("page", tracked_pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_of_an_example_exists(page: Path) -> None:
    found = [(line, unknown_in(words)) for line, words in harness_lines(page)]
    assert [f"{page.name}:{line}: there is no {what}" for line, what in found if what] == []


def test_examples_are_found_and_a_wrong_one_is_seen() -> None:
    readme = list(harness_lines(ROOT / "README.md"))
    assert len(readme) > 10
    assert unknown_in(["run", "x", "--open"]) == ""
    assert unknown_in(["rum", "x"]) == "command rum"
    assert unknown_in(["lab", "psql", "--", "-c", "x"]) == ""
    assert unknown_in(["lab", "psql", "-c", "x"]) == "option -c of psql"
    assert unknown_in(["run", "--opne"]) == "option --opne of run"


CI = [block for block in blocks(HOW_TO / "ci.md") if block.kind.startswith("yaml")]


def runs_in(data: Any) -> Iterator[str]:
    """Yield every shell line of a workflow of GitHub or a pipeline of GitLab."""
    if isinstance(data, dict):
        for key, value in data.items():
            if key == "run":
                yield from str(value).splitlines()
            elif key in ("script", "before_script"):
                yield from value
            else:
                yield from runs_in(value)
    elif isinstance(data, list):
        for item in data:
            yield from runs_in(item)


@pytest.mark.parametrize("block", CI, ids=lambda block: block.kind.partition("file=")[2])
def test_each_example_for_ci_is_yaml_whose_commands_the_harness_takes(block: Block) -> None:
    data = yaml.safe_load(block.text)
    lines = list(runs_in(data))
    played = [line.partition(" -- ")[2] for line in lines if " -e scenarios" in line]
    scored = [line.partition(" -- ")[2] for line in lines if " -e selftest" in line]
    assert played
    assert scored
    for command, said in [*(("run", one) for one in played), *(("selftest", one) for one in scored)]:
        words = shlex.split(re.sub(r"\$\{\{.*?\}\}|\$\w+/\$\w+", "1/4", said))
        cli.commands[command].make_context(command, words)


def test_the_examples_for_ci_are_those_of_github_and_gitlab() -> None:
    github, gitlab = (yaml.safe_load(block.text) for block in CI)
    jobs = github["jobs"]
    # YAML 1.1 takes the word on for true.
    assert {"pull_request", "schedule"} <= set(github[True])
    for job in jobs.values():
        assert job["runs-on"]
        assert job["timeout-minutes"] > 0
        uses = [step.get("uses", "").partition("@")[0] for step in job["steps"]]
        assert uses[0] == "actions/checkout"
        upload = job["steps"][uses.index("actions/upload-artifact")]
        assert upload["if"] == "always()", "the reports of a failed suite are what one wants"
        assert upload["with"]["path"] == "reports/"
    shards = jobs["quarter"]["strategy"]["matrix"]["shard"]
    assert shards == [f"{number}/{len(shards)}" for number in range(1, len(shards) + 1)]
    artifacts = gitlab[".harness"]["artifacts"]
    assert artifacts["when"] == "always"
    assert artifacts["reports"]["junit"] == "reports/latest/junit.xml"
    for name in ("quarter", "whole"):
        assert gitlab[name]["extends"] == ".harness"
        assert gitlab[name]["rules"]


@pytest.mark.parametrize("page", tracked_pages(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_path_that_is_said_to_stay_is_one_that_does(page: Path) -> None:
    named = set(re.findall(r"reports/latest/([\w.-]+)", page.read_text(encoding="utf-8")))
    assert named <= set(latest.FILES)


def test_every_kind_of_event_is_told() -> None:
    page = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    definitions = schema.schema_of("events")["$defs"].values()
    kinds = [kind for one in definitions for kind in one["properties"].get("event", {}).get("enum", ())]
    assert len(kinds) == 10
    assert not [kind for kind in kinds if f"\n| `{kind}` |" not in page]


def test_every_property_of_junit_is_told(tmp_path: Path) -> None:
    base.write_all(samples.result_of(samples.PASSED), None, tmp_path)
    page = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    names = set(re.findall(r'<property name="([\w-]+)"', (tmp_path / "junit.xml").read_text(encoding="utf-8")))
    assert len(names) >= 7
    assert not [name for name in names if f"`{name}`" not in page]


def test_the_scenario_of_the_how_to_is_one() -> None:
    space: dict[str, Any] = {}
    exec(code_of(HOW_TO / "scenario.md"), space)
    assert isinstance(space["SCENARIO"], Scenario)
    assert Scenario.from_json(json.dumps(space["SCENARIO"].to_json())) == space["SCENARIO"]


@pytest.fixture
def example() -> Iterator[types.ModuleType]:
    """The module of the how-to page, as if it lay beside the other faults, and gone afterwards."""
    with documented_fault() as module:
        yield module


def test_the_fault_of_the_how_to_is_one(example: types.ModuleType) -> None:
    fault: Fault = example.RevokeInsert()
    assert fault_from_json(fault_to_json(fault)) == fault
    assert type(fault).__doc__
    for word in ("Effect: ", "Versions: ", "Radius: "):
        assert word in " ".join(str(type(fault).__doc__).split())
    assert FAULT_NAME in set(FAULTS)


def test_the_fault_of_the_how_to_is_gone_afterwards() -> None:
    with documented_fault():
        pass
    assert FAULT_NAME not in set(FAULTS)
    assert FAULT_MODULE not in sys.modules


def test_a_schema_is_printed_by_the_command_that_the_page_names() -> None:
    page = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    for kind in schema.KINDS:
        assert f"`harness schema {kind}`" in page
        assert CliRunner().invoke(cli, ["schema", kind]).exit_code == 0
