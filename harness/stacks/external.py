"""The external stack: PostgreSQL, Toxiproxy and the service were started by somebody else and outlive the runner.

::

    service ──► Toxiproxy (their proxy) ──► PostgreSQL ◄── harness, directly, as a role of its own

Nothing is started or stopped, and nothing is touched before :mod:`harness.stacks.external_checks` has passed.  The
ledger says how to open the very same handles again; a watchdog process heals when the runner vanishes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..ledger import FOLDER, Ledger, open_ledgers
from ..probes.foreign import Claim, drop_claim, external_connection, take_claim, tidy
from ..redaction import can_be_hidden, names_of
from ..targets.model import External, Target
from . import watchdog
from .base import Capability, Environment, StartTimings
from .external_checks import Found, database_key, look
from .external_parts import ExternalPostgres, ExternalService
from .toxiproxy_client import ToxiproxyClient
from .toxiproxy_process import ToxiproxyProxy

NAME = "external"
WATCHDOG_VARIABLE = "HARNESS_WATCHDOG"
"""``off`` starts no watchdog: for tests of the heal by hand."""
_HEAL_WAITS_SECONDS = 90
_WORK = "work"
"""Temporary files of a run lie in its ledger, so that whoever heals it finds them."""


class ExternalStack:
    """Opens the environment that a target's ``[external]`` describes.  See :class:`harness.stacks.base.Stack`."""

    name = NAME

    def __init__(self, *, force: bool = False) -> None:
        self._force = force

    def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Environment]:
        """Check, claim the database, yield the live handles, and give it free when everything is healed."""
        return self._environment(target, name, artifacts.resolve(), environment_overrides)

    async def preflight(self, target: Target, reports: Path) -> Found:
        """Look, change nothing, and raise :class:`UsageError` for whatever forbids a run."""
        settings = _settings(target)
        refuse_open_ledgers(settings, reports)
        return await look(target, settings, force=self._force)

    @asynccontextmanager
    async def _environment(
        self, target: Target, name: str, artifacts: Path, overrides: Mapping[str, str]
    ) -> AsyncIterator[Environment]:
        began = time.monotonic()
        if overrides:
            raise UsageError(
                f"This scenario sets {', '.join(sorted(overrides))} for the service, which the harness does not start "
                "here; leave the scenario out, or use a target with [launch]."
            )
        found = await self.preflight(target, artifacts.parent)
        ledger = Ledger(artifacts / FOLDER)
        description = describe(target, found)
        ledger.begin(name, description)
        try:
            await _claim(target, name, ledger)
        except BaseException:
            ledger.finish()
            raise
        guard = _Watchdog.start(ledger)
        workdir = artifacts / FOLDER / _WORK
        workdir.mkdir()
        try:
            yield reopen(name, description, artifacts, workdir=workdir, seconds=time.monotonic() - began)
        finally:
            shutil.rmtree(workdir, ignore_errors=True)
            done = False
            try:
                if not ledger.open_entries():
                    await release(name, description, artifacts)
                    ledger.finish()
                    done = True
            finally:
                # With anything left the watchdog is let go without a farewell: it then heals by itself.
                guard.end(farewell=done)


def describe(target: Target, found: Found) -> dict[str, Any]:
    """Return what another process needs to open the environment again; no password is in it."""
    settings = _settings(target)
    return {
        "stack": NAME,
        "target": {"name": target.name, "path": str(target.path), "url": target.url},
        "external": asdict(settings),
        "database_key": database_key(settings.database_url),
        "identity": found.facts.identity,
        "version_num": found.facts.version_num,
        "capabilities": sorted(found.capabilities),
        "proxy": list(found.proxy),
        "rows_since": found.facts.now,
        "extensions": list(found.facts.extensions),
    }


