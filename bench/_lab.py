"""What the benches of speed share: an environment, services started directly on it, load, SQL, and who used the CPU."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psycopg

from harness.session import REFERENCE_TARGET
from harness.stacks import reaper
from harness.stacks.embedded import EmbeddedStack
from harness.stacks.postgres_server import EmbeddedPostgres
from harness.stacks.service_process import LaunchedService
from harness.targets.model import Launch, Target, load_target

from ._load import Order, Result

ROOT = Path(__file__).parents[1]
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Lab:
    """A running PostgreSQL with the service's schema; services are started and ended by the bench."""

    database: EmbeddedPostgres
    proxy_port: int
    target: Target
    workdir: Path
    artifacts: Path

    def port(self, *, proxied: bool) -> int:
        """The port at which a service reaches PostgreSQL, directly or through Toxiproxy."""
        return self.proxy_port if proxied else self.database.port

    def prepared(
        self, name: str, command: Sequence[str], settings: Mapping[str, str], database_port: int
    ) -> LaunchedService:
        """A service that reaches the database at this port, not started yet; the caller closes it."""
        place = self.workdir / name / "service"
        place.mkdir(parents=True)
        launch = Launch((sys.executable, "-m", *command), {"PYTHONPATH": str(ROOT), "PORT": "0"})
        url = self.database.service_url(database_port)
        return LaunchedService(
            replace(self.target, launch=launch),
            launch,
            database_url=url,
            workdir=place,
            log_path=self.artifacts / f"{name}.log",
            root=self.workdir,
            overrides={**settings, "DATABASE_URL": url, "PORT_FILE": str(place.parent / "service.port")},
        )

    @asynccontextmanager
    async def service(
        self, name: str, command: Sequence[str], settings: Mapping[str, str], database_port: int
    ) -> AsyncIterator[LaunchedService]:
        """The same, ready, and closed afterwards."""
        service = self.prepared(name, command, settings, database_port)
        try:
            await service.start()
            await service.wait_ready()
            yield service
        finally:
            await service.close()

    def reference_settings(self, name: str) -> dict[str, str]:
        """The environment of the reference service under that name, its queue in its own folder."""
        assert self.target.launch is not None
        kept = ("PARTITIONS_FROM", "EVENT_MAX_AGE_DAYS", "EVENT_MAX_AHEAD_DAYS")
        settings = {key: self.target.launch.environment[key] for key in kept}
        return settings | {"DLQ_URL": f"sqlite:///{self.queue_file(name)}"}

    def queue_file(self, name: str) -> Path:
        """The queue of the reference service under that name."""
        return self.workdir / name / "service" / "dlq.sqlite3"

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A direct connection as superuser, each statement a transaction of its own."""
        return psycopg.connect(self.database.admin_conninfo, autocommit=True)


@asynccontextmanager
async def open_lab() -> AsyncIterator[Lab]:
    """Start PostgreSQL and Toxiproxy, have the reference service make the schema, and end that service."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        target = load_target(REFERENCE_TARGET)
        artifacts = Path(folder)
        stack = EmbeddedStack()
        async with stack.environment(target, name="bench", artifacts=artifacts, environment_overrides={}) as started:
            await started.service.terminate()
            assert isinstance(started.database, EmbeddedPostgres)
            yield Lab(started.database, started.proxy.port, target, started.workdir, artifacts)


def port_of(service: LaunchedService) -> int:
    """The port that the service listens on."""
    return int(service.base_url.rpartition(":")[2])


async def load(order: Order) -> Result:
    """Run the load generator in its own process."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench._load", json.dumps(asdict(order))), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise SystemExit(f"the load generator ended with {process.returncode}; its message is above")
    result = Result(**json.loads(output))
    if not result.requests:
        raise SystemExit(f"nothing was answered within {order.seconds:g} s: {result.statuses}")
    return result


@dataclass(frozen=True)
class Cpu:
    """CPU seconds, used so far or, as a difference, in between; ``stolen`` is what the hypervisor gave others."""

    service: float
    postgres: float
    busy: float
    stolen: float
    elapsed: float

    def since(self, earlier: Cpu) -> Cpu:
        """What was used in between."""
        return Cpu(*(now - then for now, then in zip(_fields(self), _fields(earlier), strict=True)))

    def told(self, load_seconds: float, events: int) -> str:
        """In words; a CPU that stands for so many events also by event, which noise disturbs less than a rate."""
        cores = os.cpu_count() or 1
        of_service, of_postgres = [1e6 * seconds / max(1, events) for seconds in (self.service, self.postgres)]
        return (
            f"CPU service {self.service:.1f} s ({of_service:.0f} us an event), "
            f"PostgreSQL {self.postgres:.1f} s ({of_postgres:.0f} us), load {load_seconds:.1f} s, "
            f"machine {100 * self.busy / (cores * self.elapsed):.0f} % busy"
            f" ({100 * self.stolen / (cores * self.elapsed):.0f} % stolen)"
        )


def _fields(cpu: Cpu) -> tuple[float, ...]:
    return (cpu.service, cpu.postgres, cpu.busy, cpu.stolen, cpu.elapsed)


def cpu(lab: Lab, service: LaunchedService | None) -> Cpu:
    """Everything used so far."""
    pids = reaper.processes_of(lab.database.data_dir)
    postgres = sum(_process_seconds(pid, ended_children=pid == lab.database.pid) for pid in pids)
    # user nice system idle iowait irq softirq steal
    ticks = [int(text) for text in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return Cpu(
        service=_process_seconds(service.pid) if service and service.pid else 0.0,
        postgres=postgres,
        busy=(sum(ticks[:3]) + sum(ticks[5:7])) / _TICKS_PER_SECOND,
        stolen=ticks[7] / _TICKS_PER_SECOND,
        elapsed=sum(ticks) / _TICKS_PER_SECOND / (os.cpu_count() or 1),
    )


def _process_seconds(pid: int, *, ended_children: bool = False) -> float:
    try:
        columns = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(text) for text in columns[11 : 15 if ended_children else 13]) / _TICKS_PER_SECOND


def resident_mib(pid: int) -> float:
    """The resident memory of a process in MiB; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Median, smallest and largest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f}, n={len(values)})"


@dataclass
class Verdicts:
    """The goals of one bench, printed as they are judged."""

    missed: int = 0

    def judge(self, what: str, *, kept: bool) -> None:
        """Print the goal with its verdict."""
        self.missed += not kept
        print(f"{'kept  ' if kept else 'MISSED'} {what}", flush=True)

    def exit_code(self) -> int:
        """0 when all are kept."""
        return 1 if self.missed else 0
