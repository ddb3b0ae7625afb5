"""A Prometheus by its HTTP API: what a question about a period is answered, as typed series.

Warnings of an answer are kept, since one that is told to be partial proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import httpx
import promql_parser as promql

from ..errors import QueryFailed, UsageError
from ..redaction import masked
from .counters import Labels
from .slo import DAY_SECONDS

TIMEOUT_SECONDS = 120.0
"""How long one question may take; Prometheus itself gives up after two minutes."""
LEAST_STEP_SECONDS = 300.0
"""Windows are no shorter where the period allows it: a sample is found for so long."""
MOST_WINDOWS, LEAST_WINDOWS = 720, 10
_SPAN = re.compile(r"(?:\d+(?:ms|[smhdwy]))+\Z")
_A_DAY = (288, 144, 96, 72, 48, 24, 12, 8, 6, 4, 3, 2, 1)
"""Windows a day, each a whole number of milliseconds."""


@dataclass(frozen=True)
class Period:
    """The time that is judged, up to ``end`` (Unix seconds), cut into ``windows`` of equal length.

    Those of a period of whole days are parts of a day, so that its days can be told apart.
    """

    end: float
    seconds: float
    windows: int

    @classmethod
    def of(cls, end: float, seconds: float) -> Period:
        """Choose the windows."""
        days = seconds / DAY_SECONDS
        if days >= 1 and days == int(days):
            a_day = next((count for count in _A_DAY if count * days <= MOST_WINDOWS), 1)
            return cls(end, seconds, int(days) * a_day)
        windows = int(seconds / LEAST_STEP_SECONDS)
        return cls(end, seconds, min(MOST_WINDOWS, max(LEAST_WINDOWS, windows)))

    @property
    def start(self) -> float:
        """Unix seconds of the beginning."""
        return self.end - self.seconds

    @property
    def step_seconds(self) -> float:
        """The length of one window."""
        return self.seconds / self.windows

    @property
    def step_text(self) -> str:
        """The same as PromQL has it."""
        return duration_text(self.step_seconds)

    def over(self, number: int) -> float:
        """When the window of that number ends, in Unix seconds; that of -1 is the one before the period."""
        return self.start + (number + 1) * self.step_seconds

    def number_at(self, t: float) -> int:
        """The number of the window that ends at ``t``."""
        return round((t - self.start) / self.step_seconds) - 1


def duration_text(seconds: float) -> str:
    """A duration as PromQL has it."""
    return f"{int(seconds)}s" if seconds == int(seconds) else f"{max(1, round(seconds * 1000))}ms"


def moment_text(t: float) -> str:
    """Unix seconds as a time in UTC."""
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True)
class Line:
    """One series of an answer: its labels without the name, and its values by time (Unix seconds)."""

    labels: Labels
    points: tuple[tuple[float, float], ...]

    @property
    def values(self) -> list[float]:
        """The values in the order of time."""
        return [value for _, value in self.points]


class Server:
    """One Prometheus.  A context manager, since it holds a connection."""

    def __init__(self, url: str, token: str = "") -> None:
        """Connect to nothing yet; ``url`` is what comes before /api/v1."""
        self.shown = masked(url)
        self.warnings: list[str] = []
        """What answers have warned of so far."""
        self._url = url.rstrip("/")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT_SECONDS, follow_redirects=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._client.close()

    def at(self, promql: str, t: float) -> list[Line]:
        """Ask for the value at one time; raises :class:`UsageError` and :class:`QueryFailed`."""
        return self._ask("query", {"query": promql, "time": f"{t:.3f}"})

    def through(self, promql: str, period: Period) -> list[Line]:
        """Ask for the values at the end of each window, and of the one before the first; raises as :meth:`at`."""
        # Half a millisecond keeps the last window from being left out by rounding.
        asked = {"start": f"{period.start:.3f}", "end": f"{period.end + 0.0005:.4f}"}
        return self._ask("query_range", {"query": promql, **asked, "step": f"{period.step_seconds:.6f}"})

    def _ask(self, path: str, parameters: Mapping[str, str]) -> list[Line]:
        try:
            answer = self._client.get(f"{self._url}/api/v1/{path}", params=dict(parameters))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise UsageError(
                f"{self.shown} does not answer ({type(error).__name__}: {masked(str(error))}); is it the address of a "
                "Prometheus, such as http://127.0.0.1:9090?"
            ) from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise UsageError(
                f"{self.shown} answers {answer.status_code}; give its token in PROMETHEUS_TOKEN, or user and password "
                "in the address."
            )
        try:
            body = answer.json()
            if body["status"] != "success":
                said = f"{body.get('errorType', '')}: {body.get('error', '')}"
                raise QueryFailed(f"Prometheus could not answer {parameters['query']} ({masked(said)})")
            self.warnings += [str(one) for one in body.get("warnings") or ()]
            return _lines(body["data"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(
                f"{self.shown} answers {answer.status_code}, but not as a Prometheus does; give the address that comes "
                "before /api/v1."
            ) from error


def _lines(data: Any) -> list[Line]:
    """Read a scalar, a vector or a matrix; raises what Python has for anything else."""
    result = data["result"]
    match data["resultType"]:
        case "scalar":
            return [Line((), (_point(result),))]
        case "vector":
            return [Line(_labels(one["metric"]), (_point(one["value"]),)) for one in result]
        case "matrix":
            return [Line(_labels(one["metric"]), tuple(_point(each) for each in one["values"])) for one in result]
    raise ValueError(f"no numbers in a {data['resultType']}")


def _labels(metric: Mapping[str, Any]) -> Labels:
    return tuple(sorted((str(key), str(value)) for key, value in metric.items() if key != "__name__"))


def _point(pair: Any) -> tuple[float, float]:
    t, value = pair
    return float(t), float(value)


def parse_span(text: str) -> float:
    """Read a period such as ``30d`` or ``1d12h``, in seconds; raises :class:`UsageError` for anything else."""
    try:
        seconds = promql.parse_duration(text).total_seconds()
    except (ValueError, OverflowError):
        seconds = 0.0
    # A number alone would be taken for seconds, which nobody means.
    if seconds <= 0 or not _SPAN.match(text):
        raise UsageError(f"{text!r} is no period; write it as 30d, 24h or 1d12h.")
    return seconds
