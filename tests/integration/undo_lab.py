"""A PostgreSQL, a Toxiproxy and the reference service that outlive the runners which damage them.

The three are started here and given to runners as an external target.  What must be whole after an undo is asked of
PostgreSQL and Toxiproxy themselves, and of the writers, who go on over every kill.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg

from harness._wait import pause, wait_until
from harness.errors import DeadlineExceeded
from harness.fault import FAULTS, Fault
from harness.probes.foreign import EXTENSIONS, mark
from harness.stacks.base import Environment
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.stacks.external_parts import pid_in
from harness.stacks.postgres_server import EmbeddedPostgres
from harness.stacks.reaper import ROOT_VARIABLE
from harness.stacks.toxiproxy_process import ToxiproxyProxy
from harness.targets.model import load_target
from tests.integration.faults_lab import TARGET

ROOT = Path(__file__).parents[2]
TOKEN = "the lab's own"
MONTHS = ("2025_11", "2025_12", "2026_01", "2026_02", "2026_03")
_PASSWORDS = "pgpass"
CATALOG = """
SELECT c.relname, c.relkind::text, pg_get_userbyid(c.relowner), pg_get_expr(c.relpartbound, c.oid), c.relfilenode > 0
FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relname LIKE 'audit%'
UNION ALL SELECT conrelid::regclass || '.' || conname, 'constraint', pg_get_constraintdef(oid), '', convalidated
FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text LIKE 'audit%'
UNION ALL SELECT tgrelid::regclass || '.' || tgname, 'trigger', tgenabled::text, '', tgisinternal FROM pg_trigger
WHERE NOT tgisinternal
UNION ALL SELECT proname, 'function', '', '', true FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION ALL SELECT nspname, 'schema', pg_get_userbyid(nspowner), nspacl::text, true FROM pg_namespace
WHERE nspname NOT LIKE 'pg%'
UNION ALL SELECT extname, 'extension', '', '', true FROM pg_extension
UNION ALL SELECT rolname, 'role', rolconfig::text, rolconnlimit::text, rolcanlogin FROM pg_roles
WHERE rolname !~ '^pg_'
UNION ALL SELECT 'setting', coalesce(setdatabase::text, ''), setconfig::text, setrole::text, true
FROM pg_db_role_setting
UNION ALL SELECT datname, 'database', datconnlimit::text, '', datallowconn FROM pg_database
ORDER BY 1, 2, 3
"""
LOCKS = """
SELECT coalesce(a.application_name, '?'), l.mode, l.relation::regclass::text FROM pg_locks l
LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype = 'relation' AND l.pid <> pg_backend_pid() AND a.usename IS DISTINCT FROM 'slm_user'
  AND a.backend_type = 'client backend'
"""
RUNNER = """
import asyncio, json, select, sys
from pathlib import Path
import harness.faults
from harness.fault import fault_from_json
from harness.history import Clock, History
from harness.ledger import FOLDER, Holder, Ledger
from harness.nemesis import Nemesis
from harness.schedule import Schedule
from harness.stacks.external import ExternalStack
from harness.targets.model import load_target

async def main(target: str, folder: Path, faults: str) -> None:
    folder.mkdir(parents=True)
    ledger, history = Ledger(folder / FOLDER), History(folder, Clock())
    with ledger.held(Holder.RUN):
        stack = ExternalStack()
        async with stack.environment(
            load_target(Path(target)), name=folder.name, artifacts=folder, environment_overrides={}
        ) as environment:
            schedule = Schedule.of(*[fault_from_json(fault) for fault in json.loads(faults)])
            nemesis = Nemesis(environment, history, ledger, schedule)
            print("begins", flush=True)
            for number in range(len(schedule.steps)):
                await nemesis.inject(number)
            print("injected", flush=True)
            await asyncio.to_thread(select.select, [sys.stdin], [], [], float(sys.argv[4]))
            print("heals", flush=True)
            await nemesis.heal_all()
    print("ended", flush=True)

asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
"""


@dataclass
class UndoLab:
    """The parts, the target file that names them, and what their owner can ask of them."""

    folder: Path
    target: Path
    environment: Environment
    base_url: str
    pid_file: Path
    passwords: tuple[str, ...]
    """Of the harness's role and of the service's."""
    database_url: str
    acknowledged: list[tuple[str, str]] = field(default_factory=list)
    """Id and month of every event that the service answered 201 or 202."""
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _sending: int = 0

    @property
    def reports(self) -> Path:
        """Where the runners of this lab store what they do."""
        return self.folder / "reports"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a runner: the passwords are nowhere else."""
        return {**os.environ, "PYTHONPATH": str(ROOT), "PGPASSFILE": str(self.folder / _PASSWORDS)}

    def harness(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end."""
        return subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=ROOT,
            env={**self.variables, **extra},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def runner(self, name: str, faults: str, *, hold_seconds: float, **extra: str) -> subprocess.Popen[str]:
        """Start a runner that injects faults, holds them until its input ends or so long, and heals them again."""
        return subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(self.target), str(self.reports / name), faults, str(hold_seconds)],
            cwd=ROOT,
            env={**self.variables, **extra},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    async def catalog(self) -> list[tuple[object, ...]]:
        """Return the catalog's state that an undo must bring back."""
        async with await psycopg.AsyncConnection.connect(self.environment.database.admin_conninfo) as link:
            return await (await link.execute(CATALOG)).fetchall()

    async def is_whole(self, before: list[tuple[object, ...]]) -> list[str]:
        """Return what is not as it was; nothing when the undo was one."""
        wrong = []
        now = await self.catalog()
        if now != before:
            wrong.append(f"catalog: {sorted(set(now) ^ set(before), key=str)}")
        async with await psycopg.AsyncConnection.connect(
            self.environment.database.admin_conninfo, autocommit=True
        ) as link:
            locks = await (await link.execute(LOCKS)).fetchall()
            if locks:
                wrong.append(f"locks: {locks}")
            claim = await (await link.execute("SELECT run FROM harness_target")).fetchall()
            if claim != [("",)]:
                wrong.append(f"claim: {claim}")
            wrong += await _amcheck(link)
            wrong += await self._rows(link)
        if await self.environment.proxy.toxics() or not await self.environment.proxy.is_enabled():
            wrong.append(f"proxy: {await self.environment.proxy.toxics()}")
        return wrong

    async def _rows(self, link: psycopg.AsyncConnection) -> list[str]:
        """Every event that was acknowledged is in the table once, and no canary is left."""
        found = await (
            await link.execute(
                "SELECT event_id::text, count(*) FROM audit_events WHERE event_category <> 'harness_canary' GROUP BY 1"
            )
        ).fetchall()
        counts: dict[str, int] = dict(found)
        lost = [event_id for event_id, _ in self.acknowledged if event_id not in counts]
        twice = [event_id for event_id, count in counts.items() if count > 1]
        canaries = await (
            await link.execute("SELECT count(*) FROM audit_events WHERE event_category = 'harness_canary'")
        ).fetchone()
        return [
            *([f"{len(lost)} of {len(self.acknowledged)} acknowledged events are lost: {lost[:3]}"] if lost else []),
            *([f"stored twice: {twice[:3]}"] if twice else []),
            *([f"canaries: {canaries}"] if canaries != (0,) else []),
        ]

    async def drained(self) -> None:
        """Wait until the service is ready, every month healthy, and its queue empty."""
        async with httpx.AsyncClient(timeout=3.0, trust_env=False) as client:

            async def settled() -> bool:
                with suppress(httpx.HTTPError):
                    ready = await client.get(f"{self.base_url}/health/ready")
                    depth = (await client.get(f"{self.base_url}/api/v1/dlq")).json()["depth"]
                    return ready.status_code == 200 and not ready.json()["degraded"] and depth == 0
                return False

            try:
                await wait_until(settled, what="the service to have drained", deadline_seconds=40, interval_seconds=0.1)
            except DeadlineExceeded as error:
                said = (await client.get(f"{self.base_url}/health/ready")).text
                children = [child for child in await self.catalog() if child[3]]
                raise DeadlineExceeded(f"{error}: {said}; {children}") from error

    @asynccontextmanager
    async def writing(self, rate: float = 20.0) -> AsyncIterator[None]:
        """Write events into every month all the while."""
        async with httpx.AsyncClient(timeout=8.0, trust_env=False) as client:
            self.busy()
            tasks = [asyncio.create_task(self._write(client, month, rate)) for month in MONTHS]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def busy(self) -> None:
        """Let the writers write."""
        self._gate.set()

    async def calm(self) -> None:
        """Keep the writers from writing, and wait for the answers they still owe."""
        self._gate.clear()

        async def answered() -> bool:
            return self._sending == 0

        await wait_until(answered, what="the writers' last answers", deadline_seconds=20)

    async def _write(self, client: httpx.AsyncClient, month: str, rate: float) -> None:
        while True:
            await self._gate.wait()
            event_id = str(uuid.uuid4())
            body = {
                "event_id": event_id,
                "event_timestamp": f"{month.replace('_', '-')}-10T12:00:00Z",
                "event_type": "test",
                "event_category": "undo",
                "event_action": "write",
                "event_outcome": "success",
                # As a run of the harness would: the writers are the lab's own, not a stranger's.
                "correlation_id": f"20260101-000000-undo-lab-0000/{len(self.acknowledged)}",
                "event_data": {"amount": 1.10},
            }
            self._sending += 1
            try:
                answer = await client.post(f"{self.base_url}/api/v1/audit/events", json=body)
                if answer.status_code in (201, 202):
                    self.acknowledged.append((event_id, month))
            except httpx.HTTPError:
                pass
            finally:
                self._sending -= 1
            await pause(1 / rate)


async def _amcheck(link: psycopg.AsyncConnection) -> list[str]:
    before = {row[0] for row in await (await link.execute("SELECT extname FROM pg_extension")).fetchall()}
    try:
        await link.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
    except psycopg.Error:
        return []
    wrong = []
    for name, kind in await (
        await link.execute(
            "SELECT oid::regclass::text, relkind::text FROM pg_class WHERE relkind IN ('r', 'i')"
            " AND relnamespace = 'public'::regnamespace AND relname LIKE 'audit_events_%'"
        )
    ).fetchall():
        check = "bt_index_check(%s::regclass, true)::text" if kind == "i" else "(verify_heapam(%s::regclass)).msg"
        try:
            wrong += [
                f"{name}: {row[0]}"
                for row in await (await link.execute(f"SELECT {check}", (name,))).fetchall()
                if row[0]
            ]
        except psycopg.Error as error:
            wrong.append(f"{name}: {error}")
    for extension in EXTENSIONS:
        if extension not in before:
            await link.execute(f"DROP EXTENSION IF EXISTS {extension}")
    return wrong


@asynccontextmanager
async def undo_lab(folder: Path, bindir: Path | None = None) -> AsyncIterator[UndoLab]:
    """Start the parts and mark the database; end them afterwards."""
    shutil.copy(Path(__file__).with_name("silent_service.py"), folder)
    (folder / "silent.toml").write_text(TARGET)
    stack = EmbeddedStack(EmbeddedOptions(pg_bindir=bindir))
    async with stack.environment(
        load_target(folder / "silent.toml"), name="undo", artifacts=folder / "artifacts", environment_overrides={}
    ) as environment:
        database, proxy = environment.database, environment.proxy
        assert isinstance(database, EmbeddedPostgres)
        assert isinstance(proxy, ToxiproxyProxy)
        passwords = _write_passwords(folder / _PASSWORDS, database)
        given = psycopg.conninfo.make_conninfo(database.admin_conninfo, application_name="")
        clean = " ".join(part for part in given.split() if not part.startswith(("password=", "application_name=")))
        port = _free_port()
        start, pid_file = _service_script(
            folder, database.service_url(proxy.port), port, str(environment.reopen["root"])
        )
        target = folder / "target.toml"
        target.write_text(
            f'name = "lab"\nurl = "http://127.0.0.1:{port}"\nallow_faults = true\n[external]\n'
            f"database_url = {json.dumps(clean)}\ntoken = {json.dumps(TOKEN)}\n"
            f'toxiproxy_url = "{proxy.client.base_url}"\nproxy_name = "{proxy.name}"\n'
            f'data_dir = "{database.data_dir}"\nservice_pid_file = "{pid_file}"\nservice_start = ["sh", "{start}"]\n'
        )
        lab = UndoLab(folder, target, environment, f"http://127.0.0.1:{port}", pid_file, passwords, clean)
        lab.reports.mkdir()
        try:
            subprocess.run(["sh", str(start)], check=True, cwd=folder)
            await lab.drained()
            await mark(database.admin_conninfo, TOKEN)
            yield lab
        finally:
            pid = pid_in(pid_file)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)


