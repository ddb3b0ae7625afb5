"""Catalogue: which services are broken on purpose, how each is launched, and what must find it.

``catalogue.toml`` names a command that lists the defects as JSON and one that launches the service with one of them, so
that the harness imports nothing of theirs, and any service can be scored as the reference is.
docs/reference/selftest.md shows both files.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..discovery import compile_keyword
from ..errors import UsageError
from ..registry import Registry
from ..targets.model import load_target, read_toml
from ..targets.written import write_changed
from ..values import Promise

DEFAULT_CATALOGUE = Path("tests/selftest/catalogue.toml")
_PAGE = "docs/reference/selftest.md shows a whole one."
_LIST_SECONDS = 60.0
_TAIL = 300
"""So many characters of what a failed list command said are shown."""


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One service that is broken on purpose; the control, with promise 0, is the one that is not.

    ``scenarios`` must reveal it, ``checkers`` are meant to find it (any of them, as a finding about ``promise``).
    ``names_events``: a finding about it owes event ids; of the others a number is enough.
    """

    name: str
    promise: int
    description: str
    scenarios: tuple[str, ...] = ()
    checkers: tuple[str, ...] = ()
    names_events: bool = True
    quick: bool = False

    @property
    def is_control(self) -> bool:
        """Tell whether nothing is broken in it."""
        return self.promise == 0

    @property
    def keywords(self) -> str:
        """The text that ``-k`` looks in."""
        return " ".join((self.name, self.description, *self.scenarios, *self.checkers)).lower()


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """All defects of one service, and how to launch it with each; ``path`` is the file they were read from."""

    path: Path
    list_command: tuple[str, ...]
    launch_command: tuple[str, ...]
    target: Path
    scenarios: Path
    sources: tuple[Path, ...]
    control: Defect
    defects: tuple[Defect, ...]

    def get(self, name: str) -> Defect:
        """Look up one, the control too; raises :class:`UsageError` with the nearest names."""
        known: Registry[Defect] = Registry("defect")
        for one in (self.control, *self.defects):
            known.register(one.name)(one)
        return known.get(name)

    def select(self, names: Sequence[str], keyword: str) -> tuple[Defect, ...]:
        """Pick defects by name, by a ``-k`` expression, or all; the control is picked by its name only.

        Raises :class:`UsageError` for none.
        """
        chosen = tuple(self.get(name) for name in dict.fromkeys(names)) if names else self.defects
        if keyword:
            matches = compile_keyword(keyword)
            chosen = tuple(one for one in chosen if matches(one.keywords))
        if not chosen:
            raise UsageError(f"No defect of {self.path} matches -k {keyword!r}; it has {len(self.defects)} in all.")
        return chosen

    def write_target(self, defect: Defect, folder: Path) -> Path:
        """Write a target file that launches the service with that defect; return its path.

        Raises :class:`UsageError` when the base target is not one that is launched.
        """
        base = load_target(self.target)
        if base.launch is None:
            raise UsageError(f"{self.target} is reached by its url; a selftest launches its services by [launch].")

        def change(raw: dict[str, Any]) -> None:
            raw["name"] = defect.name
            raw["launch"]["command"] = [part.replace("{defect}", defect.name) for part in self.launch_command]

        return write_changed(base, change, folder / f"{defect.name}.toml")


def load_catalogue(path: Path) -> Catalogue:
    """Read a catalogue and have its defects listed; raises :class:`UsageError` naming file, key and remedy."""
    remedy = f"Run from the project's folder, or name one with --catalogue; {_PAGE}"
    raw = read_toml(path, "catalogue", remedy, _PAGE, UsageError)
    path = path.resolve()
    known = {"list", "launch", "folder", "target", "scenarios", "sources"}
    for key in sorted(set(raw) - known):
        raise UsageError(f"{path}: unknown key {key}; known are {', '.join(sorted(known))}. {_PAGE}")
    launch = _strings(path, raw, "launch")
    if not any("{defect}" in part for part in launch):
        raise UsageError(f"{path}: launch must have {{defect}} where the name of a defect goes. {_PAGE}")
    list_command = tuple(part.replace("{python}", sys.executable) for part in _strings(path, raw, "list"))
    defects = _listed(path, list_command, _path(path, raw, "folder", "."))
    controls = [one for one in defects if one.is_control]
    if len(controls) != 1:
        raise UsageError(
            f"{path}: the list names {len(controls)} defects of promise 0; exactly one, the control, must have it."
        )
    return Catalogue(
        path=path,
        list_command=list_command,
        launch_command=launch,
        target=_path(path, raw, "target"),
        scenarios=_path(path, raw, "scenarios"),
        sources=tuple((path.parent / one).resolve() for one in _strings(path, raw, "sources", ["."])),
        control=controls[0],
        defects=tuple(one for one in defects if not one.is_control),
    )


def _listed(path: Path, command: tuple[str, ...], folder: Path) -> tuple[Defect, ...]:
    """Run the list command and parse what it prints."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_LIST_SECONDS, check=False, encoding="utf-8"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{path}: the list command `{shown}` could not be run: {error}. {_PAGE}") from error
    if done.returncode:
        said = done.stderr.strip()[-_TAIL:] or "it said nothing"
        raise UsageError(f"{path}: the list command `{shown}` ended with {done.returncode}: {said}")
    try:
        rows = json.loads(done.stdout)
    except ValueError as error:
        raise UsageError(f"{path}: the list command `{shown}` printed no JSON: {error}. {_PAGE}") from error
    if not isinstance(rows, list):
        raise UsageError(f"{path}: the list command `{shown}` must print an array of defects. {_PAGE}")
    defects = tuple(_defect(path, row) for row in rows)
    names = [one.name for one in defects]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"{path}: the list names {name!r} twice; rename one of the two.")
    return defects


def _defect(path: Path, row: Any) -> Defect:
    try:
        one = Defect(
            name=str(row["name"]),
            promise=int(row["promise"]),
            description=str(row["description"]),
            scenarios=tuple(str(name) for name in row.get("scenarios", ())),
            checkers=tuple(str(name) for name in row.get("checkers", ())),
            names_events=bool(row.get("names_events", True)),
            quick=bool(row.get("quick", False)),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{path}: the list has an entry that is no defect ({error!r}): {row!r}. {_PAGE}") from error
    if not one.name or set(one.name) & set('/\\{}"') or one.name.startswith("."):
        raise UsageError(f"{path}: {one.name!r} cannot name a defect, since files are named after it.")
    if not one.is_control:
        if one.promise not in list(Promise):
            raise UsageError(f"{path}: {one.name} breaks promise {one.promise}, but there are only 1 to 9.")
        if not one.scenarios or not one.checkers:
            raise UsageError(f"{path}: {one.name} must name the scenarios and the checkers that have to find it.")
    return one


def _strings(path: Path, raw: Mapping[str, Any], key: str, usual: list[str] | None = None) -> tuple[str, ...]:
    value = raw.get(key, usual)
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise UsageError(f"{path}: {key} must be a list of strings. {_PAGE}")
    return tuple(value)


def _path(path: Path, raw: Mapping[str, Any], key: str, usual: str | None = None) -> Path:
    value = raw.get(key, usual)
    if not isinstance(value, str):
        raise UsageError(f"{path}: {key} must be a path, from the folder of this file. {_PAGE}")
    found = (path.parent / value).resolve()
    if not found.exists():
        raise UsageError(f"{path}: {key} = {value!r} is not there; it is looked for at {found}.")
    return found
