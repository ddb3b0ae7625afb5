"""``harness sweep``: one setting of the service in several sizes, and what it is good for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ..outputs import keep_runs_option

_PATH = click.Path(path_type=Path)


@click.group()
def sweep() -> None:
    """Play one setting of the service in several sizes, and answer what it is good for."""


@sweep.command()
@click.option("--sizes", metavar="N,N,…", help="Pool sizes [default: 5,10,15,25,40,50]; the present maximum is added.")
@click.option("--users", type=click.IntRange(1, 1000), help="Users at once, by Locust [default: 50].")
@click.option("--delay-ms", type=click.IntRange(0, 1000), help="Slow the database by so much, 0: never [default: 25].")
@click.option("--events", type=click.IntRange(50), help="Events a month in each condition [default: 1500].")
@click.option("--rounds", type=click.IntRange(1, 100), help="Times that each size is played [default: 1].")
@click.option("--scenario", metavar="NAME", help="Whose months and fault are used [default: pool-exhausted].")
@click.option("--scenarios", type=_PATH, help="Folder of scenarios [default: scenarios].")
@click.option("--target", type=_PATH, help="target.toml of the service under test [default: the reference].")
@click.option("--variable", metavar="NAME", help="What sets its pool's size [default: DB_POOL_MAX].")
@click.option("--seed", type=int, help="Seed of workload and order [default: a new one, stored].")
@click.option("--pg-bindir", type=_PATH, help="Use the PostgreSQL (15 to 18) whose programs are here.")
@click.option("--resume", default="", metavar="last|FOLDER", help="Go on with a stored sweep; what is done stays done.")
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where it is stored.")
@keep_runs_option
@click.option("--json", "as_json", is_flag=True, help="As JSON; progress goes to standard error anyway.")
def pool(*, as_json: bool, **wish: Any) -> None:
    """Answer "should we raise the maximum of the connection pool?": sizes against waits, latency and errors.

    Each size is played alone on the machine, by 50 users, on the database as it is and on one that is slowed; the sizes
    come in an order by chance.  The answer follows from a stated rule, or says why it cannot be told.

    \b
    harness sweep pool                                six sizes, about six minutes
    harness sweep pool --sizes 10,50 --rounds 3       two and the present one, three times each
    harness sweep pool --delay-ms 0 --users 200       another load, and nothing slowed
    harness sweep pool --target my/target.toml --variable POOL_SIZE
    harness sweep pool --resume last                  go on with the one that was ended

    \b
    0 answered
    1 a promise is broken at some size
    2 usage
    3 cannot be told; the answer says why
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from ..report.console import Console, Line
    from . import shown
    from .sweeping import Wish
    from .sweeping import sweep as play

    with Console(sys.stderr, live=sys.stderr.isatty()) as progress:
        result = play(Wish(**wish), lambda line: progress.show([Line("", line)]), progress)
    if as_json:
        click.echo(json.dumps(shown.to_json(result), indent=2, allow_nan=False))
    else:
        Console(sys.stdout, live=sys.stdout.isatty()).show(shown.lines(result))
    raise SystemExit(result.exit)
