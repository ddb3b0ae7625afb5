"""Desk: where the commands of a lab come in, over its socket, until somebody ends it or nobody has come for long."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from .. import guard
from ..ending import defect_of, told_traceback
from ..errors import HarnessError, LabError
from ..fault import fault_from_json
from ..probes.tables import without_password
from ..stepping import how_to_look
from .live import LiveLab
from .protocol import (
    MAX_LINE_BYTES,
    Access,
    AskAccess,
    AskRecording,
    AskStatus,
    Down,
    Heal,
    Inject,
    MakeSnapshot,
    PlayLoad,
    Recording,
    Request,
    Snapshot,
    StopLoad,
    Told,
    Welcome,
    done_line,
    error_line,
    parse_request,
    say_line,
)
from .recording import unwritten
from .state import Say
from .status import Status, duration_text

_REQUEST_SECONDS = 10.0
"""Whoever connects says what he wants at once."""
_LOOK_ROUND_SECONDS = 0.25
PSQL_NAME = "lab-psql"

Answer = Status | Access | Told | Snapshot | Recording


class Desk:
    """Serves one lab; ``why`` says what ended it."""

    def __init__(self, lab: LiveLab, max_age_seconds: float) -> None:
        """Begin to count now: the lab ends itself when nobody has used it for so long."""
        self._lab = lab
        self._max_age_seconds = max_age_seconds
        self._used = asyncio.get_running_loop().time()
        self._ended = asyncio.Event()
        self._visits: set[asyncio.Task[None]] = set()
        self.why = ""

    @property
    def ends_in_seconds(self) -> float:
        """When the lab ends itself, unless it is used."""
        if self._visits:
            return self._max_age_seconds
        return self._used + self._max_age_seconds - asyncio.get_running_loop().time()

    def end(self, why: str) -> None:
        """Have the lab end; the first reason counts."""
        self.why = self.why or why
        self._ended.set()

    def welcome(self) -> Welcome:
        """Return what is said when the lab is up."""
        plan, environment = self._lab.parts.plan, self._lab.parts.environment
        return Welcome(
            name=plan.name,
            folder=str(plan.folder),
            how_to_look=tuple(how_to_look(environment)),
            ends_in_seconds=self._max_age_seconds,
        )

    @asynccontextmanager
    async def open(self, path: Path) -> AsyncIterator[None]:
        """Listen at a socket that only its owner may use; what is under way at the end is broken off."""
        server = await asyncio.start_unix_server(self._visit, path=str(path), limit=MAX_LINE_BYTES)
        path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            visits = [visit for visit in self._visits if visit is not asyncio.current_task()]
            for visit in visits:
                visit.cancel()
            await asyncio.gather(*visits, return_exceptions=True)
            path.unlink(missing_ok=True)

    async def until_ended(self) -> None:
        """Wait until the lab is to end: by a command, a signal, a halt file, or because nobody uses it."""
        while not self._ended.is_set():
            halted = guard.halt_file(self._lab.parts.plan.reports)
            if halted is not None:
                self.end(f"the file {halted} halted it")
            elif self.ends_in_seconds <= 0:
                self.end(f"nobody used it for {duration_text(self._max_age_seconds)}")
            self._lab.parts.keep_pace()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_ROUND_SECONDS):
                    await self._ended.wait()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request.  A client that goes away meanwhile ends nothing: what was begun is done to its end."""
        visit = asyncio.current_task()
        if visit is not None:
            self._visits.add(visit)

        def tell(line: str) -> None:
            if not writer.is_closing():
                writer.write(f"{line}\n".encode())

        try:
            async with asyncio.timeout(_REQUEST_SECONDS):
                line = await reader.readline()
            if line and self._ended.is_set():
                # Whoever came at the last moment: the parts are being ended, and nothing may begin.
                tell(error_line(LabError("The lab is ending.")))
            elif line:
                tell(await self._answer(line, lambda text: tell(say_line(text))))
        except asyncio.CancelledError:
            # By the end of the lab, which waits for this to be over.
            tell(error_line(LabError("The lab was ended meanwhile.")))
        except (TimeoutError, ValueError, ConnectionError):
            tell(error_line(LabError("Nothing was said that could be understood.")))
        finally:
            if visit is not None:
                self._visits.discard(visit)
            self._used = asyncio.get_running_loop().time()
            writer.close()  # What was written is sent first.

    async def _answer(self, line: bytes, say: Say) -> str:
        try:
            return done_line(await self._do(parse_request(line), say))
        except HarnessError as error:
            return error_line(error)
        except Exception as error:  # noqa: BLE001  (one request's surprise must not end the lab)
            print(told_traceback(error), file=sys.stderr, flush=True)  # noqa: T201  (daemon.log)
            where = "The lab goes on; `harness lab logs --part daemon` has the traceback: report it."
            return error_line(defect_of(error, where))

    async def _do(self, request: Request, say: Say) -> Answer:
        lab = self._lab
        match request:
            case AskStatus():
                return await lab.status(self._max_age_seconds)
            case AskAccess():
                return self._access()
            case PlayLoad():
                lines = await lab.loading.play(request, say)
                if request.seconds is not None and request.seconds > self._max_age_seconds:
                    unused = duration_text(self._max_age_seconds)
                    lines = [*lines, f"note: unused for {unused}, the lab ends itself, and this load with it"]
                return _told(lines)
            case StopLoad():
                return _told(await lab.loading.stop())
            case Inject():
                return _told(await lab.striking.inject(fault_from_json(request.fault), say))
            case Heal():
                return _told(await lab.striking.heal(request, say))
            case MakeSnapshot():
                return await lab.snapshot(wait=request.wait, say=say)
            case AskRecording():
                scenario = lab.recording(request.name, request.longest_gap_seconds)
                notes = (*lab.parts.deeds.unrecorded(), *unwritten(scenario))
                return Recording(scenario=scenario.told_json(), notes=notes)
            case Down():
                self.end("by harness lab down")
                return _told([f"lab {lab.parts.plan.name} ends; its history stays in {lab.parts.plan.folder}"])

    def _access(self) -> Access:
        environment = self._lab.parts.environment
        database = environment.database
        conninfo, password = without_password(database.admin_conninfo, PSQL_NAME)
        proxied, _ = without_password(database.proxied_admin_conninfo, PSQL_NAME)
        return Access(
            conninfo=conninfo,
            proxied_conninfo=proxied,
            password=password,
            psql=shutil.which("psql") or str(database.psql),
        )


def _told(lines: list[str]) -> Told:
    return Told(lines=tuple(lines))
