"""``reports/latest/``: the newest suite's own files under paths that never change, for CI to upload.

They are copies, and no link to the suite's folder: not every archive of a CI server follows links.  Both folders lie
side by side, so what their page links to is found from either.  A suite that is about to be played clears them first:
one that is broken off leaves nothing of an older one, which would tell a stale verdict.

A folder of that name may be somebody else's.  The harness's own is known by its ``suite.json``, which is therefore the
first file that is written there and the last that is removed.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from ..errors import UsageError

FOLDER = "latest"
FILES = ("suite.json", "index.html", "junit.xml", "summary.md")
"""What is kept there.  Paths that CI uploads: a name, once here, stays."""
_MARK = FILES[0]


def clear(reports: Path) -> None:
    """Remove the files of the suite before, and nothing else; harmless when there are none.

    Raises :class:`UsageError` where files of these names are not the harness's or cannot be removed: they would pass
    for those of the suite to come.
    """
    place = reports / FOLDER
    there = [name for name in FILES if os.path.lexists(place / name)]
    if not there and not place.is_symlink():
        return
    if place.is_symlink() or not _is_ours(place):
        raise UsageError(
            f"{place} is where the newest suite's files go, and is somebody else's folder or a link; move it away, or "
            "name another folder with --reports."
        )
    for name in reversed(there):
        try:
            (place / name).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"{place / name} is of an earlier suite and cannot be removed ({error.strerror}); remove it, or name "
                "another folder with --reports."
            ) from error


def publish(suite: Path, reports: Path) -> str:
    """Copy the files of the suite's folder; return what kept one from being copied, or nothing."""
    place = reports / FOLDER
    if not (suite / _MARK).is_file():
        return f"{place} stays empty, since {suite / _MARK} could not be written."
    try:
        place.mkdir(exist_ok=True)
        for name in FILES:
            if (suite / name).is_file():
                part = place / f".{name}.part"
                shutil.copyfile(suite / name, part)
                part.replace(place / name)
    except OSError as error:
        return f"{place} could not be written ({error.strerror}); the reports are in {suite}."
    return ""


def _is_ours(place: Path) -> bool:
    try:
        data = json.loads((place / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and {"schema_version", "suite", "runs"} <= data.keys()
