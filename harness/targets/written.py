"""Target files made of other target files: the same service with something changed, in a file that replays find."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .model import Target


def write_changed(base: Target, change: Callable[[dict[str, Any]], None], path: Path) -> Path:
    """Write the file of ``base``, as ``change`` leaves its tables, to ``path``; return it.

    Paths that the file has from its own folder stay what they are.  The base is one that is launched.
    """
    raw = tomllib.loads(base.path.read_text(encoding="utf-8"))
    for key, files in (("rules", base.observability.rules), ("dashboards", base.observability.dashboards)):
        if files:
            raw["observability"][key] = [str(one) for one in files]
    change(raw)
    # Braces of the folder's own name would be taken for placeholders.
    root = str(base.root).replace("{", "{{").replace("}", "}}")
    path.write_text("\n".join(_toml(raw, lambda text: text.replace("{root}", root))) + "\n", encoding="utf-8")
    return path


def _toml(table: Mapping[str, Any], filled: Callable[[str], str], prefix: str = "") -> list[str]:
    """Write tables of plain values, which is all that a target file has; a JSON string is a TOML string as well."""
    lines = [
        f"{json.dumps(key)} = {_value(value, filled)}" for key, value in table.items() if not isinstance(value, dict)
    ]
    for key, value in table.items():
        if isinstance(value, dict):
            name = f"{prefix}{json.dumps(key)}"
            lines += ["", f"[{name}]", *_toml(value, filled, f"{name}.")]
    return lines


def _value(value: object, filled: Callable[[str], str]) -> str:
    if isinstance(value, str):
        return json.dumps(filled(value), ensure_ascii=False)
    if isinstance(value, list):
        return f"[{', '.join(_value(item, filled) for item in value)}]"
    return json.dumps(value)
