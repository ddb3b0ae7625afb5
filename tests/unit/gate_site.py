"""A made Prometheus: a server that answers what it is told to, and a store of series that knows what a gate asks."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

from harness.checkers._series import parse_series
from harness.gating.slo import Selector

Answer = tuple[int, str]
Values = Callable[[int], float | None]
"""What a series shows at the end of each window, by number from -1; None where it has no sample."""

WINDOWS = 720
"""Of a period of 30 days, each an hour."""
PERIOD_TEXT = f"{WINDOWS * 3600}s"
_RANGE = re.compile(
    r"(?P<count>count by \(job, instance\) \()?(?:last|min|max)_over_time\((?P<series>.+)\[3600s\]\)\)?"
)


@dataclass
class Site:
    """A server that answers what it is told to, and remembers what it was asked."""

    url: str = ""
    answer: Callable[[str, dict[str, str]], Answer] = lambda path, asked: (500, "nobody told me")
    asked: list[dict[str, str]] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)


@contextmanager
def serving() -> Iterator[Site]:
    """Serve on loopback until the block ends."""
    made = Site()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
            made.asked.append(asked)
            made.tokens.add(self.headers.get("authorization"))
            status, body = made.answer(parts.path, asked)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/prom"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def success(kind: str, result: object, **more: object) -> Answer:
    """An answer as Prometheus gives one."""
    return 200, json.dumps({"status": "success", "data": {"resultType": kind, "result": result}, **more})


def healthy(path: str, asked: dict[str, str]) -> Answer:
    """A month in which every counter was there and only ``created`` grew."""
    query = asked["query"]
    if path.endswith("/query") or query.startswith("resets"):
        return success("vector" if path.endswith("/query") else "matrix", [])
    start, end, step = (float(asked[key]) for key in ("start", "end", "step"))
    times = [start + number * step for number in range(int((end - start) / step) + 1)]
    grows = 100 if '"created"' in query else 0
    values = [[t, str(number * grows)] for number, t in enumerate(times)]
    if query.startswith("min_over_time"):
        values = [[t, str(max(0, number - 1) * grows)] for number, t in enumerate(times)]
    return success("matrix", [{"metric": {"__name__": "x", "job": "a", "instance": "i"}, "values": values}])


@dataclass(frozen=True)
class Store:
    """Series by their texts, each with one sample a window of a month, and what expressions come to.

    An expression is one with ``$period`` in it, as gate.toml has it.
    """

    series: Mapping[str, Values]
    expressions: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def answer(self, path: str, asked: dict[str, str]) -> Answer:
        """Answer as a Prometheus with these samples does."""
        query = asked["query"]
        if path.endswith("/query"):
            return self._at_the_end(query)
        if query.startswith("resets("):
            # There is one sample a window, so nothing falls within one.
            return success("matrix", [])
        match = _RANGE.fullmatch(query)
        assert match is not None, query
        start, end, step = (float(asked[key]) for key in ("start", "end", "step"))
        assert int((end - start) / step) == WINDOWS
        found: dict[tuple[tuple[str, str], ...], dict[int, float]] = {}
        for labels, values in self._matching(match["series"]):
            kept = {key: value for key, value in labels.items() if not match["count"] or key in ("job", "instance")}
            shown = ((number, values(number)) for number in range(-1, WINDOWS))
            points = found.setdefault(tuple(sorted(kept.items())), {})
            points.update({number: value for number, value in shown if value is not None})
        lines = [
            {"metric": dict(labels), "values": [[start + (n + 1) * step, str(points[n])] for n in sorted(points)]}
            for labels, points in found.items()
            if points
        ]
        return success("matrix", lines)

    def _at_the_end(self, query: str) -> Answer:
        for text, values in self.expressions.items():
            if query == text.replace("$period", PERIOD_TEXT):
                return success("vector", [{"metric": {}, "value": [0, str(value)]} for value in values])
        assert query.endswith(" == 0"), query
        ended = self._matching(query.removesuffix(" == 0"))
        down = [labels for labels, values in ended if values(WINDOWS - 1) == 0]
        return success("vector", [{"metric": labels, "value": [0, "0"]} for labels in down])

    def _matching(self, selector: str) -> list[tuple[dict[str, str], Values]]:
        asked = Selector.parse(selector)
        parsed = ((*parse_series(text), values) for text, values in self.series.items())
        return [(dict(labels), values) for name, labels, values in parsed if asked.matches(name, dict(labels))]
