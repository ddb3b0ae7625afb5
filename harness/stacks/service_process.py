"""The service under test as a child process, launched just as its ``target.toml`` says."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from .._wait import wait_until
from ..errors import DeadlineExceeded, ServiceEnded, SetupError
from ..targets.model import Launch, Target
from . import reaper
from .children import Child, tail

_OWN_VARIABLES = frozenset(
    (
        "DATABASE_URL",
        "HOST",
        "PORT",
        "PORT_FILE",
        "METRICS_HOST",
        "METRICS_PORT",
        "METRICS_TOKEN",
        "ADMIN_TOKEN",
        "LOG_LEVEL",
        "REQUEST_DEADLINE_SECONDS",
        "PARTITION_CHECK_SECONDS",
        "PARTITIONS_FROM",
        "PARTITIONS_AHEAD_MONTHS",
        "EVENT_MAX_AGE_DAYS",
        "EVENT_MAX_AHEAD_DAYS",
    )
)
"""Settings of the contract: what the caller's shell holds of them must not change what is judged."""
_OWN_PREFIXES = ("PG", "DB_", "DLQ_")
_KILL_AFTER_SECONDS = 3.0


class LaunchedService:
    """One service process over all its lives; see :class:`harness.stacks.base.ServiceProcess`."""

    def __init__(
        self,
        target: Target,
        launch: Launch,
        *,
        database_url: str,
        workdir: Path,
        log_path: Path,
        root: Path,
        overrides: Mapping[str, str],
    ) -> None:
        self._launch = launch
        self._workdir = workdir
        self._log_path = log_path
        self._port_file = workdir.parent / "service.port"
        places = {
            "python": sys.executable,
            "root": str(target.root),
            "database_url": database_url,
            "workdir": str(workdir),
            "port_file": str(self._port_file),
        }
        self._command = [part.format(**places) for part in launch.command]
        declared = {key: value.format(**places) for key, value in launch.environment.items()}
        # A scenario may move the queue within the work directory, whose name it cannot know.
        asked = {key: value.replace("{workdir}", str(workdir)) for key, value in overrides.items()}
        self._environment = _inherited() | declared | asked | {reaper.ROOT_VARIABLE: str(root)}
        self._dlq_file = launch.dlq_file.format(**places)
        self._child: Child | None = None
        self._log_from = 0
        self._port = 0
        self._metrics_port = 0

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:PORT`` of the present process."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def metrics_url(self) -> str:
        """The metrics page: on its own port where the target has one."""
        return f"http://127.0.0.1:{self._metrics_port or self._port}/metrics"

    @property
    def pid(self) -> int | None:
        """The process, None while it is down."""
        return self._child.living_pid() if self._child else None

    @property
    def log_path(self) -> Path:
        """Everything it has printed, over all its lives."""
        return self._log_path

    @property
    def environment(self) -> Mapping[str, str]:
        """The whole environment it is launched with, secrets included."""
        return dict(self._environment)

    @property
    def dlq_file(self) -> Path | None:
        """The SQLite file of the queue: what DLQ_URL says, else ``launch.dlq_file`` of the target."""
        url = self._environment.get("DLQ_URL", "")
        named = url.removeprefix("sqlite:///") if url.startswith("sqlite:///") else self._dlq_file
        return self._workdir / named if named else None

    async def start(self) -> None:
        """Start it (again) and wait until it listens; harmless when running.

        Raises :class:`harness.errors.ServiceEnded` quoting its last lines when it ends instead, and
        :class:`harness.errors.SetupError` when it stays silent.
        """
        if self.pid is not None:
            return
        self._port_file.unlink(missing_ok=True)
        self._log_from = self._log_path.stat().st_size if self._log_path.exists() else 0
        self._child = Child.spawn(
            self._command, cwd=self._workdir, environment=self._environment, log_path=self._log_path
        )
        await self._until(self._listens, "listen")

    async def wait_ready(self) -> None:
        """Wait until ``/health/ready`` says ``ok``; raises :class:`harness.errors.SetupError` if it never does."""
        said: list[str] = ["nothing"]

        async def ready() -> bool:
            said[0], is_ok = await asyncio.to_thread(ask_ready, f"{self.base_url}/health/ready")
            return is_ok

        await self._until(ready, "be ready", said)

    async def kill(self) -> None:
        """SIGKILL it with its workers, and wait; harmless when it is down."""
        if self._child is not None:
            await self._child.kill()

    async def terminate(self, timeout_seconds: float = 30.0) -> int:
        """SIGTERM, wait, and return the exit code (negative: the signal); SIGKILL after the time-out."""
        if self._child is None:
            return 0
        self._child.signal(signal.SIGTERM)
        self._child.signal(signal.SIGCONT)
        if not await self._child.wait(timeout_seconds):
            await self._child.kill()
        return self._child.exit_code() or 0

    async def pause(self) -> None:
        """SIGSTOP: it answers nothing, its connections stay open."""
        if self._child is not None:
            self._child.signal_group(signal.SIGSTOP)

    async def resume(self) -> None:
        """SIGCONT; harmless when it runs."""
        if self._child is not None:
            self._child.signal_group(signal.SIGCONT)

    async def close(self) -> None:
        """End of the environment: a short chance to end well, then SIGKILL."""
        await self.terminate(_KILL_AFTER_SECONDS)

    async def _until(self, condition: Callable[[], Awaitable[bool]], what: str, said: list[str] | None = None) -> None:
        child = self._child

        async def living() -> bool:
            code = child.exit_code() if child else 0
            if code is not None:
                raise ServiceEnded(
                    f"The service ({self._command_line()}) ended with {code} while it started. Its last "
                    f"lines: {tail(self._log_path)} Start it by hand with the environment of the target "
                    "file to see more."
                )
            return await condition()

        limit = self._launch.start_timeout_seconds
        try:
            await wait_until(living, what="the service", deadline_seconds=limit, interval_seconds=0.01)
        except DeadlineExceeded as error:
            answer = f" /health/ready last said: {said[0]}." if said else ""
            raise SetupError(
                f"The service ({self._command_line()}) did not {what} within {limit:g} s.{answer} Its last "
                f"lines: {tail(self._log_path)} Raise launch.start_timeout_seconds in the target file if it "
                "needs longer."
            ) from error

    async def _listens(self) -> bool:
        line = self._listening_line()
        self._port = _number(self._port_file) or line.get("port", 0)
        asked = self._environment.get("METRICS_PORT", "")
        if asked:
            self._metrics_port = int(asked) or line.get("metrics_port", 0)
            return bool(self._port and self._metrics_port)
        return bool(self._port)

    def _listening_line(self) -> dict[str, int]:
        """The ports in the ``Listening`` log line of the present life, as far as it has one."""
        with self._log_path.open("rb") as log:
            log.seek(self._log_from)
            lines = log.read().splitlines()
        for line in lines:
            if b"Listening" in line:
                try:
                    data = json.loads(line)
                    return {key: int(data[key]) for key in ("port", "metrics_port") if data.get(key)}
                except (ValueError, TypeError, AttributeError):
                    continue
        return {}

    def _command_line(self) -> str:
        return " ".join(self._command)


def _inherited() -> dict[str, str]:
    return {
        key: value
        for key, value in os.environ.items()
        if key not in _OWN_VARIABLES and not key.startswith(_OWN_PREFIXES)
    }


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def ask_ready(url: str) -> tuple[str, bool]:
    """What the readiness page says, and whether that is ``ok``; a page without a status counts by its 200."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2.0) as answer:
            body = answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode(errors='replace')[:300]}", False
    except (OSError, http.client.HTTPException) as error:
        return str(error), False
    try:
        status = json.loads(body).get("status", "ok")
    except (ValueError, AttributeError):
        return body[:300], True
    return body[:300], status == "ok"
