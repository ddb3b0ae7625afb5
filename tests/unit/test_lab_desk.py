"""A lab answers over its socket: one request a connection, errors with their exit codes, an end in good order."""

from __future__ import annotations

import asyncio
import socket
import stat
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import harness.faults  # noqa: F401  (fills the registry)
from harness._wait import pause, wait_until
from harness.errors import FaultNotConfirmed, HealFailed, LabError
from harness.lab import client
from harness.lab.client import ask_folder
from harness.lab.desk import Desk
from harness.lab.protocol import (
    AskRecording,
    AskStatus,
    Down,
    Heal,
    Inject,
    PlayLoad,
    Recording,
    Request,
    StopLoad,
    Told,
)
from harness.lab.state import LabFolder, LabRecord
from harness.lab.status import Status
from harness.redaction import GUESSED
from harness.scenario import Load, Scenario
from harness.values import Month
from tests.unit.test_lab_protocol import STATUS

SCENARIO = Scenario(
    name="mine",
    claim="c.",
    requirements=(),
    load=Load(months=(Month(2025, 12),)),
    service_environment={"LAB_TOKEN": "planted-lab-token", "SIZE": "1"},
)


class Lab:
    """A lab that only writes down what it is asked, in the place of one with an environment."""

    def __init__(self, reports: Path) -> None:
        self.asked: list[str] = []
        self.going = asyncio.Event()
        plan = SimpleNamespace(name="lab", folder=reports / "run", reports=reports)
        deeds = SimpleNamespace(unrecorded=lambda: ["latency never bit"])
        self.parts = SimpleNamespace(plan=plan, keep_pace=lambda: None, deeds=deeds)
        self.loading = SimpleNamespace(play=self.play, stop=self.stop)
        self.striking = SimpleNamespace(inject=self.inject, heal=self.heal)

    async def status(self, ends_in_seconds: float) -> Status:
        return STATUS

    async def play(self, asked: PlayLoad, say: Callable[[str], None]) -> list[str]:
        say("waits for its turn")
        self.asked.append(f"load {asked.rate_per_month}")
        return ["load on"]

    async def stop(self) -> list[str]:
        self.going.set()
        await pause(60)
        return []

    async def inject(self, fault: Any, say: Callable[[str], None]) -> list[str]:
        self.asked.append(fault.name)
        raise FaultNotConfirmed("latency did not bite")

    async def heal(self, asked: Heal, say: Callable[[str], None]) -> list[str]:
        if asked.which == "bug":
            raise ZeroDivisionError("what now")
        raise HealFailed("no table")

    def recording(self, name: str, gap: float | None) -> Scenario:
        return SCENARIO


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder whose path a socket can have."""
    with tempfile.TemporaryDirectory(prefix="desk-", dir="/tmp") as path:
        yield Path(path)


def record_at(place: Path, path: Path) -> LabRecord:
    """What a lab writes of itself, with its socket at a path."""
    parts: dict[str, Any] = {"folder": place, "ledger": place, "harness": "0", "socket": str(path)}
    return LabRecord(name="lab", pid=1, started_at="", target="t", **parts)


def served(
    place: Path, visit: Callable[[Lab, Desk, LabFolder], Coroutine[Any, Any, None]], *, max_age_seconds: float = 60.0
) -> tuple[Lab, Desk]:
    """Serve a lab while somebody visits it."""

    async def go() -> tuple[Lab, Desk]:
        lab, path = Lab(place), place / "socket"
        parts: Any = lab
        desk = Desk(parts, max_age_seconds)
        folder = LabFolder(place)
        folder.write(record_at(place, path))
        async with desk.open(path):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            visiting = asyncio.create_task(visit(lab, desk, folder))
            await desk.until_ended()
        await visiting
        assert not path.exists()
        return lab, desk

    return asyncio.run(go())


async def ask(folder: LabFolder, request: Request, kind: type[Any] = Told, said: list[str] | None = None) -> Any:
    """Ask as a command does, which blocks."""
    told: list[str] = [] if said is None else said
    return await asyncio.to_thread(ask_folder, folder, request, kind, told.append)


def test_commands_are_answered_with_their_progress_and_down_ends_the_lab(place: Path) -> None:
    said: list[str] = []

    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        answer = await ask(folder, PlayLoad(rate_per_month=5.0, writers_per_month=2), Told, said)
        assert answer == Told(lines=("load on",))
        assert await ask(folder, AskStatus(), Status) == STATUS
        recording = await ask(folder, AskRecording(name="mine"), Recording)
        assert recording.notes[0] == "latency never bit"
        assert "set LAB_TOKEN where you replay it" in recording.notes[1]
        assert recording.scenario["name"] == "mine"
        assert recording.scenario["service_environment"] == {"LAB_TOKEN": GUESSED, "SIZE": "1"}
        ended = await ask(folder, Down())
        assert str(place / "run") in ended.lines[0]

    lab, desk = served(place, visit)
    assert said == ["waits for its turn"]
    assert lab.asked == ["load 5.0"]
    assert desk.why == "by harness lab down"


def test_what_goes_wrong_is_told_with_its_exit_code_and_the_lab_goes_on(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        with pytest.raises(LabError, match="latency did not bite") as caught:
            await ask(folder, Inject(fault={"fault": "latency", "delay_ms": 20}))
        assert caught.value.exit_code == 3
        with pytest.raises(LabError, match="no table") as caught:
            await ask(folder, Heal())
        assert caught.value.exit_code == 1
        with pytest.raises(LabError, match="has no field 'colour'") as caught:
            await ask(folder, Inject(fault={"fault": "latency", "colour": 20}))
        assert caught.value.exit_code == 2
        with pytest.raises(LabError, match=r"The harness itself failed: ZeroDivisionError.*--part daemon") as caught:
            await ask(folder, Heal(which="bug"))
        assert caught.value.exit_code == 3
        await ask(folder, Down())

    served(place, visit)
    assert "ZeroDivisionError: what now" in capsys.readouterr().err


def test_nonsense_and_clients_that_go_away_end_nothing(place: Path) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        for text in (b"", b"\n", b"{}\n", b"x" * 100, b'{"do": "dance", "arguments": {}}\n'):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(folder.path / "socket"))
                connection.sendall(text)
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(folder.path / "socket"))
            connection.sendall(b'{"do": "load", "arguments": {"rate_per_month": 7, "writers_per_month": 1}}\n')

        async def done() -> bool:
            return lab.asked == ["load 7.0"]

        await wait_until(done, what="what was begun to be done, though nobody waits for it", deadline_seconds=10)
        await ask(folder, Down())

    served(place, visit)


def test_whoever_waits_for_an_answer_when_the_lab_ends_is_told(place: Path) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        waiting = asyncio.create_task(ask(folder, StopLoad()))
        await lab.going.wait()
        await ask(folder, Down())
        with pytest.raises(LabError, match="ended"):
            await waiting

    served(place, visit)


def test_a_lab_that_nobody_uses_ends_itself(place: Path) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        """Do nothing."""

    _, desk = served(place, visit, max_age_seconds=0.1)
    assert desk.why == "nobody used it for 0 s"


def test_each_visit_puts_the_end_off(place: Path) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        desk._used -= 50.0
        assert desk.ends_in_seconds <= 10.0
        await ask(folder, AskStatus(), Status)
        assert desk.ends_in_seconds > 10.0
        await ask(folder, Down())

    served(place, visit)


def test_a_load_that_would_outlive_its_lab_is_told_so(place: Path) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        for seconds, lines in ((60.0, 1), (61.0, 2)):
            answer = await ask(folder, PlayLoad(rate_per_month=5.0, writers_per_month=2, seconds=seconds))
            assert len(answer.lines) == lines
        assert "unused for 1 min 0 s, the lab ends itself, and this load with it" in answer.lines[-1]
        await ask(folder, Down())

    served(place, visit, max_age_seconds=60.0)


def test_whoever_comes_while_a_lab_ends_begins_nothing(place: Path) -> None:
    async def go() -> list[str]:
        lab, path = Lab(place), place / "socket"
        parts: Any = lab
        desk, folder = Desk(parts, 60.0), LabFolder(place)
        folder.write(record_at(place, path))
        async with desk.open(path):
            desk.end("just now")
            with pytest.raises(LabError, match="is ending"):
                await ask(folder, PlayLoad(rate_per_month=5.0, writers_per_month=2))
        return lab.asked

    assert asyncio.run(go()) == []


def test_a_halt_file_ends_a_lab_as_it_ends_runs(place: Path) -> None:
    async def visit(lab: Lab, desk: Desk, folder: LabFolder) -> None:
        (place / "HALT").touch()

    _, desk = served(place, visit)
    assert "HALT" in desk.why


def test_a_lab_whose_socket_is_gone_is_said_to_end_and_nobody_is_told_to_kill_it(place: Path) -> None:
    folder = LabFolder(place)
    with pytest.raises(LabError, match="still starting"):
        ask_folder(folder, AskStatus(), Status, print)
    folder.write(record_at(place, place / "s"))
    with pytest.raises(LabError, match=r"is ending .*lab down --name \S+` waits") as gone:
        ask_folder(folder, AskStatus(), Status, print)
    assert "--kill" not in str(gone.value)


def test_a_daemon_that_is_stopped_is_said_to_give_no_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "_PATIENCE_SECONDS", {AskStatus: 0.05})
    folder = LabFolder(place)
    with socket.socket(socket.AF_UNIX) as stopped:
        # The kernel takes the connection, and nobody reads from it.
        stopped.bind(str(place / "s"))
        stopped.listen()
        folder.write(record_at(place, place / "s"))
        with pytest.raises(LabError, match=r"does not answer at .*--kill"):
            ask_folder(folder, AskStatus(), Status, print)
