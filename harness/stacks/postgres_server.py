"""PostgreSQL of one environment: a cloned data directory and its postmaster, started, stopped and killed."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._wait import pause, wait_until
from ..errors import DeadlineExceeded, SetupError, UsageError
from . import reaper
from .base import StopMode
from .children import Child, tail
from .local_files import LocalFiles
from .ports import PortReservation, reserve_given_port, reserve_port
from .postgres_locator import PostgresInstallation
from .postgres_template import ADMIN_ROLE, DATABASE, SERVICE_ROLE, Template, remedy_for
from .runtime_user import RuntimeUser

PORT_OPTION = "--pg-port"
_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_PORT_TRIES = 5
_ORPHAN_SECONDS = 15.0
_STOP_SIGNALS = {StopMode.FAST: signal.SIGINT, StopMode.IMMEDIATE: signal.SIGQUIT}
_CONNECTION = "dbname={database} sslmode=disable gssencmode=disable connect_timeout=5 application_name=harness"


class PortTakenError(SetupError):
    """PostgreSQL found its port in use although it was reserved: somebody listens without asking."""


class EmbeddedPostgres:
    """The database server of one environment; see :class:`harness.stacks.base.DatabaseServer`."""

    def __init__(
        self,
        installation: PostgresInstallation,
        template: Template,
        user: RuntimeUser,
        *,
        data_dir: Path,
        log_path: Path,
        environment: Mapping[str, str],
        given_port: int | None = None,
    ) -> None:
        self._installation = installation
        self._template = template
        self._user = user
        self._data_dir = data_dir
        self._log_path = log_path
        self._environment = dict(environment)
        self._given_port = given_port
        self._port_lock: PortReservation | None = None
        self._child: Child | None = None
        self.proxy_port = 0
        """The proxy's port on 127.0.0.1, set by the stack once it is known."""

    @property
    def port(self) -> int:
        """The port on 127.0.0.1; 0 before the first start."""
        return self._port_lock.port if self._port_lock else 0

    @property
    def version_num(self) -> int:
        """``server_version_num`` of the binaries."""
        return self._installation.version_num

    @property
    def data_dir(self) -> Path:
        """PGDATA."""
        return self._data_dir

    @property
    def files(self) -> LocalFiles:
        """Its files, which are on this host."""
        return LocalFiles(self._data_dir)

    @property
    def admin_conninfo(self) -> str:
        """Direct connection string of the harness's superuser."""
        return self._conninfo(self.port)

    @property
    def proxied_admin_conninfo(self) -> str:
        """The same role through the proxy."""
        return self._conninfo(self.proxy_port)

    @property
    def psql(self) -> Path:
        """The psql beside the server's own programs."""
        return self._installation.bindir / "psql"

    @property
    def service_role(self) -> str:
        """The service's login role."""
        return SERVICE_ROLE

    @property
    def service_conninfo(self) -> str:
        """``DATABASE_URL`` of the service, by way of the proxy."""
        return self.service_url(self.proxy_port)

    def service_url(self, port: int) -> str:
        """``DATABASE_URL`` of the service by way of ``port``, without TLS, which the server does not have."""
        return (
            f"postgresql://{SERVICE_ROLE}:{self._template.service_password}@127.0.0.1:{port}/{DATABASE}?sslmode=disable"
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The passwords of both roles."""
        return self._template.passwords

    @property
    def pid(self) -> int | None:
        """The postmaster, None while it is stopped."""
        return self._child.living_pid() if self._child else None

    def clone(self) -> None:
        """Make the data directory from the template; blocking, about 0.1 s."""
        self._template.clone(self._data_dir, self._user)

    async def first_start(self) -> None:
        """Reserve a port and start; on "address in use" take another, unless the user gave it.

        Raises :class:`UsageError` for a given port that is taken, else :class:`SetupError`.
        """
        for attempt in range(_PORT_TRIES):
            if self._given_port is None:
                self._port_lock = reserve_port()
            else:
                self._port_lock = reserve_given_port(self._given_port, PORT_OPTION)
            try:
                await self._start_once()
                return
            except PortTakenError as error:
                self._port_lock.close()
                if self._given_port is not None:
                    raise UsageError(str(error)) from error
                if attempt == _PORT_TRIES - 1:
                    raise

    async def start(self) -> None:
        """Start again on the same port and wait until it is ready; harmless when running.

        Orphans of a killed postmaster keep its shared memory for a moment: it is tried again until they are
        gone.
        """
        if self.pid is not None:
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + _ORPHAN_SECONDS
        while True:
            try:
                await self._start_once()
            except SetupError as error:
                transient = isinstance(error, PortTakenError) or "shared memory block is still in use" in str(error)
                if not transient or loop.time() >= end:
                    raise
                await pause(0.1)
            else:
                return

    async def stop(self, mode: StopMode) -> None:
        """Stop and wait until the postmaster and its children are gone; killed if that takes over 30 s."""
        await self._stop(mode, _STOP_SECONDS)

    async def kill(self) -> None:
        """SIGKILL the postmaster and every backend, and wait until they are gone."""
        if self._child is not None:
            self._child.signal(signal.SIGKILL)
        # Backends have sessions of their own and outlive the postmaster for a moment; all work in PGDATA.
        await asyncio.to_thread(reaper.kill_all, self._data_dir)
        if self._child is not None:
            await self._child.wait(10.0)

    async def close(self) -> None:
        """End of the environment: stop at once, free the shared memory and the port, remove the data."""
        await self._stop(StopMode.IMMEDIATE, 3.0)
        await asyncio.to_thread(reaper.remove_shared_memory, self._data_dir)
        await asyncio.to_thread(shutil.rmtree, self._data_dir, ignore_errors=True)
        if self._port_lock is not None:
            self._port_lock.close()

    def backend_pids(self) -> Sequence[int]:
        """Pids of the postmaster's children, auxiliary processes included."""
        postmaster = self.pid
        if postmaster is None:
            return ()
        return [pid for pid in reaper.processes_of(self._data_dir) if reaper.parent_of(pid) == postmaster]

    async def _stop(self, mode: StopMode, deadline_seconds: float) -> None:
        if self._child is None:
            return
        self._child.signal(_STOP_SIGNALS[mode])
        # A stopped postmaster (SIGSTOP) acts on nothing but SIGKILL until it is continued.
        self._child.signal(signal.SIGCONT)
        if not await self._child.wait(deadline_seconds) or reaper.processes_of(self._data_dir):
            await self.kill()

    async def _start_once(self) -> None:
        log_from = self._log_path.stat().st_size if self._log_path.exists() else 0
        child = Child.spawn(
            [str(self._installation.bindir / "postgres"), "-D", str(self._data_dir), "-p", str(self.port)],
            cwd=self._data_dir,
            environment=self._environment,
            log_path=self._log_path,
            user=self._user,
        )
        self._child = child

        async def ready() -> bool:
            code = child.exit_code()
            if code is not None:
                raise self._start_error(code, log_from)
            return self._is_ready(child.pid)

        try:
            await wait_until(ready, what="PostgreSQL", deadline_seconds=_READY_SECONDS, interval_seconds=0.005)
        except DeadlineExceeded as error:
            await self.kill()
            raise SetupError(
                f"PostgreSQL {self._installation.version} did not become ready within {_READY_SECONDS:g} s. "
                f"Last lines of {self._log_path}: {tail(self._log_path)} Try again with fewer scenarios in "
                "parallel."
            ) from error

    def _is_ready(self, pid: int) -> bool:
        """Whether ``postmaster.pid`` names our very process as ready: no connection is tried before."""
        try:
            lines = (self._data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _start_error(self, code: int, log_from: int) -> SetupError:
        with self._log_path.open("rb") as log:
            log.seek(log_from)
            said = log.read().decode(errors="replace")
        if "Address already in use" in said:
            return PortTakenError(
                f"PostgreSQL could not listen on 127.0.0.1:{self.port}: the port is in use. End what "
                f"listens there (ss -ltnp 'sport = :{self.port}' shows it), give another {PORT_OPTION}, or "
                "leave it out."
            )
        last = "\n".join(said.strip().splitlines()[-12:])
        return SetupError(
            f"PostgreSQL {self._installation.version} ({self._installation.bindir}) ended with "
            f"{code} while it started in {self._data_dir} and said: {last} {remedy_for(said)}".rstrip()
        )

    def _conninfo(self, port: int) -> str:
        return (
            f"host=127.0.0.1 port={port} user={ADMIN_ROLE} password={self._template.admin_password} "
            f"{_CONNECTION.format(database=DATABASE)}"
        )
