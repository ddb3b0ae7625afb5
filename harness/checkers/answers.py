"""Promise 2: every answer has the form of the contract, and no two events get one id."""

from __future__ import annotations

from collections import defaultdict

from .. import events as ev
from ..blast import ServiceState
from ..checking import CHECKERS, CONDENSABLE, CheckResult, Finding, nothing_more
from ..rundata import Operation, Run
from ..values import Promise
from ._common import event_ids, nothing_sent

NAME = "answers"


@CHECKERS.register(NAME)
def answers(run: Run) -> CheckResult:
    """Tell the flaws that the client saw in the form of answers, and ids that the service gave twice."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    ends = run.of_kind(ev.BatchEnd)
    facts = {
        "answers_with_a_form": float(sum(count for operation, count in run.weighed if operation.status > 0)),
        "batches": float(len(ends)),
        "anonymous_events": float(sum(count for operation, count in run.weighed if operation.anonymous)),
    }
    return CheckResult(NAME, (*_flawed(run), *_batches(run, ends), *_given_twice(run)), facts=facts)


CONDENSABLE.register(NAME)(nothing_more)


def _flawed(run: Run) -> list[Finding]:
    found: dict[tuple[int, str], list[Operation]] = defaultdict(list)
    for operation in run.operations:
        if operation.flaw and not _dying(run, operation.invoked, operation.completed):
            found[operation.status, operation.flaw].append(operation)
    return [
        Finding(
            Promise.HONEST_STATUS,
            f"{len(operations)} x answer {status or '(none)'} of the wrong form: {flaw}.",
            event_ids(operations),
            operations[0].invoked,
        )
        for (status, flaw), operations in found.items()
    ]


def _batches(run: Run, ends: list[ev.BatchEnd]) -> list[Finding]:
    items: dict[int, list[Operation]] = defaultdict(list)
    for operation in run.operations:
        if operation.batch:
            items[operation.batch].append(operation)
    found: dict[str, list[ev.BatchEnd]] = defaultdict(list)
    for end in ends:
        invoked = min((operation.invoked for operation in items[end.batch]), default=end.t)
        if end.flaw and not _dying(run, invoked, end.t):
            found[end.flaw].append(end)
    return [
        Finding(
            Promise.HONEST_STATUS,
            f"{len(flawed)} x batch answered in the wrong form: {flaw}.",
            event_ids(operation for end in flawed for operation in items[end.batch]),
            flawed[0].t,
        )
        for flaw, flawed in found.items()
    ]


def _dying(run: Run, start: float, end: float) -> bool:
    """Tell whether the process may have been ended or stopped while it answered: what it sent may be half an answer."""
    return any(
        window.radius.service is not ServiceState.UP
        and window.injecting <= end
        and start <= (window.probed if window.probed is not None else run.end)
        for window in run.windows
    )


def _given_twice(run: Run) -> list[Finding]:
    """An id that the service made for one event is no other event's; a re-send has its own event's id."""
    first_sends: dict[str, list[Operation]] = defaultdict(list)
    for operation in run.operations:
        if operation.of is None and operation.event_id:
            first_sends[operation.event_id.lower()].append(operation)
    twice = [
        sends for sends in first_sends.values() if len(sends) > 1 and any(operation.anonymous for operation in sends)
    ]
    if not twice:
        return []
    said = f"{len(twice)} x an event sent without an id got one that another event has."
    operations = [operation for sends in twice for operation in sends]
    return [Finding(Promise.HONEST_STATUS, said, event_ids(operations), operations[0].invoked)]
