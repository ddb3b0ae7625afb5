"""``harness heal`` and ``harness mark``: undo what a killed run left, and give a database up to faults."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from .gate import Exit

_PATH = click.Path(path_type=Path)


@click.command()
@click.argument("run_name", metavar="[RUN]", required=False)
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
@click.option("--dry-run", is_flag=True, help="Print what would be undone, and how; do nothing.")
@click.option("--wait", "wait_seconds", type=click.FloatRange(0), default=0.0, help="Seconds to wait for a living run.")
def heal(run_name: str | None, reports: Path, dry_run: bool, wait_seconds: float) -> None:
    """Undo what runs left behind, from their ledgers: those of killed runners, or of heals that failed.

    RUN is a path, a name or a part of one; without it, every run below the reports.  Safe to repeat.

    \b
    0 nothing is left
    1 something could not be undone; the line names it
    2 usage
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    import harness.faults  # noqa: F401  (fills the registry)

    from .healing import find_ledgers, heal_all

    ledgers = find_ledgers(reports, run_name)
    if not ledgers:
        click.echo(f"nothing is left to heal below {reports}")
    if not heal_all(ledgers, click.echo, dry_run=dry_run, wait_seconds=wait_seconds):
        raise SystemExit(Exit.FAILED)


@click.command()
@click.option("--database-url", required=True, help="The database, by a role that may make a table there.")
@click.option("--token", required=True, help="What external.token of the target file says.")
@click.option("--release", is_flag=True, help="Only forget which run has the database, when its ledger is lost.")
@click.option("--dry-run", is_flag=True, help="Print the statements; do nothing.")
def mark(database_url: str, token: str, release: bool, dry_run: bool) -> None:
    """Say that a database may be damaged: make the marker table that an external target needs."""
    from .probes import foreign

    statements = foreign.mark_statements(token, release=release)
    if dry_run:
        click.echo("\n".join(f"{statement};" for statement in statements))
        return
    asyncio.run(foreign.mark(database_url, token, release=release))
    click.echo("the database is free again" if release else "the database is marked: faults may act on it")
