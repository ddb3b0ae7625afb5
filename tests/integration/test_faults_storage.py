"""What the faults of files and disks alone promise: open descriptors, destroyed rows, mounts, another process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psycopg
import pytest

from harness.errors import FaultError
from harness.fault import Fault, Scene
from harness.faults.files import MoveHeapFile, RemoveHeapFile, TruncateFiles, UnreadableHeapFile
from harness.faults.fullness import FillTablespace
from harness.faults.replaced import ReplaceHeapFile
from harness.faults.storage import ZeroIndex
from harness.nemesis import heal_in_passes
from harness.stacks import reaper
from harness.stacks.local_files import LocalFiles
from tests.integration import faults_lab
from tests.integration.faults_lab import (
    DECEMBER,
    JANUARY,
    ROWS_PER_MONTH,
    Lab,
    Writers,
    case_name,
    clean,
    rows_of,
    schema_of,
    settled,
)

lab = faults_lab.lab


async def pressed(lab: Lab, fault: Fault, scene: Scene, *, refused: bool) -> tuple[set[str], set[str]]:
    """Play the fault under 12 writers; return what they were acknowledged before its inject, and since."""
    environment = lab.environment
    december, january = Writers(environment, DECEMBER), Writers(environment, JANUARY)
    async with asyncio.TaskGroup() as group:
        for _ in range(12):
            group.create_task(december.write())
        group.create_task(january.write())
        try:
            await december.more(december.acknowledged, 100)
            await fault.inject(scene)
            await fault.confirm(scene)
            before = len(december.acknowledged)
            await january.more(january.acknowledged, 10)
            if refused:
                await december.more(december.refused, 50)
                assert len(december.acknowledged) == before
            else:
                await december.more(december.acknowledged, 50)
            await fault.heal(scene)
            await december.more(december.acknowledged, 100)
        finally:
            december.stop.set()
            january.stop.set()
            await fault.heal(scene)
    await settled(fault, scene)
    stored = [row[0] for row in await rows_of(environment)]
    assert len(stored) == len(set(stored))
    return set(december.acknowledged) | set(january.acknowledged), set(stored)


@pytest.mark.parametrize(
    "fault",
    [
        ZeroIndex(months=(DECEMBER,)),
        TruncateFiles(months=(DECEMBER,)),
        RemoveHeapFile(months=(DECEMBER,)),
        UnreadableHeapFile(months=(DECEMBER,)),
    ],
    ids=case_name,
)
def test_no_write_succeeds_on_old_connections_either_and_none_is_lost(lab: Lab, fault: Fault) -> None:
    async def play() -> None:
        acknowledged, stored = await pressed(lab, fault, lab.scene(), refused=True)
        assert not acknowledged - stored
        await clean(lab.environment)

    lab.run(play())


def test_moved_file_takes_the_writes_of_those_who_have_it_open_and_gives_all_back(lab: Lab) -> None:
    async def play() -> None:
        fault = MoveHeapFile(months=(DECEMBER,))
        acknowledged, stored = await pressed(lab, fault, lab.scene(), refused=False)
        assert not acknowledged - stored
        await clean(lab.environment)

    lab.run(play())


def test_a_cut_index_and_an_unreadable_table_are_healed_though_each_is_in_the_other_s_way(lab: Lab) -> None:
    async def play() -> None:
        rows = await rows_of(lab.environment)
        unreadable, cut = UnreadableHeapFile(months=(DECEMBER,)), TruncateFiles(months=(DECEMBER,), what="index")
        struck = [(unreadable, lab.scene()), (cut, lab.scene())]
        for fault, scene in struck:
            await fault.inject(scene)
        _, failed = await heal_in_passes(struck[::-1], lambda pair: pair[0].heal(pair[1]))
        assert not failed
        for fault, scene in struck:
            await settled(fault, scene)
        assert await rows_of(lab.environment) == rows

    lab.run(play())


@pytest.mark.parametrize("restore", [True, False])
def test_replaced_file_destroys_just_the_rows_that_it_reports(lab: Lab, restore: bool) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        rows = await rows_of(environment)
        fault = ReplaceHeapFile(month=DECEMBER, restore=restore)
        acknowledged, stored = await pressed(lab, fault, scene, refused=False)
        destroyed = {event_id for report in lab.destroyed if not report.restored for event_id in report.event_ids}
        assert acknowledged - stored == (set() if restore else destroyed & acknowledged)
        assert {row[0] for row in rows if row[1] == DECEMBER.label} <= destroyed
        assert [report.restored for report in lab.destroyed] == ([False, True] if restore else [False])
        if not restore:
            assert not destroyed & stored
            await fill_again(environment.database.admin_conninfo)
        await clean(environment)
        assert len(await rows_of(environment)) == 3 * ROWS_PER_MONTH

    lab.run(play())


async def fill_again(conninfo: str) -> None:
    """Give the other tests the rows that were destroyed for good."""
    async with await psycopg.AsyncConnection.connect(conninfo) as connection:
        await connection.execute(faults_lab.FILL, {"first": DECEMBER.first_day, "rows": ROWS_PER_MONTH})


def test_removed_file_comes_back_from_the_ledger_when_somebody_removed_it_for_good(lab: Lab) -> None:
    async def play() -> None:
        environment, scene = lab.environment, lab.scene()
        rows = await rows_of(environment)
        fault = RemoveHeapFile(months=(DECEMBER,))
        await fault.inject(scene)
        for aside in Path(environment.database.files.absolute("")).glob("base/*/*.harness-aside"):
            aside.unlink()
        await fault.heal(scene)
        assert await fault.probe(scene)
        assert await rows_of(environment) == rows

    lab.run(play())


def test_full_disk_without_the_right_to_mount_is_refused_before_anything_is_changed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def play() -> None:
        fault, scene = FillTablespace(months=(DECEMBER,)), lab.scene()
        before = await schema_of(lab.environment)
        monkeypatch.setattr("harness.stacks.local_files.shutil.which", lambda name: None)
        with pytest.raises(FaultError, match="needs root"):
            await fault.inject(scene)
        monkeypatch.undo()
        await fault.heal(scene)
        assert await fault.probe(scene)
        assert await schema_of(lab.environment) == before

    lab.run(play())


def test_reaper_unmounts_what_a_killed_runner_left_mounted(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "root")
    files.root.mkdir()
    files.make_folder("small")
    try:
        files.mount_small("small", 1 << 20)
    except FaultError as error:
        pytest.skip(str(error))
    assert files.mounted("small")
    assert reaper.destroy(files.root) == []
    assert not files.mounted("small")
