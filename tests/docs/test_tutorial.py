"""The tutorial, played as it is written: each command, in order, in one shell, ends and prints as the page says.

The commands that install download for a while.  ``HARNESS_TUTORIAL=install`` has them done for real, before a release;
otherwise a Python and a tox that do nothing but lead to the environment of this test stand in for them.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .consoles import Command, Saved, as_said, play, steps_of
from .pages import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
README = ROOT / "README.md"
INSTALL = "HARNESS_TUTORIAL"
SECONDS = 900.0
_PYTHON = """\
#!/bin/sh
[ "$1 $2" = "-m venv" ] || exec {python} "$@"
mkdir -p "$3/bin"
printf '#!/bin/sh\\n' > "$3/bin/pip"
cp {tox} "$3/bin/tox"
chmod 755 "$3/bin/pip" "$3/bin/tox"
"""
_TOX = """\
#!/bin/sh
[ "$1 $2 $3 $4" = "run -e scenarios --" ] || exit 64
shift 4
mkdir -p .tox/scenarios/bin
printf '#!/bin/sh\\nexec {python} -m harness "$@"\\n' > .tox/scenarios/bin/harness
chmod 755 .tox/scenarios/bin/harness
printf 'export PATH="%s/.tox/scenarios/bin:$PATH"\\n' "$PWD" > .tox/scenarios/bin/activate
exec .tox/scenarios/bin/harness run "$@"
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that PostgreSQL's user may enter."""
    path = Path(tempfile.mkdtemp(prefix="tutorial-test-", dir="/tmp"))
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def steps() -> list[Command | Saved]:
    return list(steps_of(PAGE.read_text(encoding="utf-8")))


def script(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def surroundings(place: Path) -> dict[str, str]:
    """A reader's machine: a display whose browser notes what it opened, and the address of the repository."""
    tools = place / "tools"
    tools.mkdir()
    script(tools / "browser", f'#!/bin/sh\necho "$1" >> {place}/opened\n')
    environment = {
        **{key: value for key, value in os.environ.items() if not key.startswith(("TOX_", "PYTEST_", "COV_"))},
        "REPOSITORY": str(ROOT),
        "BROWSER": str(tools / "browser"),
        "TMPDIR": str(place),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "COLUMNS": "200",
    }
    for name in ("GITHUB_STEP_SUMMARY", "HARNESS_KEEP_RUNS", "PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(name, None)
    if os.environ.get(INSTALL) != "install":
        python = shlex.quote(sys.executable)
        script(tools / "tox", _TOX.format(python=python))
        script(tools / "python3", _PYTHON.format(python=python, tox=shlex.quote(str(tools / "tox"))))
        environment["PATH"] = f"{tools}:{environment['PATH']}"
    return environment


def test_each_command_of_the_tutorial_ends_and_prints_as_the_page_says(place: Path) -> None:
    told = steps()
    commands = [step for step in told if isinstance(step, Command)]
    ended = play(told, place, surroundings(place), SECONDS)
    for command, end in zip(commands, ended, strict=False):
        where = f"{PAGE.name}:{command.line}: {command.text}\n"
        assert end.exit_code == 0, f"{where}ended with {end.exit_code}:\n{end.printed}"
        said = "\n".join(command.prints)
        assert as_said(command, end.printed), f"{where}is said to print\n{said}\nbut printed\n{end.printed}"
    assert len(ended) == len(commands), f"{commands[len(ended)].text} never ended"
    opened = (place / "opened").read_text().split()
    assert opened
    assert opened[0].endswith("/report.html")
    assert Path(opened[0].removeprefix("file://")).is_file()


def test_from_a_clone_to_the_report_of_a_failure_it_takes_three_commands() -> None:
    commands = [step.text for step in steps() if isinstance(step, Command)]
    assert [command.split()[0] for command in commands[:3]] == ["git", "python3", ".venv/bin/tox"]
    assert commands[0].startswith("git clone ")
    assert "december-" in commands[2]
    assert "--open" in commands[2]


def test_the_commands_that_install_are_those_of_the_readme() -> None:
    commands = [step.text for step in steps() if isinstance(step, Command)]
    assert "python3 -m venv .venv && .venv/bin/pip install tox" in README.read_text(encoding="utf-8")
    assert commands[1].replace(" --quiet", "") == "python3 -m venv .venv && .venv/bin/pip install tox"
    assert commands[2].startswith(".venv/bin/tox run -e scenarios -- ")


def test_what_a_page_says_is_compared_line_by_line() -> None:
    (one, saved, two) = steps_of(
        "```console\n$ echo a && \\\n  echo b\na\n…\nb … d\n```\n\n```toml file=x.toml\nname = 1\n```\n\n"
        "```sh\nnot run\n```\n\n```console\n$ true\n```\n"
    )
    assert one == Command("echo a && \\\n  echo b", 2, ("a", "…", "b … d"))
    assert saved == Saved("x.toml", "name = 1\n")
    assert two == Command("true", 18, ())
    assert isinstance(one, Command)
    assert as_said(one, "a\nb c d\n")
    assert as_said(one, "a\nx\n\ny\nb  d  \n")
    assert not as_said(one, "a\nb c d\nmore\n")
    assert not as_said(one, "b c d\n")
    assert isinstance(two, Command)
    assert as_said(two, "")
    assert not as_said(two, "said something\n")


def test_commands_share_a_shell_and_their_ends_are_told_apart(tmp_path: Path) -> None:
    page = (
        "```console\n$ mkdir inner && cd inner\n$ X=1; false\n```\n\n```txt file=f\nhello\n```\n\n"
        '```console\n$ cat f; echo $X\nhello\n1\n$ read line; echo "[$line]"\n[]\n$ exit 3\n$ echo never\n```\n'
    )
    told = list(steps_of(page))
    ended = play(told, tmp_path, dict(os.environ), 30.0)
    assert [end.exit_code for end in ended] == [0, 1, 0, 0]
    commands = [step for step in told if isinstance(step, Command)]
    assert [as_said(command, end.printed) for command, end in zip(commands, ended, strict=False)] == [True] * 4
