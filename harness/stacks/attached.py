"""A service that somebody else started, reached by its URL: in a debugger, in an IDE, in another language's runner.

The database and the proxy are the embedded stack's own; the user gives the service the DATABASE_URL that is
printed.  Such a service can be neither killed nor started again, and its log is not read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from .._wait import wait_until
from ..errors import DeadlineExceeded, FaultError, SetupError
from .service_process import ask_ready

ATTACH_SECONDS = 120.0


class AttachedService:
    """The Protocol :class:`harness.stacks.base.ServiceProcess` over a URL."""

    def __init__(self, url: str, database_url: str, log_path: Path, progress: Callable[[str], None]) -> None:
        self._url = url.rstrip("/")
        self._database_url = database_url
        self._log_path = log_path
        self._progress = progress

    @property
    def base_url(self) -> str:
        """The URL of the target file."""
        return self._url

    @property
    def metrics_url(self) -> str:
        """The metrics page beside it."""
        return f"{self._url}/metrics"

    @property
    def pid(self) -> int | None:
        """Nobody told, so None."""
        return None

    @property
    def log_path(self) -> Path:
        """A file that is never written: the log belongs to whoever started the service."""
        return self._log_path

    @property
    def dlq_file(self) -> Path | None:
        """Nobody told, so None."""
        return None

    async def start(self) -> None:
        """Ask the user to start it."""
        self._progress(f"start the service at {self._url} with DATABASE_URL={self._database_url}")

    async def wait_ready(self) -> None:
        """Wait until ``/health/ready`` says ``ok``; raises :class:`harness.errors.SetupError` if it never does."""
        said = "nothing"

        async def ready() -> bool:
            nonlocal said
            said, is_ok = await asyncio.to_thread(ask_ready, f"{self._url}/health/ready")
            return is_ok

        try:
            await wait_until(ready, what="the service", deadline_seconds=ATTACH_SECONDS, interval_seconds=0.1)
        except DeadlineExceeded as error:
            raise SetupError(
                f"The service at {self._url} was not ready within {ATTACH_SECONDS:g} s; /health/ready last said: "
                f"{said}. Start it with the DATABASE_URL printed above (--proxy-port keeps it the same from run to "
                "run), anew for each run, since each run has a database of its own."
            ) from error

    async def kill(self) -> None:
        """Refuse: the process is not the harness's."""
        raise FaultError(f"The service at {self._url} was not started by the harness, so it cannot be killed.")

    async def terminate(self, timeout_seconds: float = 30.0) -> int:
        """Leave it running, and say so by 0."""
        return 0

    async def close(self) -> None:
        """Leave it running."""
