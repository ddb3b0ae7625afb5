"""Handles of parts that somebody else started: a PostgreSQL and a service, known by address, files and commands.

Nothing here is asked when a handle is made, so that a heal can open them while everything is down.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from .._wait import pause, wait_until
from ..errors import DeadlineExceeded, FaultError, SetupError
from ..targets.model import External
from . import reaper
from .base import StopMode
from .children import Child, tail
from .local_files import LocalFiles
from .runtime_user import RuntimeUser, caller

_READY_SECONDS = 60.0
_STOP_SECONDS = 30.0
_ORPHAN_SECONDS = 15.0
_START_SECONDS = 60.0
_STOP_SIGNALS = {StopMode.FAST: signal.SIGINT, StopMode.IMMEDIATE: signal.SIGQUIT}


def living(pid: int | None) -> bool:
    """Tell whether a process runs; a zombie, which nobody here can wait for, does not."""
    if pid is None or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    if not Path(f"/proc/{pid}").exists():
        return not Path("/proc/self").exists()
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in ("Z", "X")


def pid_in(path: Path) -> int | None:
    """Return the process that a pid file names, None when there is none or it has ended."""
    try:
        pid = int(path.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if living(pid) else None


async def gone(pid: int, seconds: float) -> bool:
    """Wait until a process has ended."""

    async def ended() -> bool:
        return not living(pid)

    try:
        await wait_until(ended, what=f"process {pid} to end", deadline_seconds=seconds, interval_seconds=0.005)
    except DeadlineExceeded:
        return False
    return True


class ExternalPostgres:
    """A database server of somebody else; see :class:`harness.stacks.base.DatabaseServer`."""

    def __init__(
        self, settings: External, *, version_num: int, proxy: tuple[str, int], root: Path, artifacts: Path
    ) -> None:
        self._settings = settings
        self._version_num = version_num
        self._proxy = proxy
        self._root = root
        self._log_path = artifacts / "postgres.log"

    @property
    def version_num(self) -> int:
        """``server_version_num`` as the run found it."""
        return self._version_num

    @property
    def data_dir(self) -> Path:
        """PGDATA; raises :class:`FaultError` where the target does not give it."""
        if not self._settings.data_dir:
            raise FaultError("The target gives no external.data_dir, so no file of PostgreSQL can be touched.")
        return Path(self._settings.data_dir)

    @property
    def files(self) -> LocalFiles:
        """Its files, where the data directory is on this host; raises :class:`FaultError` as ``data_dir`` does."""
        return LocalFiles(self.data_dir)

    @property
    def admin_conninfo(self) -> str:
        """The target's ``database_url``; libpq finds the password."""
        return make_conninfo(self._settings.database_url, application_name="harness", connect_timeout=5)

    @property
    def proxied_admin_conninfo(self) -> str:
        """The same role through the proxy."""
        host, port = self._proxy
        return make_conninfo(self.admin_conninfo, host=host, hostaddr=None, port=port)

    @property
    def psql(self) -> Path:
        """Whichever the caller has."""
        return Path("psql")

    @property
    def service_role(self) -> str:
        """The service's login role."""
        return self._settings.service_role

    @property
    def service_conninfo(self) -> str:
        """The service's role through the proxy; libpq finds its password."""
        parts = {
            key: value for key, value in conninfo_to_dict(self.proxied_admin_conninfo).items() if key != "password"
        }
        return make_conninfo("", **{**parts, "user": self.service_role})

    @property
    def pid(self) -> int | None:
        """The postmaster by its pid file, None while it is stopped, or where the data directory is not given."""
        return pid_in(self.data_dir / "postmaster.pid") if self._settings.data_dir else None

    async def start(self) -> None:
        """Start as it was started before (``postmaster.opts``), or by ``database_start``, and wait until ready."""
        loop = asyncio.get_running_loop()
        end = loop.time() + _ORPHAN_SECONDS
        while self.pid is None:
            try:
                await self._start_once()
            except SetupError as error:
                # Orphans of a killed postmaster keep its shared memory for a moment.
                if "shared memory block is still in use" not in str(error) or loop.time() >= end:
                    raise
                await pause(0.1)
        await self._until_ready(None)

    async def stop(self, mode: StopMode) -> None:
        """Stop and wait until the postmaster and its children are gone; killed if that takes over 30 s."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, _STOP_SIGNALS[mode])
            # A stopped postmaster (SIGSTOP) acts on nothing but SIGKILL until it is continued.
            os.kill(pid, signal.SIGCONT)
            if await gone(pid, _STOP_SECONDS) and not self._server_processes():
                return
        await self.kill()

    async def kill(self) -> None:
        """SIGKILL the postmaster and every backend, and wait until they are gone."""

        async def none_left() -> bool:
            pids = {*self._server_processes(), *([self.pid] if self.pid is not None else [])}
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            return not pids

        try:
            await wait_until(none_left, what="PostgreSQL to be gone", deadline_seconds=10.0, interval_seconds=0.005)
        except DeadlineExceeded as error:
            raise FaultError(f"PostgreSQL in {self.data_dir} could not be killed: {error}.") from error

    def backend_pids(self) -> Sequence[int]:
        """Pids of the postmaster's children, auxiliary processes included."""
        postmaster = self.pid
        return [pid for pid in self._server_processes() if postmaster and reaper.parent_of(pid) == postmaster]

    def _server_processes(self) -> list[int]:
        """Processes of this server: they work in its data directory and run the program that a postmaster runs.

        The program is asked for, since a shell of somebody who looks around there is none of ours to kill.
        """
        return [
            pid for pid in reaper.processes_of(self.data_dir) if _program(pid).startswith("postgres") and living(pid)
        ]

    async def _start_once(self) -> None:
        self._forget_zombie()
        command, owner = list(self._settings.database_start), caller()
        by_hand = not command
        if by_hand:
            command, owner = self._former_command(), _owner_of(self.data_dir)
        kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ}
        child = Child.spawn(
            command,
            cwd=self.data_dir if by_hand else self._root,
            environment=kept | {"LC_ALL": "C"},
            log_path=self._log_path,
            user=owner,
        )
        await self._until_ready(child)

    async def _until_ready(self, child: Child | None) -> None:
        async def ready() -> bool:
            code = child.exit_code() if child is not None else 0
            if code:
                raise SetupError(
                    f"PostgreSQL in {self.data_dir} ended with {code} while it was started again "
                    f"({shlex.join(map(str, child.process.args)) if child else ''}): {tail(self._log_path)}"  # type: ignore[arg-type]
                )
            lines = self._pid_file_lines()
            return self.pid is not None and len(lines) >= 8 and lines[7].strip() == "ready"

        try:
            await wait_until(ready, what="PostgreSQL", deadline_seconds=_READY_SECONDS, interval_seconds=0.01)
        except DeadlineExceeded as error:
            raise SetupError(
                f"PostgreSQL in {self.data_dir} was not ready within {_READY_SECONDS:g} s; see its log and "
                f"{self._log_path}."
            ) from error

    def _forget_zombie(self) -> None:
        """Remove the pid file of a postmaster that is a zombie: PostgreSQL would take it for a living one.

        A killed one stays that for good where its parent (a container's process 1, say) never waits for it.
        """
        lines = self._pid_file_lines()
        if lines and lines[0].strip().isdigit() and _is_zombie(int(lines[0])) and not self._server_processes():
            (self.data_dir / "postmaster.pid").unlink(missing_ok=True)

    def _pid_file_lines(self) -> list[str]:
        try:
            return (self.data_dir / "postmaster.pid").read_text().splitlines()
        except OSError:
            return []

    def _former_command(self) -> list[str]:
        try:
            return shlex.split((self.data_dir / "postmaster.opts").read_text())
        except OSError as error:
            raise SetupError(
                f"{self.data_dir}/postmaster.opts cannot be read ({error.strerror}), so it is not known how to start "
                "PostgreSQL again; give external.database_start in the target file."
            ) from error


