"""pytest plugin: scenario files are collected as test items and go through the very same lifecycle.

``pytest scenarios -k december`` runs what ``harness run -k december`` runs: all selected scenarios start together
in one background loop, exclusive ones alone, and each item waits for its own verdict.  Only PASS passes.

The plugin does nothing unless a scenario file is collected, and imports nothing of the harness before.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .results import RunResult
    from .scenario import Scenario

_SUITE: pytest.StashKey[_Suite] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of ``harness run`` that make sense for pytest."""
    group = parser.getgroup("partition-harness")
    group.addoption("--harness-target", metavar="FILE", help="target.toml of the service under test")
    group.addoption("--harness-reports", metavar="DIR", default="reports", help="where runs are stored")
    group.addoption("--harness-seed", type=int, metavar="N", help="seed of the workload")
    group.addoption("--harness-jobs", type=int, metavar="N", help="environments at once")
    group.addoption("--harness-pg-bindir", metavar="DIR", help="use the PostgreSQL whose programs are here")
    parser.addini(
        "scenario_paths", "folders whose files are collected as scenarios", type="args", default=["scenarios"]
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Collect Python files below the scenario folders."""
    if file_path.suffix != ".py" or file_path.name.startswith("_"):
        return None
    folders = (parent.config.rootpath / folder for folder in parent.config.getini("scenario_paths"))
    if not any(file_path.is_relative_to(folder) for folder in folders):
        return None
    return ScenarioFile.from_parent(parent, path=file_path)


class ScenarioFile(pytest.File):
    """One scenario file."""

    def collect(self) -> Iterable[ScenarioItem]:
        """Import the file and yield an item a scenario."""
        import harness.faults  # noqa: F401  (fills the registry)

        from .discovery import scenarios_of

        for scenario in scenarios_of(self.path):
            yield ScenarioItem.from_parent(self, name=scenario.name, scenario=scenario)


class ScenarioItem(pytest.Item):
    """One scenario; its own text is the claim, its keywords the requirement ids."""

    def __init__(self, *, scenario: Scenario, **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.scenario = scenario
        self.extra_keyword_matches.update((scenario.claim, *scenario.requirements))

    def runtest(self) -> None:
        """Wait for the verdict; raise :class:`NotPassed` for all but PASS."""
        from .values import Verdict

        suite = _suite_of(self.session)
        reason = suite.why_skipped(self.scenario)
        if reason:
            pytest.skip(reason)
        result = suite.result(self.scenario)
        self.user_properties += [("requirement", requirement) for requirement in self.scenario.requirements]
        self.user_properties.append(("report", str(result.folder / "report.html")))
        if result.verdict is not Verdict.PASS:
            raise NotPassed(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None) -> str:
        """Show findings by event id, reasons and the command that repeats the run, instead of a traceback."""
        from .errors import HarnessError
        from .report.console import detail_lines

        if isinstance(excinfo.value, NotPassed):
            return "\n".join(line.styled + line.rest for line in detail_lines(excinfo.value.result))
        if isinstance(excinfo.value, HarnessError):
            return str(excinfo.value)
        return str(super().repr_failure(excinfo))

    def reportinfo(self) -> tuple[Path, int, str]:
        """Name the file and the scenario."""
        return self.path, 0, f"scenario {self.name}"


class NotPassed(Exception):
    """A scenario did not pass; carries its result."""

    def __init__(self, result: RunResult) -> None:
        super().__init__(f"{result.scenario.name}: {result.verdict.name}")
        self.result = result


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    """Put exclusive scenarios last, as they run."""
    items.sort(key=lambda item: isinstance(item, ScenarioItem) and item.scenario.exclusive)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End what still runs, so that an interrupted pytest leaves no environment behind."""
    suite = session.stash.get(_SUITE, None)
    if suite is not None:
        suite.close()


def _suite_of(session: pytest.Session) -> _Suite:
    from .errors import UsageError

    suite = session.stash.get(_SUITE, None)
    if suite is None:
        if hasattr(session.config, "workerinput"):
            raise UsageError(
                "Each worker of pytest-xdist would start every scenario. Run pytest without -n: scenarios run side by "
                "side in one process, and --harness-jobs says how many at once."
            )
        scenarios = [item.scenario for item in session.items if isinstance(item, ScenarioItem)]
        suite = session.stash[_SUITE] = _Suite(session.config, scenarios)
    return suite


class _Suite:
    """All selected scenarios in one background loop; a future for each result."""

    def __init__(self, config: pytest.Config, scenarios: list[Scenario]) -> None:
        from .session import REFERENCE_TARGET, Session, SessionOptions, SilentDisplay

        futures: dict[str, Future[RunResult]] = {scenario.name: Future() for scenario in scenarios}

        class Display(SilentDisplay):
            def scenario_finished(self, result: RunResult) -> None:
                futures[result.scenario.name].set_result(result)

        def path(name: str) -> Path | None:
            value = config.getoption(name)
            return Path(value) if value else None

        options = SessionOptions(
            target=path("--harness-target") or REFERENCE_TARGET,
            reports=path("--harness-reports") or Path("reports"),
            seed=config.getoption("--harness-seed"),
            jobs=config.getoption("--harness-jobs"),
            pg_bindir=path("--harness-pg-bindir"),
            scenarios=Path(config.getini("scenario_paths")[0]),
        )
        self._futures = futures
        self._scenarios = scenarios
        self._session = Session(options, Display())
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[object] | None = None
        self._thread = threading.Thread(target=self._run, name="harness-suite")
        self._thread.start()

    def why_skipped(self, scenario: Scenario) -> str:
        """Say what this machine lacks for the scenario and how to get it; empty when it can be played."""
        return self._session.why_skipped(scenario)

    def result(self, scenario: Scenario) -> RunResult:
        """Wait for one result; raises what the suite raised."""
        return self._futures[scenario.name].result()

    def close(self) -> None:
        """Cancel what still runs and wait until everything is healed and stopped."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join()

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001  (handed on to the items that wait for it)
            for future in self._pending():
                future.set_exception(_innermost(error))

    async def _main(self) -> None:
        self._task = asyncio.create_task(self._session.run(self._scenarios))
        await self._task

    def _pending(self) -> Iterator[Future[RunResult]]:
        return (future for future in self._futures.values() if not future.done())


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
