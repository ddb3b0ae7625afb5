"""Commands of a page, and what it says that they print: fenced blocks of kind ``console``.

A line that begins with ``$`` is a command; a backslash at its end has it go on in the next line.  What follows is its
output: ``…`` within a line stands for any text, a line of nothing else for any number of lines.  A block whose first
line names a file, as ``toml file=name``, is that file.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ANY = "…"
_FILE = re.compile(r"\bfile=(\S+)")
_MARK = "\x01"
_GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Command:
    """One command of a page, its line there, and the lines that it is said to print."""

    text: str
    line: int
    prints: tuple[str, ...]


@dataclass(frozen=True)
class Saved:
    """A file that the reader is told to save."""

    name: str
    text: str


@dataclass(frozen=True)
class Ended:
    """What a command came to."""

    exit_code: int
    printed: str


def steps_of(page: str) -> Iterator[Command | Saved]:
    """Yield the commands and files of a page, in its order."""
    for token in MarkdownIt().parse(page):
        if token.type != "fence":
            continue
        kind, _, rest = token.info.strip().partition(" ")
        named = _FILE.search(rest)
        if kind == "console":
            yield from _commands(token.content.splitlines(), (token.map or [0])[0] + 2)
        elif named:
            yield Saved(named[1], token.content)


def _commands(lines: Sequence[str], first: int) -> Iterator[Command]:
    text, began, prints = "", 0, list[str]()
    for number, line in enumerate(lines, first):
        if text.endswith("\\\n"):
            text += f"{line}\n"
        elif line.startswith("$ "):
            if text:
                yield Command(text.strip(), began, tuple(prints))
            text, began, prints = f"{line[2:]}\n", number, []
        elif text:
            prints.append(line.rstrip())
        else:
            raise ValueError(f"line {number}: {line!r} comes before any command; begin one with $")
    if text:
        yield Command(text.strip(), began, tuple(prints))


def as_said(command: Command, printed: str) -> bool:
    """Tell whether a command printed what the page says, line by line."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == ANY else f"{'.*'.join(map(re.escape, line.split(ANY)))}\\n" for line in command.prints
    )
    lines = "".join(f"{line.rstrip()}\n" for line in printed.splitlines())
    return re.fullmatch(pattern, lines) is not None


def play(steps: Sequence[Command | Saved], place: Path, environment: Mapping[str, str], seconds: float) -> list[Ended]:
    """Play all steps in one shell, as a reader does, and return what each command came to.

    Each gets nothing but newlines to read.  Commands after one that ended the shell, or after the time is up, are
    missing.  Files are saved where the shell is when their turn comes.
    """
    script = [_begin_of_shell()]
    for number, step in enumerate(steps):
        if isinstance(step, Saved):
            source = place / f".saved-{number}"
            source.write_text(step.text, encoding="utf-8")
            script.append(f"cp '{source}' '{step.name}'\n")
        else:
            # By printf's own escape: the shell uses that character itself and may lose a bare one.
            script.append(f"{step.text}\nprintf '\\n\\001%d\\n' $?\n")
    process = subprocess.Popen(
        ["bash", "--norc", "-c", "".join(script)],
        cwd=place,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        printed, _ = process.communicate(b"\n" * 1000, timeout=seconds)
    except subprocess.TimeoutExpired:
        # A harness heals and stops its parts first.
        os.killpg(process.pid, signal.SIGTERM)
        try:
            printed, _ = process.communicate(timeout=_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
    text = printed.decode("utf-8", "replace")
    parts = re.split(rf"\n{_MARK}(\d+)\n", text)
    return [Ended(int(code), said) for said, code in zip(parts[::2], parts[1::2], strict=False)]


def _begin_of_shell() -> str:
    """Nothing of the caller's shell: no aliases, no functions, and a failing command does not end it."""
    return "set +e\n"
