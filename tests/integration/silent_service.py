"""The service of the fault tests: it answers, keeps a SQLite queue open and writes to it, and never touches a table.

Run by path, so it imports nothing of the tree.  Its queue's depth grows with each look while a partition is detached,
as a load would have it grow.
"""

from __future__ import annotations

import http.server
import json
import os
import pathlib
import signal
import sqlite3
import threading

CAPACITY, STEP, MONTHS = 50, 10, 3
QUEUE = pathlib.Path(os.environ.get("DLQ_URL", "").removeprefix("sqlite:///"))
depth = 0


def attached() -> int:
    import psycopg

    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM pg_inherits WHERE inhparent = 'audit_events'::regclass")
        return int((row.fetchone() or (0,))[0])


def keep_queue(stop: threading.Event) -> None:
    """Commit a row every 10 ms into the file that has the name; a deleted one is made anew."""
    database, inode = None, 0
    while not stop.wait(0.01):
        try:
            if database is None or not QUEUE.exists() or QUEUE.stat().st_ino != inode:
                if database is not None:
                    database.close()
                database = sqlite3.connect(QUEUE, timeout=0.05, isolation_level=None)
                database.executescript(
                    "PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, event TEXT)"
                )
                inode = QUEUE.stat().st_ino
            body = json.dumps({"event_id": "11111111-2222-4333-8444-555555555555", "padding": "x" * 100})
            database.execute("INSERT OR REPLACE INTO events VALUES (1, ?)", (body,))
        except (sqlite3.Error, OSError):
            continue


class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        global depth
        data: dict[str, object] = {"status": "ok", "degraded": []}
        if self.path == "/api/v1/dlq":
            depth = min(CAPACITY, depth + STEP) if attached() < MONTHS else 0
            data = {"depth": depth, "dead_letters": 0, "capacity": CAPACITY}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(data).encode())

    def log_message(self, *said: object) -> None:
        """Say nothing."""


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 64

    def handle_error(self, *said: object) -> None:
        """Say nothing."""


def main() -> None:
    server, stop = Server(("127.0.0.1", 0), Ready), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    keeper = threading.Thread(target=keep_queue, args=(stop,))
    keeper.start()
    part = pathlib.Path(os.environ["PORT_FILE"] + ".part")
    part.write_text(str(server.server_address[1]))
    part.rename(os.environ["PORT_FILE"])
    server.serve_forever()
    stop.set()
    keeper.join()


main()