def reopen(
    name: str, description: Mapping[str, Any], artifacts: Path, *, workdir: Path | None = None, seconds: float = 0.0
) -> Environment:
    """Make the handles of a described environment; nothing is asked, so everything may be down."""
    fields = dict(description["external"])
    for key in ("database_start", "service_start"):
        fields[key] = tuple(fields[key])
    settings, known = External(**fields), description["target"]
    target = Target(
        name=known["name"],
        path=Path(known["path"]),
        launch=None,
        url=known["url"],
        allow_faults=True,
        external=settings,
    )
    host, port = str(description["proxy"][0]), int(description["proxy"][1])
    root = target.path.parent
    password, names = os.environ.get("PGPASSWORD", ""), names_of(target)
    return Environment(
        name=name,
        target=target,
        workdir=workdir or artifacts,
        artifacts=artifacts,
        capabilities=frozenset(Capability(item) for item in description["capabilities"]),
        database=ExternalPostgres(
            settings, version_num=int(description["version_num"]), proxy=(host, port), root=root, artifacts=artifacts
        ),
        proxy=ToxiproxyProxy(ToxiproxyClient(settings.toxiproxy_url), settings.proxy_name, port),
        service=ExternalService(target.url, settings, root=root, artifacts=artifacts),
        timings=StartTimings(0.0, 0.0, 0.0, 0.0, seconds),
        secrets=(password,) if can_be_hidden(password, names) else (),
        reopen=description,
        rows_since=str(description["rows_since"]),
    )


async def release(name: str, description: Mapping[str, Any], artifacts: Path) -> str:
    """Leave the healed environment as it was found: no toxic, none of the harness's rows, and free for the next.

    Returns what had to be put right besides; raises :class:`HarnessError`.
    """
    environment = reopen(name, description, artifacts)
    shutil.rmtree(artifacts / FOLDER / _WORK, ignore_errors=True)
    said = ""
    if await environment.proxy.toxics() or not await environment.proxy.is_enabled():
        await environment.proxy.cleanse()
        said = "toxics were left on the proxy and are gone"
    async with external_connection(environment.database.admin_conninfo, "give the database free") as connection:
        await tidy(connection, environment.rows_since, description["extensions"])
        await drop_claim(connection, str(description["external"]["token"]), name)
    return said


def refuse_open_ledgers(settings: External, reports: Path) -> None:
    """Raise :class:`UsageError` when a run below ``reports`` left its mark on the same database or proxy."""
    mine = (database_key(settings.database_url), (settings.toxiproxy_url, settings.proxy_name))
    for ledger in open_ledgers(reports):
        record = ledger.record
        if record is None or record.environment.get("stack") != NAME:
            continue
        theirs = record.environment["external"]
        if record.environment["database_key"] == mine[0] or (theirs["toxiproxy_url"], theirs["proxy_name"]) == mine[1]:
            raise UsageError(
                f"The run {record.run} has this database or its proxy and has not given it back. If it still runs, "
                f"wait for it; otherwise undo what it left: {heal_command(ledger)}"
            )


def heal_command(ledger: Ledger) -> str:
    """Return what to type, for a shell."""
    return f"harness heal {shlex.quote(str(ledger.folder.parent))}"


async def _claim(target: Target, name: str, ledger: Ledger) -> None:
    settings = _settings(target)
    mine = Claim(name, str(ledger.folder.parent), socket.gethostname())
    async with external_connection(settings.database_url, "claim the database") as connection:
        if not await take_claim(connection, settings.token, mine):
            raise UsageError("Another run took this database at the same moment; wait for it to end.")


def _settings(target: Target) -> External:
    if target.external is None:
        raise UsageError(f"{target.path} has no [external] table.")
    return target.external


@dataclass(frozen=True)
class _Watchdog:
    """The watchdog's process and the pipe to it; None where none was wanted."""

    process: subprocess.Popen[bytes] | None = None
    pipe_fd: int = -1

    @classmethod
    def start(cls, ledger: Ledger) -> _Watchdog:
        if os.environ.get(WATCHDOG_VARIABLE) == "off":
            return cls()
        read_fd, pipe_fd = os.pipe()
        run = str(ledger.folder.parent)
        process = subprocess.Popen(
            [
                *(sys.executable, "-I", "-S", watchdog.__file__, str(read_fd), str(ledger.folder / "watchdog.log")),
                *(sys.executable, "-m", "harness", "heal", run, "--wait", str(_HEAL_WAITS_SECONDS)),
            ],
            # From here ``-m harness`` finds the very package that runs now, installed or not.
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(read_fd,),
            start_new_session=True,
        )
        os.close(read_fd)
        return cls(process, pipe_fd)

    def end(self, *, farewell: bool) -> None:
        if self.process is None:
            return
        if farewell:
            os.write(self.pipe_fd, watchdog.FAREWELL)
        os.close(self.pipe_fd)
        if farewell:
            self.process.wait(timeout=30)
