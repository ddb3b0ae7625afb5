"""The embedded stack: PostgreSQL, Toxiproxy and the service as processes of this machine, nothing else needed.

::

    service ──► Toxiproxy (proxy "postgres") ──► PostgreSQL ◄── harness, directly, as its own role

All three start at once: the proxy's port is reserved beforehand, so the service can be told of it before
anything listens there, and its own imports, the longest part, overlap with everything else.
"""

from __future__ import annotations

import asyncio
import enum
import errno
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..errors import HarnessError, SetupError, UsageError
from ..redaction import redact_logs, secrets_of
from ..targets.model import Target
from . import host, reaper, runner_root, service_extras
from .attached import AttachedService
from .base import Capability, Environment, StartTimings
from .ports import PortReservation, reserve_given_port, reserve_port
from .postgres_locator import PostgresInstallation, locate
from .postgres_server import EmbeddedPostgres
from .postgres_template import Template, prepare_template
from .runtime_user import RuntimeUser, runtime_user
from .service_process import LaunchedService
from .toxiproxy_binary import obtain_binary
from .toxiproxy_client import ToxiproxyClient, ToxiproxyError
from .toxiproxy_process import ToxiproxyProxy, ToxiproxyServer

PROXY_NAME = "postgres"

A = TypeVar("A")
B = TypeVar("B")


def _silent(line: str) -> None:
    """No progress wanted."""


@dataclass(frozen=True)
class EmbeddedOptions:
    """What a user may choose; every None means: find or choose it.

    ``progress`` gets one line each time something long begins (the first build of Toxiproxy).
    """

    pg_bindir: Path | None = None
    pg_port: int | None = None
    toxiproxy_url: str | None = None
    proxy_port: int | None = None
    progress: Callable[[str], None] = _silent


@dataclass(frozen=True)
class Prepared:
    """What environments of targets with the same SCRAM iterations share: programs found or built, and the template."""

    user: RuntimeUser
    installation: PostgresInstallation
    template: Template
    toxiproxy: Path | None


class EmbeddedStack:
    """Starts environments; any number at once.  See :class:`harness.stacks.base.Stack`."""

    name = "embedded"

    def __init__(self, options: EmbeddedOptions | None = None) -> None:
        self._options = options or EmbeddedOptions()
        self._prepared: dict[int, Prepared] = {}
        self._guard = threading.Lock()

    def prepare(self, target: Target) -> Prepared:
        """Find or make everything that is made once; blocking, long the first time, then about 20 ms.

        Raises :class:`UsageError` or :class:`SetupError`.
        """
        with self._guard:
            iterations = target.scram_iterations
            if iterations not in self._prepared:
                user = runtime_user()
                root = runner_root.acquire(user)
                try:
                    self._prepared[iterations] = self._prepare(user, root.path, iterations)
                except OSError as error:
                    raise _explained(error, "prepare the embedded stack") from error
                finally:
                    runner_root.release()
            return self._prepared[iterations]

    def environment(
        self, target: Target, *, name: str, artifacts: Path, environment_overrides: Mapping[str, str]
    ) -> AbstractAsyncContextManager[Environment]:
        """Start everything, yield the live environment, and leave nothing behind."""
        return self._environment(target, name, artifacts, environment_overrides)

    @asynccontextmanager
    async def _environment(
        self, target: Target, name: str, artifacts: Path, overrides: Mapping[str, str]
    ) -> AsyncIterator[Environment]:
        prepared = await asyncio.to_thread(self.prepare, target)
        root = await asyncio.to_thread(runner_root.acquire, prepared.user)
        parts = _Parts()
        # All of them at once: the shape of a value with a quote hides its beginning, and then nobody knows the rest.
        secrets = secrets_of(target, overrides).and_known(prepared.template.passwords)
        try:
            try:
                starting = _Starter(self._options, prepared, root, target, name, artifacts, parts)
                environment = await starting.start(overrides)
            except OSError as error:
                raise _explained(error, f"start the environment {name}") from error
            except HarnessError as error:
                # It quotes what the parts said, and nobody else knows the passwords yet.
                error.args = (secrets.hidden(str(error)),)
                raise
            yield environment
        finally:
            try:
                await parts.close()
            finally:
                try:
                    await asyncio.to_thread(redact_logs, artifacts, secrets)
                finally:
                    await asyncio.to_thread(runner_root.release)

    def _prepare(self, user: RuntimeUser, root: Path, scram_iterations: int) -> Prepared:
        marked = {reaper.ROOT_VARIABLE: str(root)}
        options = self._options
        installation = locate(options.pg_bindir, user)
        template = prepare_template(installation, user, postgres_environment(root), scram_iterations)
        toxiproxy = None if options.toxiproxy_url else obtain_binary(options.progress, marked)
        return Prepared(user, installation, template, toxiproxy)


