"""``harness run --keep``: the environment of a scenario that did not pass stays up as a lab.

What stops: the load.  The run has been judged, and what is sent afterwards would be no part of it.  What stays: the
parts as the run left them, its history (in a copy that goes on, so that what was judged stays as it was judged), its
ledger.

The damage is healed, as in every run: the verdict is that of a run that heals and looks for recovery, and ``--keep``
must not change what is played.  What psql shows is what the checkers read.  A fault whose heal failed is on in the lab
as well, and each of the others can be injected again by the command that is printed.

The whole command runs in a process of its own, which prints to the same terminal, and lives on as the daemon when
something is kept; the command that was typed only waits for its exit code.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from ..errors import HarnessError, UsageError
from ..gate import decide_suite
from ..results import RunResult, SuiteResult
from ..scenario import Scenario
from ..stacks.base import Environment, Stack
from ..targets.model import Target
from ..values import Verdict

if TYPE_CHECKING:
    from ..display import Display
    from ..judges import Judges
    from ..session import Session

VARIABLE = "HARNESS_KEEPER"
"""Names the descriptors of the process that plays: where its exit code goes, and where it sees its starter die."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PLAYER = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); sys.argv[:] = ['harness', *sys.argv[2:]]; "
    "from harness.cli import main; main()"
)


def keep_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--keep`` to a command that plays scenarios."""
    text = "Leave the environment of the first scenario that does not pass up as a lab."
    return click.option("--keep", is_flag=True, expose_value=False, callback=_asked, help=text)(command)


def _asked(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Play in a process that can live on, or, in that process, remember to keep."""
    given = os.environ.pop(VARIABLE, "")
    if given:
        code, life = (int(number) for number in given.split(","))
        _KEEPERS.append(Keeper(code, life))
    elif value and not ctx.resilient_parsing:
        _supervise(sys.argv[1:])


def _supervise(arguments: Sequence[str]) -> NoReturn:
    """Have the command played by another process, and end with its exit code as soon as that is known."""
    code_reading, code_writing = os.pipe()
    life_reading, life_writing = os.pipe()
    path = [str(Path(entry or ".").resolve()) for entry in sys.path]
    player = subprocess.Popen(
        [sys.executable, "-c", _PLAYER, json.dumps(path), *arguments],
        env={**os.environ, VARIABLE: f"{code_writing},{life_reading}"},
        pass_fds=(code_writing, life_reading),
        # Its own session: it outlives this one, and hears the terminal's Ctrl-C by being told of it.
        start_new_session=True,
    )
    os.close(code_writing)
    os.close(life_reading)
    for by in _FORWARDED:
        signal.signal(by, lambda number, _: player.send_signal(number))
    with os.fdopen(code_reading, "rb") as told:
        said = told.read()
    if said:
        player.returncode = 0  # It lives on; nobody here waits for it.
        raise SystemExit(int(said))
    code = player.wait()
    os.close(life_writing)
    raise SystemExit(code if code >= 0 else 128 - code)


@dataclass(frozen=True)
class Parked:
    """An environment that outlived its run, until it is known what becomes of it; ``ending`` ends it.

    ``overrides`` are the variables of its service as the scenario has them, which no history tells whole.
    """

    run: str
    environment: Environment
    overrides: Mapping[str, str]
    ending: AsyncExitStack


