"""Redaction: what no file below the reports may hold, and the one place that takes it out.

Two ways add up.  A secret that is *known* is replaced wherever it stands, in each spelling that a format of the reports
gives it: passwords and tokens of the environment under test, and, by the names of their variables, those of the
service's and of the caller's environment, whose value is only *guessed* to be one.  A secret that nobody told of is
known by its *shape*: the password of a URL, ``password=…``, a bearer token (:func:`masked`).

A guess that is an everyday word (``POSTGRES_PASSWORD=postgres``), a number or a path is left to the shapes: histories
are redacted before they are judged, and one in which a word of their own is replaced says something else.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from .targets.model import External, Target

MASK = "***"
"""What stands in reports and logs where a secret was."""
GUESSED = "***kept-back***"
"""What a history has where the value of a secret-looking variable stood.

It is neither what it has for the run's own (``events.HIDDEN``), which is a credential wherever a service shows it, nor
what services put in the place of their own, which is none: a checker judges the line by the words around it.
"""

_LEAST_CHARACTERS = 6
_LEAST_IN_PAGES = 8
_LONG_WORD = 16
_NUMBER = re.compile(r"[0-9._:,+-]+")
_WORDS = re.compile(r"[A-Za-z]+(?:[ _.,/-]+(?:[A-Za-z]+|[0-9]+))*")
_ENDINGS = ("password", "passwd", "passphrase", "token", "secret", "apikey")
_PARTS = frozenset(
    "pass pwd key pat auth authorization cookie credential credentials passwords tokens secrets".split()  # noqa: SIM905
)
_PLACES = frozenset(("file", "path", "dir", "folder", "sock", "socket"))
"""Ends of names whose value says where something is, which is no secret."""

_URL_PASSWORD = re.compile(r"\w://[^/\s:@]*:([^@\s/]+)@")
_LIBPQ_PASSWORD = re.compile(r"\bpassword\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']+))")
_NAMED = r"(?i)((?:password|passwd|passphrase|token|secret|api[_-]?key)\\?[\"']?\s*[=:]\s*\\?)"
_SHAPES = (
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), rf"\1{MASK}@"),
    (re.compile(_NAMED + r"([\"'])[^\"'\n\\]*"), rf"\1\2{MASK}"),
    (re.compile(_NAMED + r"(?!null\b|none\b|true\b|false\b)[^\s'\",;&)\]}\\]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bpassword\s+')[^'\n]*"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bauthorization\\?[\"']\s*:\s*\\?[\"'])[^\"'\n\\]*"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {MASK}"),
)
_SIGNS = (
    *("://", "passw", "passphrase", "token", "secret", "apikey", "api_key", "api-key"),
    *("authorization", "bearer", "basic"),
)
"""Without one of these in lower case a text has no shape of a credential."""


def masked(text: str) -> str:
    """Hide what has the shape of a credential in free text, whoever's it is.

    Of a long text give it line by line: a pattern that goes over megabytes at once would keep the interpreter from the
    loads that other runs play meanwhile.
    """
    lowered = text.lower()
    if any(sign in lowered for sign in _SIGNS):
        for shape, shown in _SHAPES:
            text = shape.sub(shown, text)
    return text


def redact(text: str, secrets: Iterable[str], mask: str = MASK) -> str:
    """Replace every secret by the mask."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, mask)
    return text


@dataclass(frozen=True)
class Secrets:
    """The secrets of one run in all their spellings, longest first: those that are known, and those only guessed."""

    known: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()

    def and_known(self, secrets: Iterable[str]) -> Secrets:
        """Add secrets that are known for sure, as the environment under test tells them."""
        return replace(self, known=_longest_first((*self.known, *spellings(secrets))))

    def hidden(self, text: str) -> str:
        """Replace all of them, and what has the shape of one, in text for people."""
        return masked(redact(redact(text, self.known), self.guessed))


