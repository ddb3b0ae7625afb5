"""The command line as a process that hears every signal, whatever the tests themselves were started to ignore."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
_HEARS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGTERM, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
for by in sys.argv.pop(1).split():
    signal.signal(int(by), signal.SIG_IGN)
from harness.cli import main
main()
"""


def hearing(*arguments: str, deaf_to: tuple[signal.Signals, ...] = ()) -> list[str]:
    """Return the command line; it is ``deaf_to`` signals as what nohup starts is to SIGHUP."""
    return [sys.executable, "-c", _HEARS, " ".join(str(int(by)) for by in deaf_to), *arguments]


def surroundings(**extra: str) -> dict[str, str]:
    """Return the environment of a command that may be started anywhere."""
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "GITHUB_STEP_SUMMARY")}
    return {**kept, "PYTHONPATH": str(ROOT), **extra}