class Keeper:
    """Parks environments until their runs are judged, and keeps the first that did not pass."""

    def __init__(self, code_descriptor: int, life_descriptor: int) -> None:
        """Take the ends of two pipes: one for the exit code, one that ends with whoever started this process."""
        from ..judges import Judges

        for descriptor in (code_descriptor, life_descriptor):
            os.set_inheritable(descriptor, False)
        self._code = code_descriptor
        self._life = life_descriptor
        self._parked: dict[str, Parked] = {}
        self._going: set[asyncio.Task[None]] = set()
        self.kept: tuple[Parked, RunResult] | None = None
        self.judges = Judges()
        """Of this command's own, since they must be gone before it lets go of its terminal."""

    def watch_starter(self) -> None:
        """End as by SIGTERM when whoever started this process is gone, within a running loop."""
        loop = asyncio.get_running_loop()

        def gone() -> None:
            loop.remove_reader(self._life)
            os.kill(os.getpid(), signal.SIGTERM)

        loop.add_reader(self._life, gone)

    def park(self, parked: Parked) -> None:
        """Hold an environment whose run has come to its end."""
        self._parked[parked.run] = parked

    def judged(self, result: RunResult) -> None:
        """Keep the environment of a run that did not pass, if none is kept; end every other one."""
        mine = self._parked.pop(result.run, None)
        # A run that was measured again stands for the one before it.
        before = self._parked.pop(result.run.removesuffix("-again"), None)
        if mine is not None and self.kept is None and result.verdict is not Verdict.PASS:
            self.kept, mine = (mine, result), None
        for one in (mine, before):
            if one is not None:
                task = asyncio.get_running_loop().create_task(one.ending.aclose())
                self._going.add(task)

    async def settle(self) -> None:
        """Wait until everything that is not kept has ended."""
        for parked in list(self._parked.values()):
            await parked.ending.aclose()
        self._parked.clear()
        while self._going:
            await self._going.pop()

    async def close(self) -> None:
        """End everything."""
        await self.settle()
        if self.kept is not None:
            (parked, _), self.kept = self.kept, None
            await parked.ending.aclose()

    def let_go(self, exit_code: int, log: Path) -> None:
        """Tell the exit code, and leave terminal and pipes to those who wait for them."""
        self.judges.close()
        asyncio.get_running_loop().remove_reader(self._life)
        sys.stdout.flush()
        sys.stderr.flush()
        nothing = os.open(os.devnull, os.O_RDONLY)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for descriptor, stream in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(descriptor, stream)
        os.close(nothing)
        os.close(output)
        os.chdir("/")
        with suppress(OSError):
            os.write(self._code, str(exit_code).encode())
        os.close(self._code)
        os.close(self._life)


_KEEPERS: list[Keeper] = []
"""That of this process, if it is one that may live on."""


class KeepingStack:
    """A stack whose environments outlive runs that came to their end; see :class:`harness.stacks.base.Stack`."""

    def __init__(self, stack: Stack, mine: Keeper) -> None:
        """Start by another stack."""
        self._stack = stack
        self._keeper = mine
        self.name = stack.name

    def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Environment]:
        """Start everything; what a run that broke off leaves is ended as usual."""
        return self._environment(target, name, artifacts, environment_overrides)

    @asynccontextmanager
    async def _environment(
        self, target: Target, name: str, artifacts: Path, overrides: Mapping[str, str]
    ) -> AsyncIterator[Environment]:
        async with AsyncExitStack() as ending:
            started = self._stack.environment(target, name=name, artifacts=artifacts, environment_overrides=overrides)
            environment = await ending.enter_async_context(started)
            yield environment
            self._keeper.park(Parked(name, environment, overrides, ending.pop_all()))


def refuse_external(target: Target) -> None:
    """Raise :class:`UsageError` for parts that outlive their run anyway."""
    if target.external is not None:
        raise UsageError(
            f"--keep is for environments that the harness starts; the parts of {target.path} outlive the run by "
            "themselves. Leave the option out."
        )


def display_of(display: Display) -> Display:
    """Return the display for a session of this process: one that tells the keeper as well."""
    if not _KEEPERS:
        return display
    from ..display import Displays
    from .kept import Verdicts

    return Displays(display, Verdicts(_KEEPERS[0]))


def judges_of() -> Judges | None:
    """Return the judges for a session of this process, None for those that it makes itself."""
    return _KEEPERS[0].judges if _KEEPERS else None


async def played(
    session: Session,
    finished: Callable[[SuiteResult], None],
    stream: TextIO,
    scenarios: Sequence[Scenario],
    *,
    full: bool,
) -> SuiteResult:
    """Play a session; when something is kept, tell its end here, and return never: the process is a daemon then.

    How to reach what is kept is printed to ``stream``.
    """
    if not _KEEPERS:
        return await session.run(scenarios, full=full)
    mine = _KEEPERS[0]
    refuse_external(session.target)
    mine.watch_starter()
    session.suite_runner.through(lambda stack: KeepingStack(stack, mine))
    try:
        suite = await session.run(scenarios, full=full)
        await mine.settle()
        if mine.kept is None:
            return suite
        finished(suite)
        code = int(decide_suite(suite))
        try:
            from .kept import live_on

            await live_on(mine, code, stream)
        except HarnessError as error:
            click.echo(f"harness: the environment could not be kept: {error}", err=True)
        raise SystemExit(code)
    finally:
        await mine.close()
        mine.judges.close()
