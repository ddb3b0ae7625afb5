"""Environment: the live handles of PostgreSQL, Toxiproxy, the DLQ store and the service.

A Stack starts the parts and yields an :class:`Environment`; faults, probes and the runner use only these
Protocols, so that the same fault acts on an embedded, a containerised or an external stack.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ..targets.model import Target


class Capability(enum.StrEnum):
    """What an environment lets the harness do; a fault or checker names those it needs."""

    SQL = "sql"
    FILES = "files"
    EVICT = "evict"
    KILLABLE_DATABASE = "killable-database"
    KILLABLE_SERVICE = "killable-service"
    SERVICE_LOGIN = "service-login"
    PROXIED = "proxied"
    DLQ = "dlq"
    METRICS = "metrics"
    LOGS = "logs"
    DLQ_FILE = "dlq-file"
    SMALL_DISK = "small-disk"
    SERVICE_CLOCK = "service-clock"
    MOUNT = "mount"
    IMMUTABLE = "immutable"


_REMEDIES = {
    Capability.SERVICE_LOGIN: "give the password of external.service_role, for the proxy's host and port, by "
    "PGPASSFILE or ~/.pgpass (not by PGPASSWORD, which counts for every role)",
    Capability.DLQ_FILE: "the queue must be a SQLite file of a launched service: DLQ_URL = sqlite:///… in the target",
    Capability.SMALL_DISK: "it is mounted when the harness runs as root and the scenario sets HARNESS_SMALL_DISK_MB",
    Capability.MOUNT: "run the harness as root, in a container with the capability SYS_ADMIN",
    Capability.IMMUTABLE: "run the harness as root (CAP_LINUX_IMMUTABLE), with TMPDIR on ext4, xfs or btrfs",
    Capability.SERVICE_CLOCK: "apt-get install faketime, and the scenario must set HARNESS_CLOCK",
}


def remedy(missing: frozenset[Capability]) -> str:
    """How to get what an environment lacks, as far as there is a way; empty otherwise."""
    return "; ".join(f"{one}: {_REMEDIES[one]}" for one in sorted(missing) if one in _REMEDIES)


class StopMode(enum.StrEnum):
    """How PostgreSQL is told to stop (PostgreSQL docs, "Shutting Down the Server")."""

    FAST = "fast"
    IMMEDIATE = "immediate"


class ToxicKind(enum.StrEnum):
    """The toxics of Toxiproxy 2.12."""

    LATENCY = "latency"
    BANDWIDTH = "bandwidth"
    SLOW_CLOSE = "slow_close"
    TIMEOUT = "timeout"
    RESET_PEER = "reset_peer"
    SLICER = "slicer"
    LIMIT_DATA = "limit_data"


class Direction(enum.StrEnum):
    """Toxiproxy's streams: ``upstream`` is client to server, ``downstream`` server to client."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@dataclass(frozen=True)
class Toxic:
    """One toxic on the database proxy; ``attributes`` are Toxiproxy's own names and integers."""

    name: str
    kind: ToxicKind
    direction: Direction
    attributes: tuple[tuple[str, int], ...] = ()


HARNESS_PREFIX = "harness"
"""Begins the names of what the harness makes beside the root of :class:`Files`."""