class ExternalService:
    """A service of somebody else; see :class:`harness.stacks.base.ServiceProcess`."""

    def __init__(self, url: str, settings: External, *, root: Path, artifacts: Path) -> None:
        self._url = url.rstrip("/")
        self._settings = settings
        self._root = root
        self._artifacts = artifacts

    @property
    def base_url(self) -> str:
        """The URL of the target file."""
        return self._url

    @property
    def metrics_url(self) -> str:
        """The metrics page: beside the service unless the target says otherwise."""
        return self._settings.metrics_url or f"{self._url}/metrics"

    @property
    def pid(self) -> int | None:
        """The process by ``service_pid_file``, None while it is down or where nobody told."""
        return pid_in(Path(self._settings.service_pid_file)) if self._settings.service_pid_file else None

    @property
    def log_path(self) -> Path:
        """A file that only the start command writes: the log belongs to whoever started the service."""
        return self._artifacts / "service-start.log"

    async def start(self) -> None:
        """Run ``service_start`` and wait until the service listens; harmless when it runs."""
        if self.pid is None:
            if not self._settings.service_start:
                raise FaultError(f"The service at {self._url} cannot be started: external.service_start is not given.")
            child = Child.spawn(
                list(self._settings.service_start),
                cwd=self._root,
                environment=dict(os.environ),
                log_path=self.log_path,
            )
            if not await child.wait(_START_SECONDS) or child.exit_code() != 0:
                raise SetupError(
                    f"external.service_start ended with {child.exit_code()}: {tail(self.log_path)} It must start the "
                    "service in the background, write external.service_pid_file, and end with 0."
                )
        await self._until_listening()

    async def kill(self) -> None:
        """SIGKILL and wait."""
        pid = self._own_pid()
        os.kill(pid, signal.SIGKILL)
        await gone(pid, 10.0)

    async def terminate(self, timeout_seconds: float = 30.0) -> int:
        """SIGTERM and wait; SIGKILL after the time-out.  The exit code is its parent's to know: 0."""
        pid = self._own_pid()
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)
        if not await gone(pid, timeout_seconds):
            await self.kill()
        return 0

    def _own_pid(self) -> int:
        pid = self.pid
        if pid is None:
            raise FaultError(f"No living process is in external.service_pid_file of the service at {self._url}.")
        return pid

    async def _until_listening(self) -> None:
        parts = urlsplit(self._url)
        host, port = parts.hostname or "127.0.0.1", parts.port or (443 if parts.scheme == "https" else 80)

        async def listens() -> bool:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), 2.0)
            except (OSError, TimeoutError):
                return False
            writer.close()
            return self.pid is not None

        try:
            await wait_until(listens, what=f"{self._url} to listen", deadline_seconds=_START_SECONDS)
        except DeadlineExceeded as error:
            raise SetupError(f"The service was started, but {error}; see {self.log_path} and its own log.") from error


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:
        return ""


def _owner_of(path: Path) -> RuntimeUser:
    """Whoever owns the data directory runs its server."""
    stat = path.stat()
    return RuntimeUser(f"uid {stat.st_uid}", stat.st_uid, stat.st_gid, switches=stat.st_uid != os.geteuid())
