"""Daemon: the process in which a lab lives, started by ``harness lab up`` in a session of its own.

It tells its starter by a pipe how far it is, and is on its own from then on.  It ends in good order by ``harness lab
down``, a signal, a halt file, or because nobody used it for long; whatever else ends it, its reaper ends the parts.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

from .. import __version__, guard
from ..ending import defect_of, told_traceback
from ..errors import HarnessError, LabError, UsageError
from ..events import RunStarted, ServiceMark
from ..history import Clock
from ..ledger import FOLDER, Ledger
from ..redaction import redact_logs, secrets_of
from ..runner import RunPlan, run_started, watched_by
from ..scenario import Load, Scenario
from ..stacks.base import Environment
from ..stacks.cache import user_cache
from ..stacks.embedded import EmbeddedOptions, EmbeddedStack
from ..suite import new_run_id
from ..targets.model import Target, load_target
from ..turns import LOCK_NAME
from .book import LabHistory
from .codec import decode
from .desk import Desk
from .live import LiveLab, opened
from .order import LabOrder
from .parts import LabPlan
from .protocol import Welcome, done_line, error_line, say_line
from .sharing import share
from .state import LabFolder, LabRecord, Say, socket_place, write_holder

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Teller:
    """The pipe to whoever started the daemon; what is told to nobody is lost."""

    def __init__(self, descriptor: int) -> None:
        """Take the writing end."""
        self._descriptor = descriptor

    @property
    def open(self) -> bool:
        """Tell whether the starter still waits."""
        return self._descriptor >= 0

    def say(self, text: str) -> None:
        """Tell of progress."""
        self._write(say_line(text))

    def welcome(self, welcome: Welcome) -> None:
        """Tell that the lab is up, which is the last word."""
        self._write(done_line(welcome))
        self.close()

    def fail(self, error: HarnessError) -> None:
        """Tell that the lab did not come up, which is the last word."""
        self._write(error_line(error))
        self.close()

    def close(self) -> None:
        """Say nothing more; harmless twice."""
        if self.open:
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, line: str) -> None:
        if self.open:
            with suppress(OSError):
                os.write(self._descriptor, f"{line}\n".encode())


class Stopping:
    """What ends a daemon from outside: its start is broken off, and a lab that is up ends in good order."""

    def __init__(self) -> None:
        """Listen to the signals, within a running loop."""
        self.desk: Desk | None = None
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for by in _SIGNALS:
            loop.add_signal_handler(by, self._hear, by)

    def _hear(self, by: signal.Signals) -> None:
        if self.desk is not None:
            self.desk.end(f"by {by.name}")
        elif self._task is not None:
            self._task.cancel()


def main(order_text: str) -> None:
    """Be the daemon of one lab, from its start to its end."""
    order = decode(LabOrder, order_text)
    for descriptor in (order.lock_descriptor, order.pipe_descriptor):
        os.set_inheritable(descriptor, False)
    write_holder(order.lock_descriptor)
    import harness.faults  # noqa: F401  (fills the registry; not before it is known whom to end)

    # Not where it was started: that folder may be removed, or be on a disk that is to be unmounted.
    os.chdir("/")
    teller, folder = Teller(order.pipe_descriptor), LabFolder(order.state)
    try:
        asyncio.run(_live(order, folder, teller))
    except HarnessError as error:
        _failed(teller, folder, error)
    except asyncio.CancelledError:
        _failed(teller, folder, LabError("The lab was ended while it started.", 128 + signal.SIGTERM))
    except Exception as error:  # noqa: BLE001  (whoever started it must not wait for ever)
        told = told_traceback(error)
        print(told, file=sys.stderr, flush=True)  # noqa: T201  (daemon.log)
        # That log goes with a lab that does not come up.
        teller.say(told)
        _failed(teller, folder, defect_of(error, "Report it with its traceback above."))
    folder.remove()


def _failed(teller: Teller, folder: LabFolder, error: HarnessError) -> None:
    """End with an error: told to the starter, or kept in the log of a lab that was up and is dead from now on."""
    if teller.open:
        teller.fail(error)
        folder.remove()
    else:
        print(f"harness: {error}", file=sys.stderr, flush=True)  # noqa: T201  (daemon.log)
    raise SystemExit(error.exit_code)


async def _live(order: LabOrder, folder: LabFolder, teller: Teller) -> None:
    stopping = Stopping()
    target = load_target(order.target)
    guard.refuse_when_halted(order.reports)
    refuse_external(target)
    plan = _plan(order, target)
    try:
        plan.folder.mkdir(parents=True)
    except OSError as error:
        raise UsageError(
            f"Reports cannot be written to {order.reports} ({error.strerror}); name another folder with --reports."
        ) from error
    desk: Desk | None = None
    secrets = secrets_of(target, order.service_environment)

    def why() -> str:
        return desk.why if desk is not None and desk.why else "it did not come up"

    try:
        async with AsyncExitStack() as ending:
            async with await share(plan.lock_file, teller.say, "the lab starts"):
                clock = Clock()  # It begins before the parts do, as that of every run.
                environment = await ending.enter_async_context(
                    _stack(order, teller.say).environment(
                        target, name=plan.run, artifacts=plan.folder, environment_overrides=order.service_environment
                    )
                )
                secrets = secrets.and_known(environment.secrets)
                history = LabHistory(plan.folder, clock, plan.run)
                history.hide_all(secrets)
                started = _begun(order, plan, target, environment, history)
                ledger, months = Ledger(plan.folder / FOLDER), plan.scenario.load.months
                lab = await ending.enter_async_context(
                    opened(plan, environment, history, ledger, started, months, why, fresh=True)
                )
            desk = Desk(lab, order.max_age_seconds)
            await serve(lab, desk, folder, ledger, stopping, teller.welcome)
    finally:
        redact_logs(plan.folder, secrets)


async def serve(
    lab: LiveLab,
    desk: Desk,
    folder: LabFolder,
    ledger: Ledger,
    stopping: Stopping,
    welcome: Callable[[Welcome], None],
) -> None:
    """Let commands in until the lab is to end; ``welcome`` is called once they can come."""
    parts = lab.parts
    root = str(parts.environment.reopen["root"])
    socket = socket_place(Path(root))
    async with desk.open(socket):
        folder.write(
            LabRecord(
                name=parts.plan.name,
                pid=os.getpid(),
                started_at=parts.clock.started_at.isoformat(timespec="seconds"),
                target=parts.environment.target.name,
                folder=parts.plan.folder,
                ledger=ledger.folder,
                harness=__version__,
                root=root,
                socket=str(socket),
            )
        )
        stopping.desk = desk
        welcome(desk.welcome())
        await desk.until_ended()


def refuse_external(target: Target) -> None:
    """Raise :class:`UsageError` for parts that are somebody else's: a lab is an environment of the harness's own."""
    if target.external is not None:
        raise UsageError(
            f"The target {target.name} has an [external] table ({target.path}), and a lab starts parts of its own. "
            "Leave that table out for a lab, or walk through a run on those parts with `harness run NAME --step`."
        )


def _plan(order: LabOrder, target: Target) -> LabPlan:
    run = new_run_id(f"lab-{order.name}")
    scenario = Scenario(
        name=f"lab-{order.name}",
        claim=f"Played by hand in the lab {order.name}: every promise holds.",
        requirements=(),
        load=Load(months=target.months),
        service_environment=dict(order.service_environment),
    )
    return LabPlan(
        name=order.name,
        run=run,
        folder=order.reports / run,
        reports=order.reports,
        seed=order.seed,
        scenario=scenario,
        lock_file=user_cache() / LOCK_NAME,
    )


def _stack(order: LabOrder, say: Say) -> EmbeddedStack:
    return EmbeddedStack(
        EmbeddedOptions(
            pg_bindir=Path(order.pg_bindir) if order.pg_bindir else None,
            pg_port=order.pg_port,
            toxiproxy_url=order.toxiproxy_url,
            proxy_port=order.proxy_port,
            progress=say,
        )
    )


def _begun(order: LabOrder, plan: LabPlan, target: Target, environment: Environment, history: LabHistory) -> RunStarted:
    """Begin the history as that of every run, and return its first record."""
    as_run = RunPlan(plan.run, plan.folder, plan.scenario, target, plan.seed, "", order.pg_bindir)
    started = run_started(as_run, history.clock, environment)
    history.add(started)
    for record in watched_by(target, history.clock.now()):
        history.add(record)
    history.mark(lambda t: ServiceMark(t, "started", environment.service.pid or 0))
    return started
