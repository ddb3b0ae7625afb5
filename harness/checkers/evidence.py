"""The harness saw what it had to see: its samplers worked, its load ran to the end, the run was not broken off."""

from __future__ import annotations

from collections.abc import Iterator

from .. import events as ev
from ..checking import CHECKERS, CONDENSABLE, STOOD_STILL, CheckResult, nothing_more
from ..rundata import Run
from ..values import Month
from ._common import nothing_sent, shared, stops_canary, unseen
from ._standstill import standstills

NAME = "evidence"
BROKEN = {
    "sampler": "a sampler failed",
    "load": "the load did not run to its end",
    "abort": "the run was broken off",
    "harness": "the harness itself failed",
    "undo": "a fault could not be undone",
}
"""Topics of the notes that leave a run without proof, and what each means."""


@CHECKERS.register(NAME)
def evidence(run: Run) -> CheckResult:
    """Say UNKNOWN where the harness, not the service, failed: what nobody looked at cannot have passed."""
    empty = nothing_sent(NAME, run)
    if empty is not None:
        return empty
    unknowns = [*_notes(run), *_samples(run)]
    if run.final is None:
        unknowns.append("The run never came to its final reads: it was broken off.")
    stood = sum(end - start for start, end in shared(run, standstills))
    return CheckResult(NAME, unknowns=tuple(unknowns), facts={STOOD_STILL: stood} if stood else {})


CONDENSABLE.register(NAME)(nothing_more)


def _notes(run: Run) -> Iterator[str]:
    for topic, meaning in BROKEN.items():
        texts = [note.text for note in run.of_kind(ev.Note) if note.topic == topic]
        if texts:
            often = f" ({len(texts)} times)" if len(texts) > 1 else ""
            yield f"{meaning[0].upper()}{meaning[1:]}{often}: {texts[0]}"


def _samples(run: Run) -> Iterator[str]:
    """Of what is declared, each kind of sample exists and could mostly be read; scrapes have their own checker."""
    ready = [(sample.t, sample.status > 0) for sample in run.of_kind(ev.ReadySample)]
    reasons = [unseen(run, "answers of /health/ready", ready)]
    if run.reads.dlq:
        depths = [(sample.t, sample.depth >= 0) for sample in run.of_kind(ev.DlqSample)]
        reasons.append(unseen(run, "samples of the queue's depth", depths))
    if run.reads.sql:
        canary = run.of_kind(ev.CanarySample)
        # An insert that a fault stopped by design is as good as one that worked: the canary was alive.
        inserts = [
            (each.t, not each.sqlstate or stops_canary(run, Month.parse(each.month), each.t, each.t + each.seconds))
            for each in canary
        ]
        reasons.append(unseen(run, "inserts of the canary", inserts))
    yield from (reason for reason in reasons if reason)