def secrets_of(target: Target, overrides: Mapping[str, str]) -> Secrets:
    """Return what is known of a target's secrets before anything is started; ``overrides`` are a scenario's."""
    guesses = [*secrets_in(os.environ), *secrets_in(overrides)]
    if target.launch is not None:
        guesses += secrets_in(target.launch.environment)
        for part in target.launch.command:
            guesses += _within(part)
    guesses += _within(target.url)
    if target.external is not None:
        guesses += _of_external(target.external)
    tokens = filter(None, (target.tokens.admin, target.tokens.metrics))
    return Secrets(spellings(tokens), spellings(filter(can_be_hidden, guesses)))


def environment_secrets() -> tuple[str, ...]:
    """Return the spellings of what looks like a secret in this process's environment.

    Shorter ones are left out: they are looked for in whole pages, whose packed scripts have millions of characters.
    """
    found = spellings(filter(can_be_hidden, secrets_in(os.environ)))
    return tuple(one for one in found if len(one) >= _LEAST_IN_PAGES)


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of variables that are named like a secret, and passwords within the values of any other."""
    for name, value in environment.items():
        if is_named_secret(name) and not _is_place(value):
            yield value
        yield from _within(value)


def is_named_secret(name: str) -> bool:
    """Tell whether a variable is named like a secret: ``API_TOKEN``, ``PGPASSWORD``; not ``TOKEN_FILE``."""
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
    if not parts or parts[-1] in _PLACES:
        return False
    return any(part in _PARTS or part.endswith(_ENDINGS) for part in parts)


def can_be_hidden(secret: str) -> bool:
    """Tell whether a guess may be replaced wherever it stands: it is no everyday word, no number and not short."""
    if len(secret) < _LEAST_CHARACTERS or _NUMBER.fullmatch(secret):
        return False
    return not _WORDS.fullmatch(secret) or (secret.isalpha() and len(secret) >= _LONG_WORD)


def spellings(secrets: Iterable[str]) -> tuple[str, ...]:
    """Return each secret as it is, and as JSON, HTML and URLs spell it, longest first."""
    found = [spelling for secret in secrets if secret for spelling in _spellings(secret)]
    return _longest_first(found)


def _spellings(secret: str) -> Iterator[str]:
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield html.escape(secret)
    yield html.escape(secret, quote=False)
    spelt = secret.encode("utf-8", "replace")
    yield quote(spelt, safe="")
    yield quote_plus(spelt)


def _longest_first(secrets: Sequence[str]) -> tuple[str, ...]:
    """A secret that holds another must be replaced as a whole."""
    return tuple(sorted(dict.fromkeys(secrets), key=len, reverse=True))


def redact_logs(folder: Path, secrets: Secrets) -> None:
    """Rewrite the logs of a run whose parts have ended, where they hold a secret; blocking, for a thread."""
    for path in folder.glob("*.log"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        without = redact(redact(text, secrets.known), secrets.guessed)
        hidden = "".join(map(masked, without.splitlines(keepends=True)))
        if hidden != text:
            path.write_text(hidden, encoding="utf-8", errors="surrogateescape")


def _within(value: str) -> Iterator[str]:
    """Yield the passwords in a URL or in a connection string of libpq."""
    for found in _URL_PASSWORD.findall(value):
        yield found
        yield unquote(found)
    for quoted, bare in _LIBPQ_PASSWORD.findall(value):
        yield re.sub(r"\\(.)", r"\1", quoted) if quoted else bare


def _is_place(value: str) -> bool:
    if not value.startswith(("/", "~")):
        return False
    try:
        return Path(value).expanduser().exists()
    except (OSError, RuntimeError):
        # Too long for a name, within a folder of others, or nobody's home: a secret may begin like a path.
        return False


def _of_external(external: External) -> Iterator[str]:
    """Yield passwords by which parts of somebody else are reached, those of libpq's password file among them."""
    for text in (external.database_url, external.toxiproxy_url, external.metrics_url):
        yield from _within(text)
    try:
        path = Path(os.environ.get("PGPASSFILE") or "~/.pgpass").expanduser()
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, RuntimeError):
        return
    for line in lines:
        fields = re.split(r"(?<!\\):", line)
        if len(fields) == 5 and not line.startswith("#"):
            yield re.sub(r"\\(.)", r"\1", fields[4])
