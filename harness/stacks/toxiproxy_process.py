"""Toxiproxy of one environment: its process, and the one proxy between the service and PostgreSQL."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .._wait import wait_until
from ..errors import DeadlineExceeded, SetupError
from .base import Toxic, ToxicKind
from .children import Child, tail
from .ports import PortReservation, reserve_port
from .toxiproxy_client import ToxiproxyClient, ToxiproxyError

_START_SECONDS = 20.0
_LISTENING = "0A"
"""State of a listening socket in ``/proc/net/tcp``."""


class ToxiproxyServer:
    """A ``toxiproxy-server`` process of our own, its API port chosen by the kernel.

    The server does not exit when its API port is taken, so an answer alone proves nothing: the port is read
    from the listening socket of the very process that was started.
    """

    def __init__(self, binary: Path, workdir: Path, log_path: Path, environment: Mapping[str, str]) -> None:
        self._binary = binary
        self._workdir = workdir
        self._log_path = log_path
        self._environment = dict(environment)
        self._child: Child | None = None
        self._port_lock: PortReservation | None = None

    async def start(self) -> ToxiproxyClient:
        """Start it and return its client; raises :class:`harness.errors.SetupError`."""
        port = 0
        if not Path("/proc/self/net/tcp").exists():
            # Without /proc the port cannot be read back: it is chosen under the lock instead.
            self._port_lock = reserve_port()
            port = self._port_lock.port
        child = Child.spawn(
            [str(self._binary), "-host", "127.0.0.1", "-port", str(port)],
            cwd=self._workdir,
            environment=self._environment,
            log_path=self._log_path,
        )
        self._child = child

        async def answering() -> ToxiproxyClient | None:
            code = child.exit_code()
            if code is not None:
                raise SetupError(
                    f"Toxiproxy ({self._binary}) ended with {code} while it started. Last lines of "
                    f"{self._log_path}: {tail(self._log_path)} Check that the binary was made for this "
                    "machine."
                )
            found = port or listening_port(child.pid)
            if not found:
                return None
            client = ToxiproxyClient(f"http://127.0.0.1:{found}")
            try:
                await asyncio.to_thread(client.version)
            except ToxiproxyError:
                return None
            return client

        try:
            return await wait_until(
                answering, what="Toxiproxy", deadline_seconds=_START_SECONDS, interval_seconds=0.005
            )
        except DeadlineExceeded as error:
            raise SetupError(
                f"Toxiproxy ({self._binary}) did not listen within {_START_SECONDS:g} s. Last lines of "
                f"{self._log_path}: {tail(self._log_path)} Try again with fewer scenarios in parallel."
            ) from error

    @property
    def pid(self) -> int | None:
        """The process, None while it is down."""
        return self._child.living_pid() if self._child else None

    async def stop(self) -> None:
        """Kill and wait: it has no state worth a farewell."""
        if self._child is not None:
            await self._child.kill()
        if self._port_lock is not None:
            self._port_lock.close()


class ToxiproxyProxy:
    """The proxy between the service and PostgreSQL; see :class:`harness.stacks.base.DatabaseProxy`."""

    def __init__(self, client: ToxiproxyClient, name: str, port: int) -> None:
        self._client = client
        self._name = name
        self._port = port

    @property
    def client(self) -> ToxiproxyClient:
        """The server's client, for what the Protocol leaves out."""
        return self._client

    @property
    def name(self) -> str:
        """The proxy's name in Toxiproxy."""
        return self._name

    @property
    def port(self) -> int:
        """The port on 127.0.0.1 that the service connects to; the same over its whole life."""
        return self._port

    async def add(self, toxic: Toxic) -> None:
        """Add one toxic."""
        await asyncio.to_thread(self._client.add, self._name, toxic)

    async def remove(self, name: str) -> None:
        """Remove a toxic by name; harmless when there is none.

        Latency goes with connections kept.  Whatever can have stopped the flow is removed in the safe order,
        which closes every connection, because removing it in place can hang Toxiproxy for good (its issue
        558).
        """
        await asyncio.to_thread(self._remove, name)

    async def toxics(self) -> Sequence[str]:
        """Names of the toxics that Toxiproxy itself reports."""
        return [toxic.name for toxic in await asyncio.to_thread(self._client.toxics, self._name)]

    async def disable(self) -> None:
        """Close the listener and every connection; harmless when disabled."""
        await asyncio.to_thread(self._client.disable, self._name)

    async def enable(self) -> None:
        """Listen again on the same port; harmless when enabled."""
        await asyncio.to_thread(self._client.enable, self._name)

    async def is_enabled(self) -> bool:
        """Ask Toxiproxy."""
        return (await asyncio.to_thread(self._client.state, self._name)).enabled

    async def cleanse(self) -> None:
        """Remove every toxic in the safe order, leave the proxy enabled; cuts nothing if there is none."""
        await asyncio.to_thread(self._cleanse)

    def _remove(self, name: str) -> None:
        for toxic in self._client.toxics(self._name):
            if toxic.name == name and toxic.kind is ToxicKind.LATENCY:
                self._client.remove(self._name, name)
            elif toxic.name == name:
                self._client.remove_safely(self._name, [name])

    def _cleanse(self) -> None:
        if self._client.toxics(self._name):
            self._client.disable(self._name)
            self._client.remove_safely(self._name)
        self._client.enable(self._name)


def listening_port(pid: int) -> int | None:
    """The TCP port on which the process ``pid`` listens, None while it does not."""
    sockets = set()
    try:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            sockets.add(str(fd.readlink()))
        table = Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    for line in table:
        columns = line.split()
        if columns[3] == _LISTENING and f"socket:[{columns[9]}]" in sockets:
            return int(columns[1].rpartition(":")[2], 16)
    return None


def server_version(binary: Path) -> str:
    """What ``toxiproxy-server -version`` prints; empty when it cannot run."""
    try:
        done = subprocess.run([binary, "-version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
