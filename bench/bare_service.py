"""The reference of `bench.writes`: the least that stores a posted event, on the server and drivers of the service.

    DATABASE_URL=... PORT=0 PORT_FILE=... [AUTOCOMMIT=1] python -m bench.bare_service

One process, uvicorn on uvloop and httptools, a pool of 25, psycopg as it comes, prepared statements included.  No
checks, no queue, no metrics, no log.  Without AUTOCOMMIT each insert is in a transaction block, which is what the
pool's context manager gives by default: BEGIN, INSERT and COMMIT are a round trip each.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
import uvloop
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

POOL_SIZE = 25
INSERT = """
INSERT INTO audit_events (event_id, event_date, event_timestamp, version, event_type, event_category,
                          event_action, event_outcome, correlation_id, event_data)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
"""
TEXTS = ("version", "event_type", "event_category", "event_action", "event_outcome", "correlation_id")


def application(pool: AsyncConnectionPool) -> Starlette:
    """The two routes."""

    async def write(request: Request) -> JSONResponse:
        event = json.loads(await request.body())
        stamp = datetime.fromisoformat(event["event_timestamp"]).astimezone(UTC)
        texts = [event[name] for name in TEXTS]
        values = (event["event_id"], stamp.date(), stamp, *texts, Jsonb(event["event_data"]))
        async with pool.connection() as connection:
            await connection.execute(INSERT, values)
        return JSONResponse({"event_id": event["event_id"], "status": "created"}, 201)

    async def ready(request: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    return Starlette(routes=[Route("/api/v1/audit/events", write, methods=["POST"]), Route("/health/ready", ready)])


async def serve() -> None:
    """Serve until a signal."""
    listener = socket.create_server(("127.0.0.1", int(os.environ.get("PORT", "0"))), backlog=2048)
    autocommit = bool(os.environ.get("AUTOCOMMIT"))
    pool = AsyncConnectionPool(
        os.environ["DATABASE_URL"], min_size=POOL_SIZE, kwargs={"autocommit": autocommit}, open=False
    )
    async with pool:
        await pool.wait()
        config = uvicorn.Config(
            application(pool),
            http="httptools",
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,
        )
        Path(os.environ["PORT_FILE"]).write_text(f"{listener.getsockname()[1]}\n")
        await uvicorn.Server(config).serve([listener])


def main() -> None:
    """Run it on uvloop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main()
