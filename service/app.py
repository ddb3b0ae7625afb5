"""The process: parts put together, sockets, background loops, signals."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvicorn

from .config import Config, ConfigError
from .dlq.sqlite import SqliteQueue
from .drainer import Drainer
from .logs import Log
from .metrics import Metrics
from .partitions import Maintenance, Months
from .parts import Parts
from .pool import Database, sql
from .routes import Api, Routes, make_app
from .writer import Writer

SHUTDOWN_SECONDS = 25
_BACKLOG = 2048
_UPKEEP_SECONDS = 0.5


def bind(host: str, port: int, name: str) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        server.listen(_BACKLOG)
    except OSError as error:
        server.close()
        raise ConfigError(f"{name} {host}:{port} cannot be listened on ({error.strerror}); choose another.") from None
    server.setblocking(False)
    return server


def write_port_file(path: str, port: int) -> None:
    """Write the port so that a reader sees all of it or nothing."""
    temporary = Path(f"{path}.{os.getpid()}")
    temporary.write_text(f"{port}\n", "ascii")
    temporary.replace(path)


class _Server(uvicorn.Server):
    """A server that leaves signals to the process: there may be two of them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture nothing."""
        yield


class Application:
    """All parts of one running service."""

    def __init__(self, config: Config) -> None:
        log, metrics = Log(sys.stdout, config.log_level), Metrics()
        database = Database(config, metrics, log)
        months = Months(config, database.admission, metrics, log)
        queue = SqliteQueue(config.dlq_path, config.dlq_max_events, sql("dlq"), log)
        maintenance = Maintenance(config, database, months, log)
        self.parts = Parts(config, log, metrics, database, months, maintenance, queue)
        metrics.watch(database, months, queue)
        writer = Writer(self.parts)
        self.drainer = Drainer(self.parts, writer)
        self.api = Api(self.parts, writer)
        self._stop = asyncio.Event()

    def _report(self, error: BaseException) -> None:
        where = traceback.format_exception(error, limit=-4)
        self.parts.log.error("Unforeseen error", error=type(error).__name__, trace="".join(where)[-2000:])

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a background loop; what it did not foresee is logged, and it starts again."""
        while not self._stop.is_set():
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - the loop must outlive it
                self._report(error)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stop.wait(), _UPKEEP_SECONDS)

    async def _upkeep(self) -> None:
        """Close log storms, keep knowing whether the queue can be written, and learn of its months."""
        while not self._stop.is_set():
            self.parts.log.flush()
            await self.parts.queue.check()
            for name in self.parts.queue.pending_by_partition():
                self.parts.months.get(name)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), _UPKEEP_SECONDS)

    def _servers(self) -> list[tuple[_Server, socket.socket]]:
        api, config = self.api, self.parts.config
        routes: Routes = {
            "/api/v1/audit/events": ("POST", api.write_event),
            "/api/v1/dlq": ("GET", api.queue_summary),
            "/api/v1/dlq/events": ("GET", api.queue_events),
            "/health/live": ("GET", api.live),
            "/health/ready": ("GET", api.ready),
        }
        numbers: Routes = {"/metrics": ("GET", api.metrics)}
        made = []
        if config.metrics_port is None:
            routes.update(numbers)
        else:
            made.append((numbers, bind(config.metrics_host or config.host, config.metrics_port, "METRICS_PORT")))
        made.insert(0, (routes, bind(config.host, config.port, "PORT")))
        servers = []
        for table, listener in made:
            options = uvicorn.Config(
                make_app(table, self.parts.metrics, self._report),
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                date_header=False,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            )
            servers.append((_Server(options), listener))
        return servers

    async def run(self) -> None:
        """Serve until a signal. Raises ConfigError when a port cannot be had."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        # What libraries would say goes past the limits of the log, and the parts say it themselves.
        logging.disable(logging.CRITICAL)
        servers = self._servers()
        self.parts.queue.start()
        await self.parts.database.start()
        jobs = [
            asyncio.create_task(self._guarded(job))
            for job in (self.parts.maintenance.run, self.drainer.run_probes, self.drainer.run_drain, self._upkeep)
        ]
        serving = [asyncio.create_task(server.serve(sockets=[listener])) for server, listener in servers]
        ports = [listener.getsockname()[1] for _, listener in servers]
        if self.parts.config.port_file is not None:
            write_port_file(self.parts.config.port_file, ports[0])
        self.parts.log.info("Listening", host=self.parts.config.host, port=ports[0], metrics_port=ports[-1])
        await self._stop.wait()
        self.api.stopping = True
        self.parts.log.info("Stopping")
        for server, _ in servers:
            server.should_exit = True
        await asyncio.gather(*serving)
        for task in jobs:
            task.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await self.parts.database.close()
        await asyncio.to_thread(self.parts.queue.close)
        self.parts.log.info("Stopped")
        self.parts.log.flush(everything=True)
