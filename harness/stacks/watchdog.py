"""The watchdog: a dead-man's switch beside a runner whose environment outlives it.

It holds the read end of a pipe whose only write end is the runner's.  A runner that healed everything writes ``bye``
first; end of file without it means that the runner is gone, SIGKILL included, or gave up, and the command given (a
``harness heal``) is run until it succeeds, a few times.

Run by path with ``python -I -S``, so it imports nothing but the standard library and starts in about 15 ms.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

FAREWELL = b"bye"
TRIES = 5
_BETWEEN_SECONDS = 2.0


def main(pipe: int, log_path: str, command: Sequence[str]) -> None:
    """Wait for the runner's farewell or its end, and heal on the latter."""
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # The signal that ends the runner may be meant for the whole group: the watchdog outlives it on purpose.
        signal.signal(name, signal.SIG_IGN)
    said = b""
    while chunk := os.read(pipe, 64):
        said += chunk
    if FAREWELL in said:
        return
    with open(log_path, "ab", buffering=0) as log:
        for _ in range(TRIES):
            if subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=False).returncode == 0:
                return
            threading.Event().wait(_BETWEEN_SECONDS)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
