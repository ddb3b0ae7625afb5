"""Final reads: what is in the DLQ, in the table and in the catalog once the workload has stopped.

The DLQ is read first, since events move from there to the table; the other way round a busy drain looks like a
loss.  An acknowledged event that is in neither is looked for twice more before it is called lost.
"""

from __future__ import annotations

from ._wait import pause
from .errors import HarnessError
from .events import DlqRow, FinalRead, TableRow
from .history import History
from .probes.http import HttpProbe
from .probes.postgres import partition_rows, read_rows
from .stacks.base import Environment

_RECHECKS = 2
_RECHECK_PAUSE_SECONDS = 0.5


async def read_everything(environment: Environment, history: History, probe: HttpProbe) -> None:
    """Read DLQ, table and catalog and write them to the history, FinalRead last."""
    reads = environment.target.reads
    detail = ""
    dlq: list[DlqRow] | None = None
    table: tuple[TableRow, ...] | None = None
    for attempt in range(_RECHECKS + 1):
        if attempt:
            await pause(_RECHECK_PAUSE_SECONDS)
        table = None
        dlq = await _queue(environment, probe) if reads.dlq else None
        if reads.sql:
            try:
                table = await read_rows(environment.database.admin_conninfo, since=environment.rows_since)
            except HarnessError as error:
                detail = str(error)
        found = {(row.event_id, row.event_date) for row in (*(dlq or ()), *(table or ()))}
        if table is not None and (dlq is not None or not reads.dlq) and history.acknowledged <= found:
            break
    for row in (*(dlq or ()), *(table or ())):
        history.add(row)
    if reads.sql:
        try:
            for child in await partition_rows(environment.database.admin_conninfo):
                history.add(child)
        except HarnessError as error:
            detail = detail or str(error)
    history.mark(lambda t: FinalRead(t, table is not None, dlq is not None, detail))


async def _queue(environment: Environment, probe: HttpProbe) -> list[DlqRow] | None:
    """Read the queue; of one that outlives the runner, not the dead letters of earlier runs."""
    rows = await probe.dlq_rows()
    if rows is None or not environment.rows_since:
        return rows
    return [row for row in rows if row.state != "dead" or f'"{environment.name}/' in row.content]
