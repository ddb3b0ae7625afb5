"""Locust's side of a Locust-driven load: FastHttpUser, one closed loop a user, each user to one month.

Runs in Locust's own process (its monkey-patching breaks others) and writes invoke and complete records, on the
runner's monotonic clock, to a file that :mod:`harness.load.locust_driver` follows.  Started only by that module.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path
from typing import Any

from locust import FastHttpUser, events, task
from locust.exception import StopUser

from harness.events import Invoke, OpKind, Record
from harness.jsonlines import encode
from harness.load.answers import Reply, completed
from harness.load.closed import EVENTS_PATH
from harness.scenario import Load
from harness.values import Month
from harness.workload import Planned, Stream

_PLAN: dict[str, Any] = json.loads(os.environ["HARNESS_LOCUST_PLAN"])
_MONTHS = tuple(Month.parse(label) for label in _PLAN["months"])
_LOAD = Load(months=_MONTHS, resend_share=0.0, conflict_share=0.0, invalid_share=0.0)
_OUT = os.open(Path(_PLAN["out"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
_EDGE = Path(_PLAN["edge"])
_ops = itertools.count(1)
_users = itertools.count(1)
_stopping: list[bool] = []


@events.test_stopping.add_listener  # type: ignore[untyped-decorator]
def _stop(**_: object) -> None:
    """Remember it: Locust kills a user that waits between two tasks, but the user may wake before it dies."""
    _stopping.append(True)


def _now() -> float:
    """Seconds on the runner's clock; CLOCK_MONOTONIC is one clock for all processes of a host."""
    return time.monotonic() - float(_PLAN["origin"])


def _add(record: Record) -> None:
    os.write(_OUT, (encode(record) + "\n").encode())


def _reply(answer: Any) -> Reply:
    """What Locust's client heard.  It also hands over an answer that was cut in flight, which is none."""
    status, headers, body = int(answer.status_code or 0), answer.headers or {}, answer.content or b""
    if status == 0:
        return Reply(error=type(answer.error).__name__ if answer.error else "")
    if not headers.get("content-encoding") and len(body) < int(headers.get("content-length") or 0):
        return Reply(error="CutInFlight")
    return Reply(status, headers.get("content-type") or "", headers.get("retry-after") or "", body)


class Writer(FastHttpUser):
    """One of the 50 users of requirement S2: the next event follows the answer to the last at once, but at edges."""

    network_timeout = float(_PLAN["timeout_seconds"])
    connection_timeout = float(_PLAN["timeout_seconds"])

    def on_start(self) -> None:
        """Take the next number, and with it a month and an own seeded stream."""
        self.number = next(_users)
        self.stream = Stream(int(_PLAN["seed"]), self.number, _MONTHS[self.number % len(_MONTHS)], _LOAD, _PLAN["run"])

    def wait_time(self) -> float:
        """Seconds until the next event: none, but for the edges of faults, which may not outnumber what is judged."""
        return float(_PLAN["edge_pause_seconds"]) if _EDGE.exists() else 0.0

    @task
    def write(self) -> None:
        """Send one event and record what came back."""
        if _stopping:
            # A request begun now would be killed half-way, and read as one that got no answer.
            raise StopUser
        op = next(_ops)
        planned: Planned = self.stream.next(op)
        _add(Invoke(_now(), op, self.number, OpKind.WRITE, planned.event_id, planned.event_date, planned.content))
        with self.client.post(
            EVENTS_PATH,
            data=planned.content.encode(),  # type: ignore[arg-type]
            headers={"content-type": "application/json"},
            catch_response=True,
        ) as answer:
            reply = _reply(answer)
            answer.success()
        _add(completed(_now(), op, planned, reply))
