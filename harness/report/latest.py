"""``reports/latest/``: the newest suite's own files under paths that never change, for CI to upload.

They are copies, and no link to the suite's folder: not every archive of a CI server follows links.  Both folders lie
side by side, so what their page links to is found from either.  A suite that is about to be played clears them first:
one that is broken off leaves nothing of an older one, which would tell a stale verdict.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import UsageError

FOLDER = "latest"
FILES = ("index.html", "suite.json", "junit.xml", "summary.md")
"""What is kept there.  Paths that CI uploads: a name, once here, stays."""


def clear(reports: Path) -> None:
    """Remove the files of the suite before, and nothing else; harmless when there are none.

    Raises :class:`UsageError` for one that cannot be removed: it would pass for that of the suite to come.
    """
    for name in FILES:
        path = reports / FOLDER / name
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise UsageError(
                f"{path} is of an earlier suite and cannot be removed ({error.strerror}); remove it, or name another "
                "folder with --reports."
            ) from error


def publish(suite: Path, reports: Path) -> str:
    """Copy the files of the suite's folder; return what kept one from being copied, or nothing."""
    place = reports / FOLDER
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