class Files(Protocol):
    """The files below one root folder, PGDATA for PostgreSQL, wherever the part they belong to runs.

    Paths are relative to the root, with slashes: ``base/5/1259``; ``""`` is the root itself, and ``../harness…`` is
    something of the harness's own beside it.  Any other way out of the root is refused.  What is made belongs to the
    owner of the root, since root may be the one who writes.

    Each method blocks, so long work is done in a thread; each could be one program run in a container.  What is not
    there raises FileNotFoundError, what the system refuses another OSError, what the harness may not do
    :class:`harness.errors.FaultError`.
    """

    def absolute(self, path: str) -> str:
        """Return the path as the part itself knows it, for a statement or for a person."""

    def exists(self, path: str) -> bool:
        """Tell whether there is such a file or folder."""

    def size(self, path: str) -> int:
        """Return a file's size in bytes, 0 when there is none."""

    def read(self, path: str, offset: int = 0, length: int = -1) -> bytes:
        """Return ``length`` bytes from ``offset`` on, all for -1, fewer where the file ends."""

    def write(self, path: str, content: bytes) -> None:
        """Make a file hold exactly ``content``, durably; whoever has it open sees the same file.

        It is made if there is none.
        """

    def patch(self, path: str, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Overwrite each piece of a file at its offset, durably and in place; nothing else of it changes."""

    def rename(self, path: str, other: str) -> None:
        """Give a file or folder another name, whose file goes; descriptors stay with it."""

    def remove(self, path: str) -> None:
        """Remove a file; harmless when there is none."""

    def mode(self, path: str) -> int:
        """Return the permission bits."""

    def set_mode(self, path: str, mode: int) -> None:
        """Set the permission bits."""

    def make_folder(self, path: str) -> None:
        """Make a folder that only its owner enters; raises FileExistsError when something is there."""

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; harmless when there is none, an OSError when anything is in it."""

    def remove_tree(self, path: str) -> None:
        """Remove a folder with all in it; harmless when there is none, refused where a file system is mounted."""

    def copy_tree(self, source: str, target: str) -> None:
        """Copy all that is in one folder into another that exists, owners and modes as they are."""

    def tree_bytes(self, path: str) -> int:
        """Return how much room the files below a folder take on disk pages."""

    def mounted(self, path: str) -> bool:
        """Tell whether a file system is mounted at the folder."""

    def mount_small(self, path: str, size_bytes: int) -> None:
        """Mount a file system of that size at a folder; raises FaultError without the right to.

        It is the only way to a full disk that harms nobody else: PostgreSQL has no quota of its own, and a limit on
        file sizes (RLIMIT_FSIZE) is another error (EFBIG) and would end the server at its next WAL file.
        """

    def unmount(self, path: str) -> None:
        """Unmount what is mounted at the folder; harmless when nothing is."""

    def fill(self, path: str) -> int:
        """Write zeros to the end of a file until its file system takes no byte more; return how many.

        Refused unless the file's folder is where that file system is mounted, so that no disk of others is filled.
        """


class DatabaseServer(Protocol):
    """The PostgreSQL of an environment, reached directly and not through the proxy."""

    @property
    def version_num(self) -> int:
        """``server_version_num``, e.g. 180006."""

    @property
    def files(self) -> Files:
        """The files of PGDATA; raises :class:`harness.errors.FaultError` where the harness cannot reach them."""

    @property
    def admin_conninfo(self) -> str:
        """Direct libpq connection string of the harness's own login role (a superuser)."""

    @property
    def proxied_admin_conninfo(self) -> str:
        """The same role through the proxy, to see the database as the service sees it."""

    @property
    def psql(self) -> Path:
        """The psql that came with this PostgreSQL; it may not exist."""

    @property
    def service_role(self) -> str:
        """The login role of the service, ``slm_user``."""

    @property
    def service_conninfo(self) -> str:
        """What the service itself connects with: its own role and password, by way of the proxy."""

    @property
    def pid(self) -> int | None:
        """The postmaster, None while it is stopped."""

    async def start(self) -> None:
        """Start again on the same port and data directory and wait until it is ready; harmless when running."""

    async def stop(self, mode: StopMode) -> None:
        """Stop and wait until the postmaster is gone; harmless when stopped."""

    async def kill(self) -> None:
        """SIGKILL the postmaster and every backend, and wait until they are gone."""

    def backend_pids(self) -> Sequence[int]:
        """Pids of the postmaster's children as the operating system lists them."""


class DatabaseProxy(Protocol):
    """The Toxiproxy proxy between the service and PostgreSQL."""

    @property
    def port(self) -> int:
        """The port on 127.0.0.1 that the service connects to."""

    async def add(self, toxic: Toxic) -> None:
        """Add one toxic; raises :class:`harness.errors.FaultError` with Toxiproxy's answer."""

    async def remove(self, name: str) -> None:
        """Remove a toxic by name; harmless when there is none."""

    async def toxics(self) -> Sequence[str]:
        """Names of the toxics that Toxiproxy itself reports."""

    async def disable(self) -> None:
        """Close the listener and every connection; harmless when disabled."""

    async def enable(self) -> None:
        """Listen again on the same port; harmless when enabled."""

    async def is_enabled(self) -> bool:
        """Ask Toxiproxy."""

    async def cleanse(self) -> None:
        """Remove every toxic in the safe order (disable, remove, enable) and leave the proxy enabled."""


class ServiceProcess(Protocol):
    """The service under test as a process."""

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT`` of the present process."""

    @property
    def metrics_url(self) -> str:
        """Full URL of the metrics page."""

    @property
    def pid(self) -> int | None:
        """The process, None while it is down."""

    @property
    def log_path(self) -> Path:
        """File with everything the process has printed, over all its lives."""

    async def start(self) -> None:
        """Start it (again) and wait until it listens; raises :class:`harness.errors.SetupError`."""

    async def kill(self) -> None:
        """SIGKILL and wait."""

    async def terminate(self, timeout_seconds: float = 30.0) -> int:
        """SIGTERM, wait, and return the exit code; SIGKILL after the time-out."""


@dataclass(frozen=True)
class StartTimings:
    """What the start of an environment took, by part; parts overlap, so they do not add up to the total."""

    clone_seconds: float
    postgres_seconds: float
    toxiproxy_seconds: float
    service_seconds: float
    total_seconds: float


@dataclass(frozen=True)
class Environment:
    """Everything a run may touch.  Handles are live; the dataclass itself never changes.

    ``workdir`` is temporary and dies with the environment; ``artifacts`` is kept with the run's report.
    """

    name: str
    target: Target
    workdir: Path
    artifacts: Path
    capabilities: frozenset[Capability]
    database: DatabaseServer
    proxy: DatabaseProxy
    service: ServiceProcess
    timings: StartTimings
    dlq_file: Path | None = None
    """The SQLite file of the service's queue, where the harness can reach it."""
    clock_file: Path | None = None
    """The file by which libfaketime sets the service's clock, where the scenario asked for one."""
    secrets: tuple[str, ...] = field(repr=False, default=())
    """Passwords and tokens that every artifact must be redacted of."""
    reopen: Mapping[str, Any] = field(default_factory=dict)
    """What another process needs to open the same handles again, as JSON and without passwords: for the ledger."""
    rows_since: str = ""
    """Rows recorded before this moment (of the database's clock) are somebody else's; "" where there are none."""


class Stack(Protocol):
    """How to start the parts."""

    name: str

    def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Environment]:
        """Start everything, yield the live environment, and leave nothing behind.

        ``environment_overrides`` are extra environment variables for the service.  Raises
        :class:`harness.errors.SetupError` or :class:`harness.errors.UsageError`.
        """
