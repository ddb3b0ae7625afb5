"""Templates of alerts (Go's, as Prometheus fills them) and legends of panels: the labels and names they use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .problems import Rule, Told
from .shapes import Shape

_ACTION = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_LABEL = re.compile(r"(?:\$labels|(?<![\w)\].])\.Labels)\.(\w+)|index\s+(?:\$labels|\.Labels)\s+\"([^\"]+)\"")
_OWN_LABEL = re.compile(r"\$labels\.(\w+)|index\s+\$labels\s+\"([^\"]+)\"")
_REBOUND = re.compile(r"\b(?:range|with|template|block)\b")
_VARIABLE = re.compile(r"\$(\w+)")
_DEFINED = re.compile(r"\$(\w+)\s*(?:,\s*\$(\w+)\s*)?:=")
_PIPED = re.compile(r"\|\s*(\w+)")
_STRING = re.compile(r"\"(?:\\.|[^\"\\])*\"|`[^`]*`")
_VARIABLES = frozenset({"labels", "value", "externalLabels", "externalURL"})
_FUNCTIONS = frozenset(
    """and call html index slice js len not or print printf println urlquery eq ge gt le lt ne query first label value
    sortByLabel strvalue args reReplaceAll safeHtml match title toUpper toLower graphLink tableLink parseDuration
    externalURL pathPrefix humanize humanize1024 humanizeDuration humanizePercentage humanizeTimestamp toTime now
    stripPort stripDomain tmpl toDuration urlQueryEscape""".split()  # noqa: SIM905
)


def examine_template(text: str, shape: Shape) -> Iterator[Told]:
    """Find labels that the alert does not have, and names that no template of Prometheus has."""
    whole = "\n".join(_COMMENT.sub("", action) for action in _ACTION.findall(text))
    # Closing ones are text where nothing is open, as at the end of a JSON object.
    if "{{" in _STRING.sub("", whole) or "{{" in _ACTION.sub("", text):
        yield Told(Rule.TEMPLATE, "a template has braces that do not close", "Write {{ … }} around each action.")
    # Within these the dot is something else than the alert.
    reading = _OWN_LABEL if _REBOUND.search(whole) else _LABEL
    used = [dotted or quoted for dotted, quoted in reading.findall(whole)]
    yield from _labels(dict.fromkeys(used), shape, "template")
    bare = _STRING.sub('""', whole)
    defined = {name for pair in _DEFINED.findall(bare) for name in pair if name}
    for name in dict.fromkeys(_VARIABLE.findall(bare)):
        if name not in _VARIABLES | defined:
            yield Told(
                Rule.TEMPLATE,
                f"the template variable ${name} is not defined",
                f"Prometheus has ${', $'.join(sorted(_VARIABLES))}.",
            )
    for name in dict.fromkeys(_PIPED.findall(bare)):
        if name not in _FUNCTIONS:
            yield Told(Rule.TEMPLATE, f"templates have no function {name}", "See the template reference of Prometheus.")


def examine_legend(text: str, shape: Shape) -> Iterator[Told]:
    """Find labels in the legend of a panel that its query's result does not have."""
    used = (action.strip() for action in _ACTION.findall(text))
    yield from _labels(dict.fromkeys(name for name in used if re.fullmatch(r"\w+", name)), shape, "legend")


def _labels(used: Iterable[str], shape: Shape, what: str) -> Iterator[Told]:
    if not shape.known:
        return
    for label in used:
        if label not in shape.may and label != "__name__":
            has = ", ".join(sorted(shape.may)) or "none"
            yield Told(
                Rule.TEMPLATE_LABEL,
                f"the {what} uses the label {label}, which the result of the expression does not have",
                f"It has {has}: keep the label in the aggregation, or take it out of the {what}.",
            )