def _write_passwords(path: Path, database: EmbeddedPostgres) -> tuple[str, ...]:
    """Write a password file for both roles, as whoever owns such parts would, and return what is secret in it."""
    path.touch(mode=0o600)
    known = [psycopg.conninfo.conninfo_to_dict(info) for info in (database.admin_conninfo, database.service_conninfo)]
    path.write_text("".join(f"127.0.0.1:*:*:{one['user']}:{one['password']}\n" for one in known))
    return tuple(str(one["password"]) for one in known)


def _service_script(folder: Path, database_url: str, port: int, root: str) -> tuple[Path, Path]:
    """Write what starts the reference service in the background, as its owner would.

    It outlives every runner, but not the lab: it has the mark by which the lab's reaper ends it with the other parts.
    """
    pid_file, script = folder / "service.pid", folder / "start-service.sh"
    settings = {
        "DATABASE_URL": database_url,
        "DLQ_URL": f"sqlite:///{folder}/dlq.sqlite3",
        "PORT": str(port),
        "PARTITIONS_FROM": "2025-11",
        "EVENT_MAX_AGE_DAYS": "3650",
        "EVENT_MAX_AHEAD_DAYS": "3650",
        "PYTHONPATH": str(ROOT),
        ROOT_VARIABLE: root,
    }
    exports = "\n".join(f"export {key}={shlex.quote(value)}" for key, value in settings.items())
    log = shlex.quote(str(folder / "service.log"))
    script.write_text(
        f"{exports}\ncd {shlex.quote(str(folder))}\n"
        f"{shlex.quote(sys.executable)} -m service >>{log} 2>&1 </dev/null &\necho $! >{shlex.quote(str(pid_file))}\n"
    )
    script.chmod(0o700)
    return script, pid_file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def of_registry(faults: tuple[Fault, ...]) -> dict[str, Fault]:
    """Return one of ``faults`` for each name that the registry has."""
    found = {fault.name: fault for fault in faults}
    return {name: found[name] for name in FAULTS if name in found}
