"""``target.toml``: how to launch, reach and read the service under test.

The file is parsed once, here, into frozen dataclasses; every key is known, every mistake is a
:class:`harness.errors.TargetError` naming file, key and remedy.  docs/reference/target.md lists the keys.

Placeholders in ``launch.command`` and ``launch.environment``: ``{python}`` (this interpreter), ``{root}`` (the
folder of the file), ``{database_url}`` (through the proxy), ``{workdir}`` (temporary, empty at start),
``{port_file}``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from ..errors import TargetError, UsageError
from ..values import Month

S = TypeVar("S")
_WORDS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_KEYS = {"name", "url", "months", "launch", "limits", "reads", "tokens", "allow_faults", "external", "observability"}
PLACEHOLDERS = ("python", "root", "database_url", "workdir", "port_file")


@dataclass(frozen=True)
class Launch:
    """The service as a child process: command and environment, placeholders unfilled.

    Its working directory is ``{workdir}``; whatever it starts is found again for clean-up by a working directory
    below the runner's root, or by the environment variable ``PARTITION_HARNESS_ROOT`` that the stack adds.
    ``dlq_file`` is the SQLite file of its queue, for a service that is not told by ``DLQ_URL = "sqlite:///…"``.
    ``scram_iterations`` are those of its password in the embedded PostgreSQL: fewer make a login cheaper for a client
    that takes fewer.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    start_timeout_seconds: float = 30.0
    dlq_file: str = ""
    scram_iterations: int = 4096


@dataclass(frozen=True)
class Limits:
    """The numbers of the contract by which this target wants to be judged."""

    db_pool_max: int = 25
    stalling_month_share: int = 4
    acquire_timeout_seconds: float = 2.0
    statement_timeout_seconds: float = 2.0
    lock_timeout_seconds: float = 1.0
    request_deadline_seconds: float = 5.0
    partition_check_seconds: float = 2.0
    partitions_ahead_months: int = 3
    recovery_seconds: float = 5.0

    @property
    def smallest_timeout_seconds(self) -> float:
        """The smallest time-out on the path of a write that the network delays."""
        return min(self.acquire_timeout_seconds, self.statement_timeout_seconds, self.request_deadline_seconds)


@dataclass(frozen=True)
class Reads:
    """What the harness can look into; what is False is reported as not checked, never as passed."""

    sql: bool = True
    dlq: bool = True
    metrics: bool = True
    logs: bool = True
    query: bool = True


@dataclass(frozen=True)
class Tokens:
    """Bearer tokens the service expects; redacted from every artifact."""

    admin: str = ""
    metrics: str = ""


@dataclass(frozen=True)
class External:
    """A PostgreSQL, a Toxiproxy and a service that somebody else started and that outlive the runner.

    ``database_url`` is a libpq connection string of the harness's own role, past the proxy and without a password.
    ``token`` must be in the marker table of that database (``harness mark``).  The rest is optional: with
    ``data_dir`` on this host files can be damaged and the server stopped; with ``service_pid_file`` and
    ``service_start`` the service can be killed.
    """

    database_url: str
    token: str
    toxiproxy_url: str
    proxy_name: str
    service_role: str = "slm_user"
    metrics_url: str = ""
    data_dir: str = ""
    database_start: tuple[str, ...] = ()
    service_pid_file: str = ""
    service_start: tuple[str, ...] = ()
    max_foreign_rows: int = 1_000_000


@dataclass(frozen=True)
class Observability:
    """Files by which the target is watched, which the checker ``observability`` compares with what it exports.

    ``labels`` are those that its scrape adds besides job and instance; series whose names begin with one of ``foreign``
    are exported by others.
    """

    rules: tuple[Path, ...] = ()
    dashboards: tuple[Path, ...] = ()
    labels: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """One service under test.  ``url`` is empty when the harness launches it.

    ``allow_faults`` counts where the database is not the harness's own (``external``).
    """

    name: str
    path: Path
    launch: Launch | None
    url: str = ""
    limits: Limits = Limits()
    reads: Reads = Reads()
    tokens: Tokens = Tokens()
    months: tuple[Month, ...] = ()
    allow_faults: bool = False
    external: External | None = None
    observability: Observability = Observability()

    @property
    def root(self) -> Path:
        """The folder that ``{root}`` stands for."""
        return self.path.parent

    @property
    def scram_iterations(self) -> int:
        """Those of the passwords in a PostgreSQL of the harness; the usual ones where it starts no service."""
        return (self.launch or Launch).scram_iterations

    def lacks(self, months: Iterable[Month]) -> frozenset[Month]:
        """Those of the months that it does not list and no service makes by itself, as it does today's and the next."""
        present = Month.of(datetime.now(UTC).date())
        return frozenset(months) - {*self.months, present, present.plus(1)}


