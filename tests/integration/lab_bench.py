"""What the tests of labs share: a user of their own, commands as from so many terminals, and a search for leftovers."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness._wait import wait_until_sync
from harness.errors import DeadlineExceeded
from harness.stacks.ports import is_listening

ROOT = Path(__file__).parents[2]
_PORTS = re.compile(r"(?:port=|127\.0\.0\.1:)(\d{4,5})\b")
_DAEMON = b"harness.lab.daemon"
_KEEPER = b"harness.cli import main"


@dataclass
class Bench:
    """One user's machine: temporary folder, state and reports below ``place``."""

    place: Path
    ports: set[int] = field(default_factory=set)
    """Every port that any command has told of."""

    @property
    def reports(self) -> Path:
        """Where runs and labs are stored."""
        return self.place / "reports"

    @property
    def labs(self) -> Path:
        """Where labs are known."""
        return self.place / "state/partition-harness/labs"

    @property
    def variables(self) -> dict[str, str]:
        """The environment of each command."""
        own = {"TMPDIR": str(self.place), "XDG_STATE_HOME": str(self.place / "state"), "PYTHONPATH": str(ROOT)}
        return {**os.environ, **own}

    def command(self, *arguments: str) -> list[str]:
        """The command line of the harness."""
        return [sys.executable, "-m", "harness", *arguments]

    def harness(self, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run the command line to its end, as from another terminal."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=cwd,
            env=self.variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
        if arguments[:2] != ("lab", "logs"):
            # Those name the clients' own ports as well, which outlive a lab for as long as the kernel closes them.
            self.ports |= {int(port) for port in _PORTS.findall(done.stdout)}
        return done

    def lab(self, *arguments: str, code: int | None = 0) -> str:
        """Run a command of the lab and return all it said; ``code`` is what it must end with, None for any."""
        where = ("--reports", str(self.reports)) if arguments[0] == "up" else ()
        done = self.harness("lab", *arguments, *where)
        assert code in (None, done.returncode), f"{arguments}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def status(self, *arguments: str) -> dict[str, Any]:
        """Return the status of a lab."""
        done = self.harness("lab", "status", "--json", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        self.ports |= {int(port) for port in _PORTS.findall(found["service"]["url"])}
        return found

    def pid(self, name: str = "lab") -> int:
        """The daemon of a lab."""
        return int((self.labs / name / "lock").read_text())

    def listed(self) -> dict[str, str]:
        """The state of each lab by its name."""
        done = self.harness("lab", "list", "--json")
        assert done.returncode == 0
        return {row["name"]: row["state"] for row in json.loads(done.stdout)}

    def wait_sent(self, events: int, status: str = "201", *arguments: str) -> None:
        """Wait until so many events of a lab were answered so."""

        def enough() -> bool:
            return int(self.status(*arguments)["answers"].get(status, 0)) >= events

        wait_until_sync(enough, what=f"{events} answers {status}", deadline_seconds=60, interval_seconds=0.2)

    def left(self) -> list[str]:
        """What of any lab is still there: processes, ports, roots (which hold the sockets), places."""
        found = [f"process {pid}: {what}" for pid, what in self.processes()]
        found += [f"port {port} is listened at" for port in sorted(self.ports) if is_listening(port)]
        found += [str(path) for path in self.place.glob("ph-*")]
        found += [str(path) for path in self.labs.glob("*")]
        return found

    def processes(self) -> Iterator[tuple[int, str]]:
        """Processes that work below the place, and daemons of its labs, by their environment."""
        mark = f"XDG_STATE_HOME={self.place / 'state'}".encode()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                told = (entry / "cmdline").read_bytes()
                below = (entry / "cwd").readlink().is_relative_to(self.place)
                mine = mark in (entry / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if told and (below or (mine and (_DAEMON in told or _KEEPER in told))):
                yield int(entry.name), told.replace(b"\0", b" ")[:120].decode(errors="replace")

    def assert_nothing_left(self) -> None:
        """Wait until nothing of any lab is left; a reaper takes its time."""
        with suppress(DeadlineExceeded):
            wait_until_sync(lambda: not self.left(), what="the end", deadline_seconds=30, interval_seconds=0.1)
        left = self.left()
        assert not left, "\n".join(left)


@contextmanager
def bench() -> Iterator[Bench]:
    """A folder that PostgreSQL's user may enter, and at the end no lab in it, whatever the test came to."""
    place = Path(tempfile.mkdtemp(prefix="lab-test-", dir="/tmp"))
    place.chmod(0o755)
    made = Bench(place)
    try:
        yield made
    finally:
        subprocess.run(
            made.command("lab", "down", "--all", "--kill"),
            cwd=ROOT,
            env=made.variables,
            capture_output=True,
            check=False,
        )
        shutil.rmtree(place, ignore_errors=True)
