"""How long an environment takes to be ready, against the sum of its parts, each measured alone in the same run.

    python -m bench.environment [ROUNDS]

The parts: cloning the data directory, starting PostgreSQL, starting Toxiproxy (all three beside a program that only
listens), and the bare import of the libraries of the reference service in a fresh interpreter.  They are measured
before and after each environment, and their mean counts, since a machine that is shared changes its speed within
seconds.  The bound of the project is 1.5 times their sum; parts overlap, so it can be below 1.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.session import REFERENCE_TARGET
from harness.stacks.base import StartTimings
from harness.stacks.embedded import EmbeddedStack
from harness.targets.model import Target, load_target

BOUND = 1.5
LIBRARIES = (
    "starlette.applications, starlette.routing, uvicorn, uvloop, httptools, psycopg_pool, prometheus_client, sqlite3"
)
LISTENER = """
import http.server, os, pathlib
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'{"status": "ok", "degraded": []}')
    def log_message(self, *arguments): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Ready)
pathlib.Path(os.environ["PORT_FILE"]).write_text(str(server.server_port))
server.serve_forever()
"""


def bare_import_seconds() -> float:
    """One fresh interpreter that imports the service's libraries, without the interpreter's own start."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import {LIBRARIES}"], check=True)
    imported = time.monotonic() - began
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return imported - (time.monotonic() - began)


def listener(folder: Path) -> Target:
    """A target that listens and does nothing else."""
    (folder / "listener.py").write_text(LISTENER)
    path = folder / "listener.toml"
    path.write_text(
        'name = "listener"\n[launch]\ncommand = ["{python}", "-S", "{root}/listener.py"]\n'
        '[launch.environment]\nPORT_FILE = "{port_file}"\nPORT = "0"\n'
    )
    return load_target(path)


async def start(stack: EmbeddedStack, target: Target, artifacts: Path) -> tuple[StartTimings, float]:
    """Start and stop one environment; return its parts and the time until it was ready."""
    began = time.monotonic()
    async with stack.environment(target, name="bench", artifacts=artifacts, environment_overrides={}) as environment:
        return environment.timings, time.monotonic() - began


async def alone(stack: EmbeddedStack, bare: Target, folder: Path) -> tuple[float, float, float, float]:
    """Seconds of each part by itself: clone, PostgreSQL, Toxiproxy, import."""
    parts, _ = await start(stack, bare, folder)
    return parts.clone_seconds, parts.postgres_seconds, parts.toxiproxy_seconds, bare_import_seconds()


async def measure(rounds: int, folder: Path) -> None:
    """Print one line a round and the medians."""
    stack = EmbeddedStack()
    reference, bare = load_target(REFERENCE_TARGET), listener(folder)
    for target in (reference, bare):
        await asyncio.to_thread(stack.prepare, target)
    ratios = []
    print(f"{'ready':>7} {'clone':>7} {'postgres':>9} {'toxiproxy':>10} {'import':>7} {'ratio':>6}   seconds")
    before = await alone(stack, bare, folder / "parts")
    for number in range(rounds):
        _, ready = await start(stack, reference, folder / f"ready-{number}")
        after = await alone(stack, bare, folder / f"parts-{number}")
        parts = [statistics.mean(pair) for pair in zip(before, after, strict=True)]
        before = after
        ratios.append(ready / sum(parts))
        clone, postgres, toxiproxy, imported = parts
        print(f"{ready:7.2f} {clone:7.2f} {postgres:9.2f} {toxiproxy:10.2f} {imported:7.2f} {ratios[-1]:6.2f}")
    median = statistics.median(ratios)
    print(f"median ratio {median:.2f}, largest {max(ratios):.2f}; the bound is {BOUND}")


def main() -> None:
    """Measure; the argument is how many rounds."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        asyncio.run(measure(rounds, Path(folder)))


if __name__ == "__main__":
    main()