def load_target(path: Path) -> Target:
    """Read one ``target.toml``; raise :class:`TargetError` with the remedy for anything wrong in it."""
    remedy, page = "Give the path of a target.toml with --target.", "docs/reference/target.md shows a whole file."
    return _target(path.resolve(), read_toml(path, "target file", remedy, page, TargetError))


def read_toml(path: Path, what: str, remedy: str, page: str, kind: type[UsageError]) -> dict[str, Any]:
    """Read a TOML file that a user names; raise ``kind`` with the remedy, or with the page that shows a valid one."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise kind(f"The {what} {path} cannot be read ({error.strerror}). {remedy}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise kind(f"The {what} {path} is not valid TOML: {error}. Mend that line; {page}") from error


def _target(path: Path, raw: dict[str, Any]) -> Target:
    _known(path, "", raw, _KEYS)
    if "name" not in raw:
        raise TargetError(f'{path}: name is missing; add a line such as name = "my-service" at the top.')
    name = _string(path, "name", raw["name"])
    url = _string(path, "url", raw.get("url", ""))
    launch = _launch(path, raw["launch"]) if "launch" in raw else None
    if (launch is None) == (not url):
        raise TargetError(
            f'{path}: a target is either launched or reached; give exactly one of [launch] and url = "http://…".'
        )
    months = raw.get("months", ["2025_11", "2025_12", "2026_01", "2026_02", "2026_03"])
    if not isinstance(months, list) or not months:
        raise TargetError(f'{path}: months must be a list of labels such as ["2025_12", "2026_01"].')
    return Target(
        name=name,
        path=path,
        launch=launch,
        url=url,
        limits=_section(path, "limits", raw, Limits),
        reads=_reads(path, raw, launched=launch is not None),
        tokens=_section(path, "tokens", raw, Tokens),
        months=tuple(_month(path, label) for label in months),
        allow_faults=_flag(path, "allow_faults", raw.get("allow_faults", False)),
        external=_external(path, raw["external"], url) if "external" in raw else None,
        observability=_observability(path, raw.get("observability", {})),
    )


def _observability(path: Path, raw: Any) -> Observability:
    table = _table(path, "observability", raw)
    _known(path, "observability.", table, {f.name for f in fields(Observability)})
    for key, value in table.items():
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise TargetError(f"{path}: observability.{key} must be a list of strings.")
    files: dict[str, tuple[Path, ...]] = {}
    for key in ("rules", "dashboards"):
        named = [path.parent / name.replace("{root}", str(path.parent)) for name in table.get(key, [])]
        for file in named:
            if not file.is_file():
                raise TargetError(f"{path}: observability.{key} names {file}, which is no file; mend the path.")
        files[key] = tuple(named)
    labels, foreign = (tuple(table.get(key, ())) for key in ("labels", "foreign"))
    return Observability(files["rules"], files["dashboards"], labels, foreign)


def _external(path: Path, raw: Any, url: str) -> External:
    table = _table(path, "external", raw)
    known = {f.name: f for f in fields(External)}
    _known(path, "external.", table, set(known))
    if not url:
        raise TargetError(f'{path}: [external] needs the service\'s own url = "http://…" at the top.')
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key.endswith("_start"):
            if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
                raise TargetError(f"{path}: external.{key} must be a list of strings, the program first.")
            values[key] = tuple(value)
        elif key == "max_foreign_rows":
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise TargetError(f"{path}: external.{key} must be a whole number of rows, not {value!r}.")
            values[key] = value
        else:
            values[key] = _string(path, f"external.{key}", value)
    for key in ("database_url", "token", "toxiproxy_url", "proxy_name"):
        if not values.get(key):
            raise TargetError(f"{path}: external.{key} is missing; docs/how-to/undo.md shows a whole table.")
    return External(**values)


def _flag(path: Path, key: str, raw: Any) -> bool:
    if not isinstance(raw, bool):
        raise TargetError(f"{path}: {key} must be true or false, not {raw!r}.")
    return raw


def _month(path: Path, raw: Any) -> Month:
    try:
        return Month.parse(_string(path, "months", raw))
    except TargetError:
        raise
    except UsageError as error:
        raise TargetError(f"{path}: months: {error}") from error


def _reads(path: Path, raw: dict[str, Any], *, launched: bool) -> Reads:
    """Read the section; the log of a service that the harness did not start cannot be read."""
    reads = _section(path, "reads", raw, Reads)
    return reads if launched else replace(reads, logs=False)


def _launch(path: Path, raw: Any) -> Launch:
    table = _table(path, "launch", raw)
    _known(path, "launch.", table, {f.name for f in fields(Launch)})
    command = table.get("command")
    if not isinstance(command, list) or not command or not all(isinstance(part, str) for part in command):
        raise TargetError(
            f"{path}: launch.command must be a list of strings, the program first, "
            'such as ["{python}", "-m", "service"].'
        )
    environment = _table(path, "launch.environment", table.get("environment", {}))
    for key, value in environment.items():
        _placeholders(path, f"launch.environment.{key}", _string(path, f"launch.environment.{key}", value))
    for part in command:
        _placeholders(path, "launch.command", part)
    timeout = table.get("start_timeout_seconds", 30.0)
    if not isinstance(timeout, int | float) or isinstance(timeout, bool) or timeout <= 0:
        raise TargetError(f"{path}: launch.start_timeout_seconds must be a number of seconds above 0.")
    dlq_file = _string(path, "launch.dlq_file", table.get("dlq_file", ""))
    _placeholders(path, "launch.dlq_file", dlq_file)
    iterations = table.get("scram_iterations", Launch.scram_iterations)
    if not isinstance(iterations, int) or isinstance(iterations, bool) or iterations < 1:
        raise TargetError(f"{path}: launch.scram_iterations must be a whole number from 1, not {iterations!r}.")
    return Launch(tuple(command), dict(environment), float(timeout), dlq_file, iterations)


def _placeholders(path: Path, key: str, text: str) -> None:
    try:
        text.format(**dict.fromkeys(PLACEHOLDERS, ""))
    except (KeyError, IndexError, ValueError) as error:
        names = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise TargetError(
            f"{path}: {key} = {text!r} has an unknown placeholder ({error}); known are {names}."
        ) from error


def _section(path: Path, name: str, raw: dict[str, Any], kind: type[S]) -> S:
    table = _table(path, name, raw.get(name, {}))
    defaults = kind()
    _known(path, f"{name}.", table, set(vars(defaults)))
    values: dict[str, Any] = {}
    for key, value in table.items():
        expected: type[Any] = type(getattr(defaults, key))
        number_ok = expected is float and isinstance(value, int) and not isinstance(value, bool)
        if not number_ok and type(value) is not expected:
            raise TargetError(f"{path}: {name}.{key} must be {_WORDS[expected]}, not {value!r}.")
        if expected in (int, float) and value <= 0:
            raise TargetError(f"{path}: {name}.{key} must be above 0, not {value!r}.")
        values[key] = expected(value)
    return kind(**values)


def _table(path: Path, key: str, raw: Any) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise TargetError(f"{path}: [{key}] must be a table.")
    return raw


def _string(path: Path, key: str, raw: Any) -> str:
    if not isinstance(raw, str) or (key == "name" and not raw.strip()):
        wanted = "a string that is not empty" if key == "name" else "a string"
        raise TargetError(f"{path}: {key} must be {wanted}, not {raw!r}.")
    return raw


def _known(path: Path, prefix: str, table: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(table) - known)
    if unknown:
        raise TargetError(
            f"{path}: unknown key {prefix}{unknown[0]}; known here are {', '.join(sorted(known))}. "
            "docs/reference/target.md explains each."
        )
