"""The pictures of the documentation: a real report of a failed run, as Chromium draws it, light, dark and narrow.

``python -m bench.screenshot`` plays the scenario of the tutorial against a service that loses some of what it
drains, and writes ``docs/images/report.png``, ``report-timeline.png``, ``report-dark.png`` and ``report-phone.png``.
With the name of a stored run, or ``last``, it takes that one instead.
"""

from __future__ import annotations

import argparse
import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.report.stored import find_run

from ._browser import PHONE, Browser, Size, find_browser
from .report import DRAWN

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SCENARIO = "december-detached"
DEFECT = "drain-loses-the-last-of-a-batch"
TARGET = """\
name = "losing"
[launch]
command = ["{{python}}", "-m", "tests.selftest.defects", "{defect}"]
scram_iterations = 1
[launch.environment]
PYTHONPATH = "{root}"
DATABASE_URL = "{{database_url}}"
DLQ_URL = "sqlite:///{{workdir}}/dlq.sqlite3"
PORT = "0"
PORT_FILE = "{{port_file}}"
PARTITIONS_FROM = "2025-11"
EVENT_MAX_AGE_DAYS = "3650"
EVENT_MAX_AHEAD_DAYS = "3650"
"""


@dataclass(frozen=True)
class Picture:
    """One picture: its file, its width and height in CSS pixels, and how the page is looked at, from which part on."""

    name: str
    size: Size
    dark: bool = False
    phone: bool = False
    part: str = "body"


PICTURES = (
    Picture("report.png", (1200, 1850)),
    Picture("report-timeline.png", (1200, 900), part="#timeline"),
    Picture("report-dark.png", (1200, 900), dark=True, part="#timeline"),
    Picture("report-phone.png", PHONE, phone=True),
)


@contextmanager
def failed_run() -> Iterator[Path]:
    """Play a run that fails, and give the folder of its reports as long as they are needed."""
    place = Path(tempfile.mkdtemp(prefix="screenshot-"))
    place.chmod(0o755)
    try:
        # Played from there, so that commands and paths in the picture are those of a user, and no machine's.
        (place / "losing.toml").write_text(TARGET.format(defect=DEFECT, root=ROOT), encoding="utf-8")
        (place / "scenarios").symlink_to(ROOT / "scenarios")
        command = [sys.executable, "-m", "harness", "run", SCENARIO, "--seed", "7", "--target", "losing.toml"]
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(command, cwd=place, env={**os.environ, "PYTHONPATH": paths}, check=False)
        if done.returncode != 1:
            raise SystemExit(f"{SCENARIO} was to fail by {DEFECT} and ended with {done.returncode}.")
        yield find_run(place / "reports", "last")
    finally:
        shutil.rmtree(place)


def take(run: Path, browser: Browser, picture: Picture) -> Path:
    """Have the browser draw a window of the run's page; raises :class:`bench._browser.BrowserError`."""
    page = browser.open((run / "report.html").resolve().as_uri(), picture.size, dark=picture.dark, phone=picture.phone)
    state, _ = page.evaluate(DRAWN)
    if state != "drawn":
        raise SystemExit(f"The chart of {run} is {state}, so there is nothing to take a picture of.")
    shown = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))"
    page.evaluate(f"document.querySelector('{picture.part}').scrollIntoView(); {shown}")
    path = IMAGES / picture.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(page.call("Page.captureScreenshot", format="png")["data"]))
    return path


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("run", nargs="?", help="a stored run: a path, a name below reports, or last")
    asked = parser.parse_args().run
    program = find_browser()
    if program is None:
        raise SystemExit("No browser on PATH; on Debian: apt-get install chromium")
    if asked:
        _take_all(find_run(ROOT / "reports", asked), program)
        return
    with failed_run() as run:
        _take_all(run, program)


def _take_all(run: Path, program: str) -> None:
    # A process of the browser may still write when its first one has ended.
    emptied = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
    with emptied as folder, Browser(program, Path(folder)) as browser:
        for picture in PICTURES:
            path = take(run, browser, picture)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
