"""What the page of a very long run weighs, and how long a browser takes to open it.

    python -m bench.report [--operations N] [--rounds N] [--folder FOLDER] [--screenshots FOLDER]

It makes a valid history of N operations (1,000,000), judges it, adds a finding that names every event that was under
way for five seconds, so that the page has stories to look up, writes the page, and opens it in Chromium, each time in a
process and a profile of its own.  Printed are the seconds from the start of the navigation until the chart is drawn and
shown, those of one zoom, and MiB.  Exit code 1 when the slowest opening takes more than 5 s, when the page weighs more
than 15 MiB, or when the browser complains of anything.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ._browser import DESK, Browser, Page, find_browser
from .checkers import kept

SECONDS_GOAL = 5.0
MIB_GOAL = 15.0
_NAMED_SECONDS = 5.0
DRAWN = """
new Promise((done) => {
  const look = () => {
    const state = document.documentElement.dataset.chart;
    if (!state) { setTimeout(look, 5); return; }
    requestAnimationFrame(() => requestAnimationFrame(() => done([state, performance.now() / 1000])));
  };
  look();
})
"""
_ZOOMED = """
new Promise((done) => {
  const began = performance.now();
  document.getElementById("chart").on("plotly_relayout", () => {
    requestAnimationFrame(() => requestAnimationFrame(() => done((performance.now() - began) / 1000)));
  });
  document.querySelector("[data-action=in]").click();
})
"""


@dataclass(frozen=True)
class Opened:
    """One opening: seconds until the chart was shown, seconds of a zoom, and what the browser complained of."""

    seconds: float
    zoom_seconds: float
    complaints: tuple[str, ...]


def made(operations: int, folder: Path) -> None:
    """Have the columns of a history in a run's folder, unless they are there."""
    columns = folder / "columns"
    if kept(operations, columns):
        return
    folder.mkdir(parents=True, exist_ok=True)
    maker = [sys.executable, "-m", "bench._synthetic", str(operations)]
    taker = [sys.executable, "-m", "bench.checkers", "--part", "convert", "--folder", str(columns)]
    with subprocess.Popen(maker, stdout=subprocess.PIPE) as lines:
        subprocess.run(taker, stdin=lines.stdout, stdout=subprocess.DEVNULL, check=True)
    if lines.returncode:
        raise subprocess.CalledProcessError(lines.returncode, maker)


def written(folder: Path) -> Path:
    """Judge the run, plant a finding, and write its page; prints what that took."""
    import harness.faults  # noqa: F401  (registers what the scenario names)
    from harness.checking import CheckResult, Finding
    from harness.judging import judge_folder
    from harness.report.html import HtmlReporter
    from harness.results import Waits
    from harness.values import Promise

    began = time.perf_counter()
    repeat = "harness replay synthetic"
    result = judge_folder(folder, waits=Waits(), timings={}, seconds=lambda: 1.0, repeat_command=repeat)
    run = result.data
    assert run is not None
    print(f"judged {run.sent:,} operations in {time.perf_counter() - began:.1f} s: {result.verdict.name}")
    middle = run.end / 2
    ids = tuple(each.event_id for each in run.under_way(middle, middle + _NAMED_SECONDS))
    finding = Finding(Promise.BOUNDS, f"Planted: {len(ids):,} events were under way.", ids, middle)
    result = dataclasses.replace(result, checks=(*result.checks, CheckResult("planted", findings=(finding,))))
    began = time.perf_counter()
    path = HtmlReporter().write(result, run, folder)
    print(f"written in {time.perf_counter() - began:.1f} s, with a finding that names {len(ids):,} events")
    return path


def opened(path: Path, program: str, screenshots: Path | None) -> Opened:
    """Open a page once, in a browser that knows nothing of it."""
    # A process of the browser may still write when its first one has ended.
    emptied = tempfile.TemporaryDirectory(prefix="bench-report-", ignore_cleanup_errors=True)
    with emptied as folder, Browser(program, Path(folder)) as browser:
        page = browser.open(path.as_uri())
        state, seconds = page.evaluate(DRAWN)
        zoom_seconds = page.evaluate(_ZOOMED)
        if screenshots is not None:
            _pictured(page, screenshots)
        wrong = page.complaints()
        if state != "drawn":
            said = page.evaluate("document.querySelector('.chart-state').textContent")
            wrong.append(f"the chart is {state}: {said}")
        return Opened(seconds, zoom_seconds, tuple(wrong))


def _pictured(page: Page, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(folder / f"long-run-{DESK[0]}.png")


def run(operations: int, rounds: int, folder: Path, screenshots: Path | None) -> int:
    """Measure, print, and return the exit code."""
    program = find_browser()
    if program is None:
        print("No browser on PATH; on Debian: apt-get install chromium")
        return 2
    made(operations, folder)
    path = written(folder)
    mib = path.stat().st_size / 2**20
    found = [opened(path, program, screenshots if number == 0 else None) for number in range(rounds)]
    for one in found:
        print(f"opened in {one.seconds:.2f} s, zoomed in {one.zoom_seconds:.2f} s")
    slowest = max(one.seconds for one in found)
    print(f"{mib:.2f} MiB; opened in {statistics.median(one.seconds for one in found):.2f} s, at most {slowest:.2f} s")
    wrong = [f"the browser said: {said}" for one in found for said in one.complaints]
    if slowest > SECONDS_GOAL:
        wrong.append(f"an opening took {slowest:.2f} s; {SECONDS_GOAL:g} are allowed")
    if mib > MIB_GOAL:
        wrong.append(f"the page weighs {mib:.2f} MiB; {MIB_GOAL:g} are allowed")
    for said in wrong:
        print(f"MISSED: {said}")
    return 1 if wrong else 0


def main() -> None:
    """Read the command line and run."""
    arguments = argparse.ArgumentParser(prog="bench.report", description=__doc__)
    arguments.add_argument("--operations", type=int, default=1_000_000, help="how long the run is (1000000)")
    arguments.add_argument("--rounds", type=int, default=3, help="how often the page is opened (3)")
    arguments.add_argument("--folder", type=Path, help="where the run is made, and kept (a temporary folder)")
    arguments.add_argument("--screenshots", type=Path, help="a folder for a picture of the page")
    options = arguments.parse_args()
    if options.folder is not None:
        raise SystemExit(run(options.operations, options.rounds, options.folder.resolve(), options.screenshots))
    with tempfile.TemporaryDirectory(prefix="bench-report-") as folder:
        raise SystemExit(run(options.operations, options.rounds, Path(folder), options.screenshots))


if __name__ == "__main__":
    main()
