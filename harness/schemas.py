"""``harness schema``: the published JSON Schema of what programs read."""

from __future__ import annotations

import click


@click.command()
@click.argument("kind", type=click.Choice(["result", "suite", "events", "gate"]), default="result")
def schema(kind: str) -> None:
    """Print the JSON Schema of result.json, suite.json, a line of `harness run --events`, or `harness gate --json`.

    \b
    harness schema                        of result.json
    harness schema suite > suite.schema.json
    harness schema events
    harness schema gate
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .report.schema import published

    click.echo(published(kind), nl=False)
