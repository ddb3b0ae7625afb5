"""Hiding: no password of an environment in what its lab leaves behind."""

from __future__ import annotations

from pathlib import Path

from ..history import History
from ..runner import redact_logs
from ..stacks.base import Environment


def hide_in_history(history: History, environment: Environment) -> None:
    """Have every later line of a history redacted."""
    history.hide(environment.secrets)


def hide_in_logs(folder: Path, environment: Environment) -> None:
    """Rewrite the logs in a folder, whose writers have ended, where they hold a secret."""
    redact_logs(folder, environment.secrets)