class _Turn(enum.IntEnum):
    """The order of the end: the service first, while what it talks to still answers."""

    SERVICE = 1
    PROXY = 2
    DATABASE = 3
    PORT = 4


@dataclass
class _Parts:
    """What has been started so far; filled while starting, so that half a start is undone as well."""

    closers: list[tuple[_Turn, Callable[[], Awaitable[None]]]] = field(default_factory=list)
    workdir: Path | None = None

    def add(self, turn: _Turn, closer: Callable[[], Awaitable[None]]) -> None:
        """Note how to end a part, and when its turn comes."""
        self.closers.append((turn, closer))

    async def close(self) -> None:
        """End all in their turns; one that fails keeps none of the others alive."""
        failures: list[str] = []
        for _, closer in sorted(self.closers, key=lambda entry: entry[0]):
            try:
                await closer()
            except (OSError, HarnessError) as error:
                failures.append(str(error))
        if self.workdir is not None:
            failures += await asyncio.to_thread(reaper.destroy, self.workdir)
        if failures:
            raise SetupError(
                f"Something of the environment would not go: {'; '.join(failures)}. End or remove it by hand."
            )


@dataclass(frozen=True)
class _Starter:
    """The start of one environment."""

    options: EmbeddedOptions
    prepared: Prepared
    root: runner_root.RunnerRoot
    target: Target
    name: str
    artifacts: Path
    parts: _Parts

    async def start(self, overrides: Mapping[str, str]) -> Environment:
        began = time.monotonic()
        self.artifacts.mkdir(parents=True, exist_ok=True)
        workdir = self.root.new_workdir()
        self.parts.workdir = workdir
        given = self.options.proxy_port
        proxy_lock = reserve_port() if given is None else reserve_given_port(given, "--proxy-port")
        self.parts.add(_Turn.PORT, _closing(proxy_lock))
        database = self._database(workdir)
        database.proxy_port = proxy_lock.port
        place = workdir / "service"
        place.mkdir(mode=0o700)
        extras = await asyncio.to_thread(service_extras.prepare, place, overrides)
        service = self._service(workdir, database, {**overrides, **extras.environment})
        behind, (_, service_seconds) = await _both(
            self._proxied_database(workdir, database, proxy_lock.port), _timed(self._started_service(service))
        )
        proxy, clone_seconds, postgres_seconds, toxiproxy_seconds = behind
        return Environment(
            name=self.name,
            target=self.target,
            workdir=place,
            artifacts=self.artifacts,
            capabilities=self._capabilities(service) | extras.capabilities,
            database=database,
            proxy=proxy,
            service=service,
            timings=StartTimings(
                clone_seconds, postgres_seconds, toxiproxy_seconds, service_seconds, time.monotonic() - began
            ),
            dlq_file=service.dlq_file,
            clock_file=extras.clock_file,
            secrets=(
                *database.secrets,
                *filter(None, (self.target.tokens.admin, self.target.tokens.metrics)),
            ),
            reopen={"stack": EmbeddedStack.name, "root": str(self.root.path)},
        )

    def _database(self, workdir: Path) -> EmbeddedPostgres:
        database = EmbeddedPostgres(
            self.prepared.installation,
            self.prepared.template,
            self.prepared.user,
            data_dir=workdir / "pgdata",
            log_path=self.artifacts / "postgres.log",
            environment=postgres_environment(self.root.path),
            given_port=self.options.pg_port,
        )
        self.parts.add(_Turn.DATABASE, database.close)
        return database

    def _service(
        self, workdir: Path, database: EmbeddedPostgres, overrides: Mapping[str, str]
    ) -> LaunchedService | AttachedService:
        url, log_path = database.service_url(database.proxy_port), self.artifacts / "service.log"
        service: LaunchedService | AttachedService
        if self.target.launch is None:
            service = AttachedService(self.target.url, url, log_path, self.options.progress)
        else:
            service = LaunchedService(
                self.target,
                self.target.launch,
                database_url=url,
                workdir=workdir / "service",
                log_path=log_path,
                root=self.root.path,
                overrides=overrides,
            )
        self.parts.add(_Turn.SERVICE, service.close)
        return service

    async def _started_service(self, service: LaunchedService | AttachedService) -> None:
        await service.start()
        await service.wait_ready()

    async def _proxied_database(
        self, workdir: Path, database: EmbeddedPostgres, port: int
    ) -> tuple[ToxiproxyProxy, float, float, float]:
        (clone_seconds, postgres_seconds), (client, toxiproxy_seconds) = await _both(
            self._started_database(database), _timed(self._toxiproxy(workdir))
        )
        name = PROXY_NAME if self.options.toxiproxy_url is None else f"{PROXY_NAME}-{port}"
        try:
            await asyncio.to_thread(client.create, name, f"127.0.0.1:{database.port}", listen=f"127.0.0.1:{port}")
        except ToxiproxyError as error:
            raise SetupError(
                f"The proxy to PostgreSQL could not be made: {error} Look into {self.artifacts / 'toxiproxy.log'}."
            ) from error
        if self.options.toxiproxy_url is not None:
            self.parts.add(_Turn.PROXY, lambda: asyncio.to_thread(client.delete, name))
        return ToxiproxyProxy(client, name, port), clone_seconds, postgres_seconds, toxiproxy_seconds

    async def _started_database(self, database: EmbeddedPostgres) -> tuple[float, float]:
        _, clone_seconds = await _timed(asyncio.to_thread(database.clone))
        _, postgres_seconds = await _timed(database.first_start())
        return clone_seconds, postgres_seconds

    async def _toxiproxy(self, workdir: Path) -> ToxiproxyClient:
        url, binary = self.options.toxiproxy_url, self.prepared.toxiproxy
        if url is not None or binary is None:
            return await asyncio.to_thread(_given_toxiproxy, url or "")
        place = workdir / "toxiproxy"
        place.mkdir()
        environment = {"PATH": os.environ.get("PATH", os.defpath), reaper.ROOT_VARIABLE: str(self.root.path)}
        server = ToxiproxyServer(binary, place, self.artifacts / "toxiproxy.log", environment)
        self.parts.add(_Turn.PROXY, server.stop)
        return await server.start()

    def _capabilities(self, service: LaunchedService | AttachedService) -> frozenset[Capability]:
        reads = self.target.reads
        granted = {
            Capability.SQL: reads.sql,
            Capability.FILES: True,
            Capability.EVICT: self.prepared.installation.can_evict_buffers,
            Capability.KILLABLE_DATABASE: True,
            Capability.KILLABLE_SERVICE: self.target.launch is not None,
            Capability.SERVICE_LOGIN: True,
            Capability.PROXIED: True,
            Capability.DLQ: reads.dlq,
            Capability.METRICS: reads.metrics,
            Capability.LOGS: reads.logs,
            Capability.DLQ_FILE: service.dlq_file is not None,
        }
        # A small disk and a clock are granted to the service that asks for them (service_extras).
        given = host.granted() & {Capability.MOUNT, Capability.IMMUTABLE}
        return frozenset(capability for capability, has in granted.items() if has) | given


