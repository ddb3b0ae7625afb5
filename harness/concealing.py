"""Concealing: the logs of a run or lab whose process was killed are redacted by whoever comes upon them next.

Nobody is left who knew all its secrets.  What its history names is read again: the target's file and, where there is
one, the scenario's, for the variables that the history keeps back.  What only the dead process knew is hidden by its
shape.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from .discovery import DEFAULT_SCENARIOS, load_scenarios
from .errors import HarnessError
from .events import RunStarted
from .history import FILE_NAME, history_lines
from .jsonlines import decode
from .redaction import Secrets, given_back, is_kept_back, redact_logs, secrets_of
from .targets.model import load_target


def conceal(folder: Path) -> None:
    """Redact the logs in the folder of a run whose parts have ended; raises OSError for one that cannot be written."""
    redact_logs(folder, secrets_left(folder))


def secrets_left(folder: Path) -> Secrets:
    """Return what can still be known of the secrets of a stored run; its history may be missing or broken."""
    started = _started(folder)
    if started is None:
        return secrets_of(None, {})
    target = None
    if started.target_path:
        with suppress(HarnessError):
            target = load_target(Path(started.target_path))
    return secrets_of(target, _overrides(started, folder), (started.scenario,))


def scenarios_of_run(folder: Path) -> Path:
    """Return the folder of scenarios that a run's own repeat command names, else the usual one."""
    try:
        data = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        words = shlex.split(data["repeat_command"])
        return Path(words[words.index("--scenarios") + 1])
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return DEFAULT_SCENARIOS


def _started(folder: Path) -> RunStarted | None:
    try:
        first = decode(next(history_lines(folder / FILE_NAME)).removesuffix("\n"))
    except (OSError, StopIteration, HarnessError):
        return None
    return first if isinstance(first, RunStarted) else None


def _overrides(started: RunStarted, folder: Path) -> Mapping[str, str]:
    """What the scenario set for the service, with the values of its file where the history keeps them back."""
    try:
        told = json.loads(started.scenario_json)["service_environment"]
        stored = {str(name): str(value) for name, value in told.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    if any(map(is_kept_back, stored.values())):
        with suppress(HarnessError):
            own = load_scenarios(scenarios_of_run(folder)).get(started.scenario)
            stored = given_back(stored, own.service_environment)
    return stored
