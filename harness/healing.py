"""Healing: undo what a run left, from its ledger alone, in another process than the one that did the damage.

Faults are healed in the reverse order of their injection; one that fails keeps none of the others from it, is tried
again once all others have been, and else stays open for the next time.  Only once all are healed and their probes
see health is the environment given free.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._wait import wait_until
from .errors import HarnessError, HealFailed, LedgerBusy, UsageError
from .fault import DestroyedRows, Fault, Scene, fault_from_json, plan_of
from .ledger import FOLDER, EntryState, Holder, Ledger, LedgerEntry, LedgerRecord, open_ledgers
from .nemesis import HEAL_DEADLINE_SECONDS, PROBE_DEADLINE_SECONDS, heal_in_passes
from .probes.foreign import end_leftovers
from .stacks import external, runner_root
from .stacks.base import Environment

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Open:
    """One entry that is not healed, its fault, and where that acts."""

    entry: LedgerEntry
    fault: Fault
    scene: Scene

    @property
    def name(self) -> str:
        return self.entry.folder.name


def find_ledgers(reports: Path, name: str | None) -> list[Ledger]:
    """Return the ledgers to heal: all open ones below ``reports``, or that of a run by path, name or part of it.

    Raises :class:`UsageError` for a name that fits none or several.
    """
    if name is None:
        return open_ledgers(reports)
    for place in (Path(name), reports / name):
        for folder in (place / FOLDER, place):
            if Ledger(folder).record is not None:
                return [Ledger(folder)]
    found = [Ledger(path) for path in sorted(reports.glob(f"*{name}*/{FOLDER}")) if Ledger(path).record is not None]
    if len(found) == 1:
        return found
    if found:
        shown = ", ".join(ledger.folder.parent.name for ledger in found[:5])
        raise UsageError(f"{name!r} could be {shown}; give more of the name.")
    raise UsageError(
        f"There is no run {name!r} with a ledger below {reports}; `harness heal` alone heals all that is left there."
    )


async def heal_ledger(ledger: Ledger, say: Say, *, dry_run: bool = False, wait_seconds: float = 0.0) -> bool:
    """Heal one ledger and say a line for each entry; True when nothing is left or its run still lives."""
    record = ledger.record
    if record is None:
        raise UsageError(f"{ledger.folder} holds no ledger.")
    if not record.open:
        say(f"{record.run}: nothing is left to heal")
        return True
    if dry_run:
        _describe(ledger, record, say)
        return True
    try:
        with ledger.held(Holder.HEAL, wait_seconds=wait_seconds):
            # Whoever had the lock may have healed it meanwhile.
            record = ledger.record or record
            if not record.open:
                say(f"{record.run}: nothing is left to heal")
                return True
            if record.environment.get("stack") == external.NAME:
                return await _heal_external(ledger, record, say)
            return _bury(ledger, record, say)
    except LedgerBusy as busy:
        say(f"{record.run}: {busy}")
        return busy.running


def _bury(ledger: Ledger, record: LedgerRecord, say: Say) -> bool:
    """An environment of the harness's own is not mended: its reaper removed it, or it is removed now."""
    root = Path(str(record.environment.get("root", "")))
    if record.environment.get("root") and root.exists():
        runner_root.sweep(root.parent)
    if record.environment.get("root") and root.exists():
        say(f"{record.run}: FAILED: {root} is still there; end what works below it and remove it")
        return False
    for entry in ledger.open_entries():
        entry.mark(EntryState.HEALED)
        say(f"{record.run}: {entry.folder.name}: gone with its environment")
    ledger.finish()
    say(f"{record.run}: gone: its environment ended with its runner")
    return True


async def _heal_external(ledger: Ledger, record: LedgerRecord, say: Say) -> bool:
    artifacts = ledger.folder.parent
    environment = external.reopen(record.run, record.environment, artifacts)
    entries, well = _faults(ledger, environment, say)
    healed, failed = await heal_in_passes(entries[::-1], lambda item: _heal(item, environment))
    for item, error in failed:
        well = False
        say(f"{item.name}: FAILED: {_said(error)}")
    for item in healed:
        try:
            await _probe(item)
            item.entry.mark(EntryState.HEALED)
            say(f"{item.name}: healed, and a probe sees health")
        except Exception as error:  # noqa: BLE001  (the others go on)
            well = False
            say(f"{item.name}: FAILED: healed, but {_said(error)}")
    if not well:
        say(f"{record.run}: something is left; mend what the lines above name, then again: {_again(ledger)}")
        return False
    try:
        await end_leftovers(environment.database.admin_conninfo)
        besides = await external.release(record.run, record.environment, artifacts)
    except HarnessError as error:
        say(f"{record.run}: FAILED: all faults are healed, but the database was not given free: {error}")
        return False
    ledger.finish()
    say(f"{record.run}: whole{f'; {besides}' if besides else ''}")
    return True


def _faults(ledger: Ledger, environment: Environment, say: Say) -> tuple[list[_Open], bool]:
    found, well = [], True
    for entry in ledger.open_entries():
        try:
            found.append(_Open(entry, fault_from_json(entry.fault), Scene(environment, entry, _ignore)))
        except HarnessError as error:
            well = False
            say(f"{entry.folder.name}: FAILED: {error} Heal it with the version of the harness that made it.")
    return found, well


async def _heal(item: _Open, environment: Environment) -> None:
    # A statement of the dead runner may still wait for its lock, and must not come after its own undoing.  A database
    # that is down carries nothing out; the heal itself tells whether that is in the way.
    with contextlib.suppress(HarnessError):
        await end_leftovers(environment.database.admin_conninfo)
    try:
        async with asyncio.timeout(HEAL_DEADLINE_SECONDS):
            await item.fault.heal(item.scene)
    except TimeoutError as error:
        raise HealFailed(f"not healed within {HEAL_DEADLINE_SECONDS:g} s") from error


async def _probe(item: _Open) -> None:
    await wait_until(
        lambda: item.fault.probe(item.scene),
        what="a probe to see health",
        deadline_seconds=PROBE_DEADLINE_SECONDS,
        interval_seconds=0.05,
    )


def _describe(ledger: Ledger, record: LedgerRecord, say: Say) -> None:
    if record.environment.get("stack") != external.NAME:
        say(f"{record.run}: would see that its environment is gone: {record.environment.get('root', '')}")
        return
    say(f"{record.run}: would open {record.environment['database_key']} and heal, last injected first:")
    for entry in reversed(ledger.open_entries()):
        say(f"{entry.folder.name} ({entry.state}); saved: {', '.join(entry.saved) or 'nothing'}")
        try:
            plan = plan_of(fault_from_json(entry.fault))
        except HarnessError as error:
            say(f"  cannot be healed: {error}")
            continue
        for line in plan:
            if line.startswith(("heal", "probe")):
                say(f"  {line}")
    say("then end the dead runner's backends, clear the proxy, remove canary rows, and give the database free")


def _again(ledger: Ledger) -> str:
    return external.heal_command(ledger)


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, HarnessError) else f"{type(error).__name__}: {error}"


async def _ignore(rows: DestroyedRows) -> None:
    """The history of a dead run is closed; what it destroyed is back."""


def heal_all(ledgers: Sequence[Ledger], say: Say, *, dry_run: bool, wait_seconds: float) -> bool:
    """Heal every ledger, whatever becomes of the others; True when nothing is left."""
    done = [asyncio.run(heal_ledger(one, say, dry_run=dry_run, wait_seconds=wait_seconds)) for one in ledgers]
    return all(done)
