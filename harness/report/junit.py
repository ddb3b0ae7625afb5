"""``junit.xml``: what continuous integration servers read.

A broken promise is a ``failure``; an inconclusive run is an ``error`` of type UNKNOWN and a failed set-up one
of type SETUP, since neither says that the service is wrong and neither may be green.  The schema is that of Jenkins'
xunit plugin (``junit-10.xsd``), which GitLab and GitHub's actions read as well.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..redaction import masked
from ..results import RunResult, Skipped, SuiteResult
from ..rundata import Run
from ..values import Verdict
from .base import REPORTERS, SUITE_REPORTERS, write_text
from .faultnames import clock_names
from .summary import (
    CLOCK_NAMES,
    by_promise,
    clock_values,
    headline,
    ids_text,
    not_checked,
    promise_title,
    reached_lines,
    unknown_reasons,
)

IDS_SHOWN = 20
"""Event ids a finding shows here: viewers are for a glance, and result.json has all."""

_CLASS = "scenarios"
_COUNTS = ("tests", "failures", "errors")
"""What the whole counts; the schema has no place for skipped ones there."""
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class JunitReporter:
    """Writes ``junit.xml`` of one run."""

    name = "junit"

    def write(self, result: RunResult, run: Run | None, folder: Path) -> Path:
        """Write it; raises OSError."""
        stamp = run.started.started_at if run is not None else ""
        return _save(result.scenario.name, [_suite(result, stamp)], result.seconds, folder)


class JunitSuiteReporter:
    """Writes ``junit.xml`` of a suite: one testsuite with one testcase a scenario."""

    name = "junit"

    def write(self, suite: SuiteResult, folder: Path) -> Path:
        """Write it; raises OSError."""
        suites = [*(_suite(result) for result in suite.runs), *(_skipped(one) for one in suite.skipped)]
        if suite.owed:
            suites.append(_owed(suite))
        return _save(suite.suite, suites, suite.seconds, folder)


REPORTERS.register(JunitReporter.name)(JunitReporter())
SUITE_REPORTERS.register(JunitSuiteReporter.name)(JunitSuiteReporter())


def xml_safe(text: str) -> str:
    """Replace what XML 1.0 cannot hold (control characters, lone surrogates) by U+FFFD."""
    return _NOT_XML.sub("\ufffd", text)


def _save(name: str, suites: Sequence[ET.Element], seconds: float, folder: Path) -> Path:
    root = _element("testsuites", name=name, time=f"{seconds:.3f}")
    for count in _COUNTS:
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in suites)))
    root.extend(suites)
    ET.indent(root)
    text = ET.tostring(root, encoding="unicode")
    return write_text(folder / "junit.xml", f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n")


def _suite(result: RunResult, stamp: str = "") -> ET.Element:
    """A testsuite of its own for each run: the schema has a place for properties there, and none in a testcase."""
    suite = _around(_case(result), result.scenario.name, result.seconds)
    if stamp:
        suite.set("timestamp", xml_safe(stamp))
    properties = ET.Element("properties")
    for name, value in _properties(result):
        properties.append(_element("property", name=name, value=value))
    suite.insert(0, properties)
    return suite


def _skipped(one: Skipped) -> ET.Element:
    case = _element("testcase", classname=_CLASS, name=one.scenario.name, time="0.000")
    case.append(_element("skipped", message=one.reason))
    return _around(case, one.scenario.name, 0.0)


def _owed(suite: SuiteResult) -> ET.Element:
    """The states that all of the default suite owes and none of its runs reached, as an error of their own."""
    case = _element("testcase", classname="suite", name="states-reached", time="0.000")
    said = [text for text, owed in reached_lines(suite) if owed]
    problem = _element("error", type="UNKNOWN", message=said[0])
    problem.text = xml_safe("\n".join(said))
    case.append(problem)
    return _around(case, "suite", 0.0)


def _around(case: ET.Element, name: str, seconds: float) -> ET.Element:
    """Put a testcase into a testsuite that counts it."""
    suite = _element("testsuite", name=name, time=f"{seconds:.3f}")
    suite.set("tests", "1")
    for count, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(count, str(len(case.findall(tag))))
    suite.append(case)
    return suite


def _case(result: RunResult) -> ET.Element:
    case = _element("testcase", classname=_CLASS, name=result.scenario.name, time=f"{result.seconds:.3f}")
    if result.setup_error:
        reason = masked(result.setup_error)
        case.append(_problem("error", "SETUP", reason, [reason], result))
    elif result.verdict is Verdict.FAIL:
        first = result.findings[0]
        message = f"{promise_title(first.promise)}: {first.summary}"
        case.append(_problem("failure", "FAIL", message, _finding_lines(result), result))
    elif result.verdict is Verdict.UNKNOWN:
        reasons = unknown_reasons(result)
        case.append(_problem("error", "UNKNOWN", reasons[0], reasons, result))
    out = ET.SubElement(case, "system-out")
    out.text = xml_safe("\n".join(_remarks(result)))
    return case


def _properties(result: RunResult) -> Iterable[tuple[str, str]]:
    yield "claim", result.scenario.claim
    yield "run", result.run
    yield "verdict", headline(result).word
    yield "seed", str(result.seed)
    yield "repeat", result.repeat_command
    if result.begun:
        yield "report", f"{result.folder.name}/report.html"
    for requirement in result.scenario.requirements:
        yield "requirement", requirement
    for fault, clocks in zip(clock_names(result.clocks), result.clocks, strict=True):
        for name, value in zip(CLOCK_NAMES, clock_values(clocks), strict=True):
            yield f"{fault}.{name}_seconds", "" if value is None else f"{value:.3f}"


def _finding_lines(result: RunResult) -> list[str]:
    lines: list[str] = []
    for promise, findings in by_promise(result.findings):
        lines.append(promise_title(promise))
        for finding in findings:
            lines.append(f"  {finding.summary}")
            if finding.event_ids:
                lines.append(f"  events: {ids_text(finding.event_ids, IDS_SHOWN, 'result.json')}")
    return lines


def _problem(tag: str, kind: str, message: str, lines: Iterable[str], result: RunResult) -> ET.Element:
    element = _element(tag, type=kind, message=message)
    text = [*lines, f"repeat with: {result.repeat_command}"] if result.repeat_command else list(lines)
    element.text = xml_safe("\n".join(text))
    return element


def _remarks(result: RunResult) -> list[str]:
    lines = [result.scenario.claim]
    if result.verdict is Verdict.FAIL:
        lines += [f"also unknown: {reason}" for reason in unknown_reasons(result)]
    return lines + [f"not checked: {checker} {needs}" for checker, needs in not_checked(result)]


def _element(tag: str, **attributes: str) -> ET.Element:
    return ET.Element(tag, {name: xml_safe(value) for name, value in attributes.items()})
