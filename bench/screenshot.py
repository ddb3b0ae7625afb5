"""The pictures of the documentation: a real report of a failed run, as Chromium draws it, light, dark and narrow.

``python -m bench.screenshot`` plays the scenario of the tutorial against a service that drops a field of what it
drains, and writes ``docs/images/report.png``, ``report-dark.png`` and ``report-phone.png``.  With the name of a stored
run, or ``last``, it takes that one instead.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.doctor import BROWSERS
from harness.report.stored import find_run

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "images"
SCENARIO = "december-detached"
DEFECT = "drain-drops-a-field"
TARGET = """\
name = "dropping"
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
LIGHT, DARK = 1, 0


@dataclass(frozen=True)
class Picture:
    """One picture: its file, the window in CSS pixels, and Chromium's number for the scheme of colours."""

    name: str
    width: int
    height: int
    scheme: int


PICTURES = (
    Picture("report.png", 1200, 1100, LIGHT),
    Picture("report-dark.png", 1200, 1100, DARK),
    Picture("report-phone.png", 500, 1000, LIGHT),
)


@contextmanager
def failed_run() -> Iterator[Path]:
    """Play a run that fails, and give the folder of its reports as long as they are needed."""
    place = Path(tempfile.mkdtemp(prefix="screenshot-"))
    place.chmod(0o755)
    try:
        target = place / "dropping.toml"
        target.write_text(TARGET.format(defect=DEFECT, root=ROOT), encoding="utf-8")
        command = [sys.executable, "-m", "harness", "run", SCENARIO, "--seed", "7", "--target", str(target)]
        done = subprocess.run([*command, "--reports", str(place / "reports")], cwd=ROOT, check=False)
        if done.returncode != 1:
            raise SystemExit(f"{SCENARIO} was to fail by {DEFECT} and ended with {done.returncode}.")
        yield find_run(place / "reports", "last")
    finally:
        shutil.rmtree(place)


def take(run: Path, picture: Picture) -> Path:
    """Have Chromium draw the run's page; raises CalledProcessError, and ends the program where there is no browser."""
    browser = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit("No browser on PATH; on Debian: apt-get install chromium")
    path = IMAGES / picture.name
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chromium-") as profile:
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        command += [f"--user-data-dir={profile}", "--hide-scrollbars", "--virtual-time-budget=15000"]
        command += [f"--window-size={picture.width},{picture.height}"]
        command += [f"--blink-settings=preferredColorScheme={picture.scheme}", f"--screenshot={path}"]
        subprocess.run(
            [*command, (run / "report.html").resolve().as_uri()], check=True, capture_output=True, timeout=120
        )
    return path


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("run", nargs="?", help="a stored run: a path, a name below reports, or last")
    asked = parser.parse_args().run
    if asked:
        _take_all(find_run(ROOT / "reports", asked))
        return
    with failed_run() as run:
        _take_all(run)


def _take_all(run: Path) -> None:
    for picture in PICTURES:
        path = take(run, picture)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
