"""What the faults of the service's process share: a process told by pid and birth, its limits, and what it answers.

A pid alone may be another process's by the time that a heal runs in another runner, so the ledger holds the moment of
its birth as well.
"""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import FaultError, HarnessError, HealFailed
from ..fault import Scene
from ._sql import uninterrupted

_PROC = Path("/proc")
LIVE, READY = "/health/live", "/health/ready"
ASK_SECONDS = 1.0


@dataclass(frozen=True)
class Life:
    """One process, told from any later one with the same pid by its birth in clock ticks since the boot."""

    pid: int
    born: int

    def to_json(self) -> list[int]:
        """Return it for the ledger."""
        return [self.pid, self.born]

    @property
    def state(self) -> str:
        """The kernel's letter: R, S, D, T (stopped) …; "" once it is gone, a zombie included."""
        stat = _stat(self.pid)
        return stat[0] if stat and int(stat[19]) == self.born and stat[0] not in "ZX" else ""

    def signal(self, number: int) -> None:
        """Signal its group, or it alone where it leads none; harmless once it is gone."""
        if not self.state:
            return
        with suppress(ProcessLookupError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


def _stat(pid: int) -> list[str]:
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def life_of(pid: int) -> Life:
    """Return the life of a running process; raises :class:`FaultError` when there is none, or no ``/proc``."""
    stat = _stat(pid)
    if not stat:
        raise FaultError(f"There is no /proc/{pid}: the process is gone, or this is no Linux, which this fault needs.")
    return Life(pid, int(stat[19]))


def begin(scene: Scene) -> Life:
    """Save the service's present life in the ledger and return it; raises :class:`FaultError` when it is down."""
    pid = scene.environment.service.pid
    if pid is None:
        raise FaultError("The service is not running, so nothing can be done to its process; see its log.")
    life = life_of(pid)
    scene.ledger.save("life", life.to_json())
    return life


def saved_life(scene: Scene, key: str = "life") -> Life | None:
    """Return a saved life, None when inject did not come that far."""
    saved = scene.ledger.load(key)
    return None if saved is None else Life(*saved)


async def ensure_started(scene: Scene) -> None:
    """Start the service if it is down; raises :class:`HealFailed`."""
    if scene.environment.service.pid is None:
        try:
            await uninterrupted(scene.environment.service.start())
        except HarnessError as error:
            raise HealFailed(f"The service did not start again: {error}") from error


async def ask(scene: Scene, page: str, timeout_seconds: float = ASK_SECONDS) -> tuple[int, str]:
    """GET a page (a path, or a URL) over a connection of its own: (status, head and body); status 0 for no answer."""
    service, tokens = scene.environment.service, scene.environment.target.tokens
    parts = urlsplit(page if "://" in page else service.base_url + page)
    token = tokens.metrics if page == service.metrics_url else tokens.admin
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n{bearer}Connection: close\r\n\r\n"
    try:
        async with asyncio.timeout(timeout_seconds):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            try:
                writer.write(head.encode())
                text = (await reader.read()).decode(errors="replace")
            finally:
                writer.close()
        return int(text.split(None, 2)[1]), text
    except (OSError, TimeoutError, ValueError, IndexError):
        return 0, ""


async def answers(scene: Scene) -> bool:
    """Tell whether the service lives and answers 200 to its liveness page."""
    return scene.environment.service.pid is not None and (await ask(scene, LIVE))[0] == 200


async def served_beside(scene: Scene, idle: int, timeout_seconds: float) -> bool:
    """Tell whether the liveness page is answered in time while so many idle connections are held open."""
    parts = urlsplit(scene.environment.service.base_url)
    held: list[asyncio.StreamWriter] = []
    try:
        async with asyncio.timeout(timeout_seconds):
            for _ in range(idle):
                held.append((await asyncio.open_connection(parts.hostname, parts.port))[1])  # noqa: PERF401  (half of them close too)
        return (await ask(scene, LIVE, timeout_seconds))[0] == 200
    except (OSError, TimeoutError):
        return False
    finally:
        for writer in held:
            writer.close()


async def readiness(scene: Scene) -> str:
    """What the readiness page says, as evidence."""
    status, text = await ask(scene, READY)
    body = text.partition("\r\n\r\n")[2].strip()
    return f"readiness {status or 'not answered'}{f' {body[:200]}' if body else ''}"


def limits_of(life: Life, kind: int) -> tuple[int, int]:
    """Soft and hard limit of a live process; raises OSError."""
    return resource.prlimit(life.pid, kind)


def set_limits(life: Life, kind: int, limits: tuple[int, int]) -> None:
    """Set them; raises OSError."""
    resource.prlimit(life.pid, kind, limits)


def lowest_free_descriptor(life: Life) -> int:
    """The number that the next descriptor of the process would get; raises OSError."""
    taken = {int(link.name) for link in (_PROC / str(life.pid) / "fd").iterdir()}
    return next(number for number in range(len(taken) + 1) if number not in taken)


def virtual_bytes(life: Life) -> int:
    """Size of its address space; raises OSError."""
    return int((_PROC / str(life.pid) / "statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
