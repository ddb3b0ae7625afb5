"""The process that holds the queue's write lock: run by path, so it imports nothing but the standard library.

It waits for a line before it locks, so that its pid is in the ledger first, and ends with its runner: its standard
input is a pipe that nobody else writes to.
"""

from __future__ import annotations

import os
import sqlite3
import sys


def main(path: str) -> None:
    """Lock when told to, say so, and hold on until the pipe closes; the lock goes with the process."""
    if not sys.stdin.readline():
        return
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    database.execute("BEGIN EXCLUSIVE")
    sys.stdout.write("locked\n")
    sys.stdout.flush()
    sys.stdin.read()
    # Not an orderly close, which might checkpoint or delete the service's files.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
