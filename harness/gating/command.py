"""``harness gate``: its options, and where its outcome goes."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from ..errors import UsageError

_PATH = click.Path(path_type=Path)


@click.command("gate")
@click.argument("names", nargs=-1, metavar="[RUN|SUITE]...")
@click.option("--reports", type=_PATH, default=Path("reports"), show_default=True, help="Where runs are stored.")
@click.option("--config", type=_PATH, help="Bounds, SLOs and known defects [default: gate.toml, if there is one].")
@click.option("--prometheus", metavar="URL", help="Judge what this Prometheus has seen, too; it decides the metrics.")
@click.option("--period", default="30d", show_default=True, help="How far back in the Prometheus: 30d, 24h, 1d12h.")
@click.option("--baseline", metavar="RUN|SUITE|FILE", help="Fail only on what this run, suite or --json file has not.")
@click.option("--json", "json_file", type=_PATH, metavar="FILE", help="Write everything as JSON, for programs.")
@click.option("--now", metavar="TIME", help="Judge as of this time, such as 2026-02-01T00:00:00Z [default: now].")
@click.option("--prometheus-token", default="", envvar="PROMETHEUS_TOKEN", help="Bearer token [env: PROMETHEUS_TOKEN].")
def gate(
    names: tuple[str, ...],
    reports: Path,
    config: Path | None,
    prometheus: str | None,
    period: str,
    baseline: str | None,
    json_file: Path | None,
    now: str | None,
    prometheus_token: str,
) -> None:
    """Decide about a release: success metrics, your SLOs, and every broken promise; the last line is the decision.

    RUN and SUITE are a path, a name or a part of one; `last` is the newest suite, or a run that began after it.  Of
    runs only what lies outside every fault counts for the metrics, for chaos is not production; but a lost event fails,
    and is new to any --baseline.  What runs cannot show, such as errors a day, gate.toml lists as optional.

    \b
    harness gate last                                             the newest suite
    harness gate --prometheus http://prom:9090 --period 30d       a month of production
    harness gate last --prometheus http://prom:9090               both: the release as a whole
    harness gate last --baseline reports/gate-main.json           only what is new
    harness gate last --json reports/gate.json                    to be the next one's baseline

    \b
    0 PASS          everything was seen to be kept, or its failure is known
    1 FAIL          a bound is broken, or an event was lost
    2               usage: something cannot be read
    3 INSUFFICIENT  too little was seen to tell: too few operations, a gap in the data, no traffic
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from ..report.console import Console
    from ..report.markdown import append_to_step
    from .deciding import Wish, decide
    from .outcome import outcome_to_json
    from .server import parse_span
    from .show import lines_of, markdown_of

    if prometheus is not None and not prometheus.strip():
        raise UsageError("--prometheus has no address; is the variable that holds it set?")
    if not names and prometheus is None:
        raise UsageError("There is nothing to judge: name runs or a suite (such as `last`), or give --prometheus URL.")
    wish = Wish(
        names=names,
        reports=reports,
        config=config,
        prometheus=prometheus,
        prometheus_token=prometheus_token,
        period_seconds=parse_span(period),
        baseline=baseline,
        now=_moment(now),
    )
    outcome = decide(wish)
    Console(sys.stdout, live=sys.stdout.isatty()).show(lines_of(outcome))
    problem = append_to_step(markdown_of(outcome).rstrip().split("\n\n"), "what this command has printed")
    if problem:
        click.echo(f"harness: {problem}", err=True)
    if json_file is not None:
        _write(json_file, json.dumps(outcome_to_json(outcome), indent=2, allow_nan=False) + "\n")
    raise SystemExit(outcome.exit_code)


def _moment(text: str | None) -> datetime:
    """The time as of which is judged; raises :class:`UsageError` for one that does not say where on earth it is."""
    if text is None:
        return datetime.now(UTC)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--now {text!r} is no time; write it as 2026-02-01T00:00:00Z.") from error
    if moment.tzinfo is None:
        raise UsageError(f"--now {text!r} does not say which time zone it is in; write it as 2026-02-01T00:00:00Z.")
    return moment.astimezone(UTC)


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); name another file with --json.") from error
