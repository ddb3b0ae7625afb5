"""The process: parts put together, sockets, background loops, signals."""

import asyncio
import logging
import os
import signal
import socket
import sys
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.routing import Route

from .config import Config, ConfigError, load
from .database import Database, pause
from .dlq import SqliteQueue
from .drainer import Drainer
from .logs import Log
from .metrics import Gauges, Metrics
from .partitions import Maintenance, Months
from .routes import Api, make_app
from .writer import Writer

SHUTDOWN_SECONDS, UPKEEP_SECONDS = 25, 0.5


def bind(host: str, port: int, name: str) -> socket.socket:
    """A listening socket. Raises ConfigError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} {host}:{port} cannot be listened on ({error}); choose another.") from None


async def _repeat(job: Callable[[], Awaitable[None]], log: Log) -> None:
    """Do a background job again and again, and close log storms; what it did not foresee is logged."""
    while True:
        try:
            await job()
        except Exception as error:  # noqa: BLE001 - the loop must outlive it
            log.error("Unforeseen error", error=type(error).__name__, trace=traceback.format_exc(limit=-4)[-2000:])
        log.flush()
        await pause(UPKEEP_SECONDS)


async def run(config: Config) -> None:
    """Put the parts together and serve until a signal. Raises ConfigError when a port or its file cannot be had."""
    log, metrics = Log(sys.stdout, config.log_level), Metrics()
    database = Database(config, metrics, log)
    months = Months(config, database.admission, metrics, log)
    queue = SqliteQueue(config.dlq_path, config.dlq_max_events, log)
    parts = Writer(config, log, metrics, database, months, queue)
    metrics.registry.register(Gauges(parts))
    maintenance, drainer = Maintenance(config, database, months, log), Drainer(parts)

    # What libraries would say goes past the limits of the log, and the parts say it themselves.
    logging.disable(logging.CRITICAL)
    listeners = [bind(config.host, config.port, "HOST and PORT")]
    if config.metrics_port is not None:
        host = config.metrics_host or config.host
        listeners.append(bind(host, config.metrics_port, "METRICS_HOST and METRICS_PORT"))
    ports = [listener.getsockname()[1] for listener in listeners]
    api = Api(parts, lambda: server.should_exit)
    # The first port has the API, the last one, which may be the same, the metrics.
    tables = defaultdict[int, list[Route]](list)
    tables[ports[0]] += api.routes
    tables[ports[-1]] += [Route("/metrics", api.metrics)]
    options: dict[str, Any] = {"ws": "none", "lifespan": "off", "access_log": False, "log_config": None}
    options |= {"server_header": False, "date_header": False, "timeout_keep_alive": 75}
    options["timeout_graceful_shutdown"] = SHUTDOWN_SECONDS
    server = uvicorn.Server(uvicorn.Config(make_app(tables, parts), **options))
    # The server sets this handler itself while it serves. A signal may come before, and is raised again afterwards.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.handle_exit)
    if config.port_file is not None:
        # A reader sees all of it or nothing.
        temporary = Path(f"{config.port_file}.{os.getpid()}")
        try:
            temporary.write_text(f"{ports[0]}\n", "ascii")
            temporary.replace(config.port_file)
        except OSError as error:
            raise ConfigError(f"PORT_FILE cannot be written ({error.strerror}); choose another.") from None
    await database.pool.open()
    log.info("Listening", host=config.host, port=ports[0], metrics_port=ports[-1])
    async with asyncio.TaskGroup() as group:
        # The last one keeps the service knowing whether the queue can be written.
        jobs = (maintenance.run, drainer.run_probes, drainer.run_drain, queue.check)
        tasks = [group.create_task(_repeat(job, log)) for job in jobs]
        await server.serve(listeners)
        for task in tasks:
            task.cancel()
    await database.pool.close(timeout=1)
    await queue.close()
    log.info("Stopped")
    log.flush(everything=True)


def main() -> int:
    """Run the service by its environment. Returns the exit code."""
    try:
        # Requests do not wait long for the thread of the queue.
        sys.setswitchinterval(0.0005)
        uvloop.run(run(load(os.environ)))
    except ConfigError as error:
        sys.stderr.write(f"service: {error}\n")
        return 2
    return 0
