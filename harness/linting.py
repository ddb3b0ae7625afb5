"""``harness lint-observability``: rules and dashboards against a page of metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .errors import UsageError
from .gate import Exit

if TYPE_CHECKING:
    from .lint.exported import Labels
    from .lint.problems import Problem

_PATH = click.Path(path_type=Path)
_TIMEOUT_SECONDS = 10.0
_BOARD_ENDINGS = (".json",)


@click.command("lint-observability")
@click.argument("files", nargs=-1, type=_PATH, metavar="[FILE]...")
@click.option("--metrics", multiple=True, required=True, metavar="URL|FILE", help="A page of metrics; may be repeated.")
@click.option("--rules", multiple=True, type=_PATH, help="A rule file of Prometheus; may be repeated.")
@click.option("--dashboard", multiple=True, type=_PATH, help="A dashboard of Grafana as JSON; may be repeated.")
@click.option("--label", multiple=True, help="A label that the scrape adds besides job and instance.")
@click.option("--foreign", multiple=True, metavar="PREFIX", help="Series that begin so are exported elsewhere.")
@click.option("--token", default="", envvar="METRICS_TOKEN", help="Bearer token of the page [env: METRICS_TOKEN].")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def lint_observability(
    files: tuple[Path, ...],
    metrics: tuple[str, ...],
    rules: tuple[Path, ...],
    dashboard: tuple[Path, ...],
    label: tuple[str, ...],
    foreign: tuple[str, ...],
    token: str,
    as_json: bool,
) -> None:
    """Find alerts, recording rules and panels that use what nobody exports, or that can never fire.

    FILEs are rule files, or dashboards if they end in .json.  Exit codes: 0 clean (or only warnings), 1 a problem,
    2 something cannot be read.

    \b
    harness lint-observability --metrics http://127.0.0.1:9100/metrics --rules alerts.yml --dashboard board.json
    harness lint-observability --metrics page.txt service/ops/*.yml service/ops/dashboard.json
    """  # noqa: D301  (click wants the control character, which a raw text does not have)
    from .lint.exported import Exported
    from .lint.files import read_dashboard, read_rules
    from .lint.lint import lint
    from .lint.problems import Level

    boards = [*dashboard, *(path for path in files if path.suffix in _BOARD_ENDINGS)]
    ruled = [*rules, *(path for path in files if path.suffix not in _BOARD_ENDINGS)]
    if not boards and not ruled:
        raise UsageError("There is nothing to lint: name rule files with --rules, dashboards with --dashboard.")
    samples = [sample for place in metrics for sample in _samples(place, token)]
    found = lint(
        Exported(samples, scrape_labels=label, foreign=foreign),
        [read_rules(str(path), _text(path)) for path in ruled],
        [read_dashboard(str(path), _text(path)) for path in boards],
    )
    if as_json:
        click.echo(json.dumps([asdict(problem) for problem in found], indent=2))
    else:
        for problem in found:
            click.echo(f"{problem.level}: {problem.text} [{problem.rule}]")
        click.echo(_summary(found, len(ruled), len(boards)))
    if any(problem.level is Level.ERROR for problem in found):
        raise SystemExit(Exit.FAILED)


def _summary(found: Sequence[Problem], ruled: int, boards: int) -> str:
    counts = {level: sum(1 for problem in found if problem.level == level) for level in ("error", "warning")}
    said = ", ".join(f"{count} {level}{'s' if count != 1 else ''}" for level, count in counts.items() if count)
    return f"{said or 'no problem'} in {ruled} rule files and {boards} dashboards"


def _samples(place: str, token: str) -> Iterator[tuple[str, Labels, float]]:
    from prometheus_client.parser import text_string_to_metric_families

    text = _fetched(place, token) if place.startswith(("http://", "https://")) else _text(Path(place))
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise UsageError(f"{place} is no page of metrics in Prometheus's text format: {error}.") from error
    if not any(family.samples for family in families):
        raise UsageError(f"{place} has no series; give the address or a copy of the service's /metrics.")
    for family in families:
        for sample in family.samples:
            yield sample.name, tuple(sorted(sample.labels.items())), float(sample.value)


def _fetched(url: str, token: str) -> str:
    import httpx

    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url, headers=headers, timeout=_TIMEOUT_SECONDS)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UsageError(f"{url} does not answer ({error}); is the service up, and is this its /metrics?") from error
    if answer.status_code != httpx.codes.OK:
        hint = "; give its token with --token" if answer.status_code == httpx.codes.UNAUTHORIZED else ""
        raise UsageError(f"{url} answers {answer.status_code}{hint}.")
    return answer.text


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read ({error}); name a file.") from error