def postgres_environment(root: Path) -> dict[str, str]:
    """PostgreSQL's environment: none of the caller's ``PG…`` settings, and the mark of the runner's root."""
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if key in os.environ}
    return kept | {"LC_ALL": "C", "TZ": "UTC", reaper.ROOT_VARIABLE: str(root)}


def _given_toxiproxy(url: str) -> ToxiproxyClient:
    if urlsplit(url).hostname not in ("127.0.0.1", "localhost"):
        raise UsageError(
            f"--toxiproxy-url {url!r} is not on this machine: the embedded PostgreSQL listens on 127.0.0.1 "
            "alone. Give a URL such as http://127.0.0.1:8474, or leave the option out."
        )
    client = ToxiproxyClient(url)
    try:
        client.version()
    except ToxiproxyError as error:
        raise UsageError(
            f"No Toxiproxy answers at --toxiproxy-url {url}: {error} Start it there, or leave the option out."
        ) from error
    return client


def _closing(reservation: PortReservation) -> Callable[[], Awaitable[None]]:
    async def close() -> None:
        reservation.close()

    return close


async def _timed(work: Awaitable[A]) -> tuple[A, float]:
    began = time.monotonic()
    return await work, time.monotonic() - began


async def _both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """Both results, or the first failure as soon as it happens, with the other cancelled and awaited."""
    first, second = asyncio.create_task(one), asyncio.create_task(other)
    try:
        done, _ = await asyncio.wait((first, second), return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return first.result(), second.result()
    finally:
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)


def _explained(error: OSError, doing: str) -> SetupError:
    where = f" ({error.filename})" if error.filename else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        remedy = (
            "The disk is full: free some space (an environment needs about 100 MB), or set TMPDIR and "
            "XDG_CACHE_HOME to a file system that has it."
        )
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        remedy = "Make the directory writable, or choose another with TMPDIR, XDG_CACHE_HOME or --reports."
    else:
        remedy = "Run 'harness doctor' to see what is missing."
    return SetupError(f"Could not {doing}: {error.strerror or error}{where}. {remedy}")
