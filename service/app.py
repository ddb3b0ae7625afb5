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
from typing import Any

import uvicorn
import uvloop
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from .config import Config, ConfigError, load
from .dlq import SqliteQueue
from .drainer import Drainer
from .logs import Log
from .metrics import Gauges, Metrics
from .partitions import Maintenance, Months
from .pool import Database, pause
from .routes import Api, make_app
from .writer import Writer

SHUTDOWN_SECONDS = 25
_UPKEEP_SECONDS = 0.5


def bind(host: str, port: int, name: str) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} {host}:{port} cannot be listened on ({error}); choose another.") from None


class _Server(uvicorn.Server):
    """A server that leaves signals to the process, which has more to stop."""

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
        queue = SqliteQueue(config.dlq_path, config.dlq_max_events, log)
        metrics.registry.register(Gauges(database, months, queue))
        self._parts = Writer(config, log, metrics, database, months, queue)
        self._api = Api(self._parts)

    def _report(self, error: Exception) -> None:
        where = traceback.format_exception(error, limit=-4)
        self._parts.log.error("Unforeseen error", error=type(error).__name__, trace="".join(where)[-2000:])

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        """Run a background loop; what it did not foresee is logged, and it starts again."""
        while True:
            try:
                await job()
            except Exception as error:  # noqa: BLE001 - the loop must outlive it
                self._report(error)
            await pause(_UPKEEP_SECONDS)

    async def _upkeep(self) -> None:
        """Close log storms, and keep knowing whether the queue can be written."""
        self._parts.log.flush()
        await self._parts.queue.check()

    def _serve(self, listeners: list[socket.socket]) -> _Server:
        """One server: the first listener has the API, the last one the metrics."""
        routes, numbers = self._api.routes, [Route("/metrics", self._api.metrics)]
        tables = [routes, numbers] if len(listeners) > 1 else [routes + numbers]
        made = [make_app(table, self._parts.metrics, self._report) for table in tables]
        apps = dict(zip([listener.getsockname()[1] for listener in listeners], made, strict=True))

        async def by_port(scope: Scope, receive: Receive, send: Send) -> None:
            await apps[scope["server"][1]](scope, receive, send)

        quiet = {"access_log": False, "log_config": None, "server_header": False, "date_header": False}
        times = {"timeout_keep_alive": 75, "timeout_graceful_shutdown": SHUTDOWN_SECONDS}
        options: dict[str, Any] = {"ws": "none", "lifespan": "off", **quiet, **times}
        return _Server(uvicorn.Config(by_port, **options))

    async def run(self) -> None:
        """Serve until a signal. Raises ConfigError when a port or the port file cannot be had."""
        parts, stop = self._parts, asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        # What libraries would say goes past the limits of the log, and the parts say it themselves.
        logging.disable(logging.CRITICAL)
        listeners = [bind(parts.config.host, parts.config.port, "HOST and PORT")]
        if parts.config.metrics_port is not None:
            host = parts.config.metrics_host or parts.config.host
            listeners.append(bind(host, parts.config.metrics_port, "METRICS_HOST and METRICS_PORT"))
        ports, server = [listener.getsockname()[1] for listener in listeners], self._serve(listeners)
        if parts.config.port_file is not None:
            # A reader sees all of it or nothing.
            temporary = Path(f"{parts.config.port_file}.{os.getpid()}")
            try:
                temporary.write_text(f"{ports[0]}\n", "ascii")
                temporary.replace(parts.config.port_file)
            except OSError as error:
                raise ConfigError(f"PORT_FILE cannot be written ({error.strerror}); choose another.") from None
        await parts.database.pool.open()
        maintenance, drainer = Maintenance(parts.config, parts.database, parts.months, parts.log), Drainer(parts)
        loops = (maintenance.run, drainer.run_probes, drainer.run_drain, self._upkeep)
        jobs = [asyncio.create_task(self._guarded(job)) for job in loops]
        serving = asyncio.create_task(server.serve(listeners))
        parts.log.info("Listening", host=parts.config.host, port=ports[0], metrics_port=ports[-1])
        await stop.wait()
        self._api.stopping = True
        parts.log.info("Stopping")
        server.should_exit = True
        await serving
        for task in jobs:
            task.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await parts.database.pool.close(timeout=1)
        await parts.queue.close()
        parts.log.info("Stopped")
        parts.log.flush(everything=True)


def main() -> int:
    """Run the service by its environment. Returns the exit code."""
    try:
        config = load(os.environ)
        # Requests do not wait long for the thread of the queue.
        sys.setswitchinterval(0.0005)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Application(config).run())
    except ConfigError as error:
        sys.stderr.write(f"service: {error}\n")
        return 2
    return 0
