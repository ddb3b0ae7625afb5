"""Order: what the daemon of a lab is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class LabOrder:
    """What a daemon is started with; the descriptors are inherited: the lock of its name, and the pipe to tell by."""

    name: str
    state: Path
    target: Path
    reports: Path
    seed: int
    max_age_seconds: float
    lock_descriptor: int
    pipe_descriptor: int
    pg_bindir: str = ""
    pg_port: int | None = None
    proxy_port: int | None = None
    toxiproxy_url: str | None = None
    service_environment: dict[str, str] = field(default_factory=dict)
