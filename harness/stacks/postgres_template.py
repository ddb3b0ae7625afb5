"""A prepared data directory per PostgreSQL build, made once by initdb and cloned for each environment.

initdb takes most of a second, a clone less than a tenth.  Roles: ``harness``, the superuser the harness logs
in as, and ``slm_user``, the service's role, who owns the database ``audit`` and nothing else.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import SetupError
from .cache import build_directory, shared_cache
from .postgres_locator import PostgresInstallation
from .runtime_user import RuntimeUser, ToolResult, run_tool
from .scram import scram_verifier

ADMIN_ROLE = "harness"
SERVICE_ROLE = "slm_user"
DATABASE = "audit"

_FORMAT = 4
"""Part of the cache key: raise it with every change to what a template contains."""

_SETTINGS = """
# In this file and not on the command line, so that ALTER SYSTEM can still change them.
listen_addresses = '127.0.0.1'
# The path of a socket in a deep temporary directory can exceed what the kernel takes.
unix_socket_directories = ''
max_connections = 100
shared_buffers = '32MB'
fsync = on
synchronous_commit = on
full_page_writes = on
# Inside the data directory, so that a killed server leaves nothing in /dev/shm.
dynamic_shared_memory_type = mmap
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
log_line_prefix = '%m [%p] %q%u@%d '
"""


@dataclass(frozen=True)
class Template:
    """A data directory ready to be cloned, and the passwords of its two roles."""

    data_dir: Path
    admin_password: str
    service_password: str

    @property
    def passwords(self) -> tuple[str, ...]:
        """Those of both roles."""
        return (self.admin_password, self.service_password)

    def clone(self, destination: Path, user: RuntimeUser) -> None:
        """Copy the data directory to ``destination``, owner and modes as they are, by reflink where possible.

        Raises :class:`harness.errors.SetupError`, among others when the disk is full.
        """
        options = ["-a", "--reflink=auto"] if os.uname().sysname == "Linux" else ["-a"]
        # Its working directory marks the copy as part of the environment, whose end may come in the middle of
        # it.
        done = run_tool(["cp", *options, self.data_dir, destination], cwd=destination.parent)
        if done.exit_code != 0:
            raise SetupError(
                f"The database template could not be copied to {destination}: {done.last_lines(2)}. "
                f"{remedy_for(done.output) or 'Check that the directory can be written.'}"
            )


def prepare_template(
    installation: PostgresInstallation, user: RuntimeUser, environment: Mapping[str, str], scram_iterations: int
) -> Template:
    """The template of this PostgreSQL build from the cache, made now if it is not there.

    Raises :class:`harness.errors.SetupError` when initdb fails.
    """
    key = f"template-{installation.version_num}-{installation.identity}-{user.uid}-scram{scram_iterations}-v{_FORMAT}"
    final = shared_cache(user) / key
    with build_directory(final) as place:
        if place is not None:
            _build(place, installation, user, environment, scram_iterations)
            os.sync()
            (place / "template").rename(final)
    passwords = json.loads((final / "passwords.json").read_text())
    return Template(final / "data", passwords["admin"], passwords["service"])


def remedy_for(output: str) -> str:
    """What to do about the failure that a program's output shows; empty when it shows nothing known."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return (
            "The disk is full: free some space (an environment needs about 100 MB), or set TMPDIR and "
            "XDG_CACHE_HOME to a file system that has it."
        )
    if "Permission denied" in output:
        return "Check that the directory and all above it can be entered by the user who runs PostgreSQL."
    if "shared library" in output or "shared libraries" in output:
        return "A library is missing: install it, or use another PostgreSQL with --pg-bindir."
    return ""


def _build(
    place: Path,
    installation: PostgresInstallation,
    user: RuntimeUser,
    environment: Mapping[str, str],
    scram_iterations: int,
) -> None:
    template, work = place / "template", place / "work"
    template.mkdir()
    template.chmod(0o755)
    work.mkdir(mode=0o700)
    place.chmod(0o755)
    data = template / "data"
    data.mkdir(mode=0o700)
    admin, service = secrets.token_hex(16), secrets.token_hex(16)
    password_file = work / "password"
    password_file.write_text(scram_verifier(admin, scram_iterations))
    if user.switches:
        for path in (data, work, password_file):
            os.chown(path, user.uid, user.gid)
    initdb: list[str | Path] = [
        *(installation.bindir / "initdb", "-D", data, "-U", ADMIN_ROLE, f"--pwfile={password_file}"),
        *(
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--data-checksums",
            "--wal-segsize=1",
            "--no-sync",
        ),
    ]
    _must("initdb", run_tool(initdb, user=user, cwd=work, environment=environment))
    # Single-user mode needs neither port nor socket, so nothing can answer in its stead.  One database is
    # left, because each costs every clone 7 MB and 300 files: template1, renamed; its own session drops the
    # one that the first session had to be in.
    _single(
        installation,
        data,
        user,
        environment,
        "postgres",
        f"CREATE ROLE {SERVICE_ROLE} LOGIN NOSUPERUSER PASSWORD '{scram_verifier(service, scram_iterations)}'",
        "UPDATE pg_database SET datistemplate = false",
        f"ALTER DATABASE template1 RENAME TO {DATABASE}",
        f"ALTER DATABASE {DATABASE} OWNER TO {SERVICE_ROLE}",
        "DROP DATABASE template0",
    )
    _single(installation, data, user, environment, DATABASE, "DROP DATABASE postgres")
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.write(_SETTINGS)
    passwords = template / "passwords.json"
    passwords.touch(mode=0o600)
    passwords.write_text(json.dumps({"admin": admin, "service": service}))


def _single(
    installation: PostgresInstallation,
    data: Path,
    user: RuntimeUser,
    environment: Mapping[str, str],
    database: str,
    *statements: str,
) -> None:
    command = [str(installation.bindir / "postgres"), "--single", "-D", str(data), database]
    text = "".join(f"{statement}\n" for statement in statements)
    done = run_tool(command, user=user, cwd=data.parent, environment=environment, stdin=text)
    # It ends with 0 whatever the statements came to.
    _must("postgres --single", ToolResult(1 if "ERROR:" in done.output else done.exit_code, done.output))


def _must(tool: str, done: ToolResult) -> None:
    if done.exit_code != 0:
        raise SetupError(
            f"The database template could not be prepared: {tool} ended with {done.exit_code} and said: "
            f"{done.last_lines()} {remedy_for(done.output) or 'Try another PostgreSQL with --pg-bindir.'}"
        )
