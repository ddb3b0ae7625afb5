"""Redaction: what no file below the reports may hold, and the one place that takes it out.

Two ways add up.  A secret that is *known* is replaced wherever it stands, in each spelling that a format of the reports
gives it: passwords and tokens of the environment under test, and, by the names of their variables, those of the
service's and of the caller's environment, whose value is only *guessed* to be one.  A secret that nobody told of is
known by its *shape*: the password of a URL, ``password=…``, a bearer token (:func:`masked`).

Where an environment is written down, what is named like a secret is kept back by its name, whatever its value is
(:func:`kept_back`); who plays it again gives the value anew (:func:`given_back`).  Everywhere else a guess is replaced
unless it is an everyday value (:func:`can_be_hidden`): histories are redacted before they are judged, and one in which
a word of their own is replaced says something else.  Such a value is left to the shapes.
"""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from .events import HIDDEN
from .targets.model import External, Target
from .vocabulary import is_of_words, is_phrase

MASK = "***"
"""What stands in reports and logs where a secret was."""
GUESSED = "***kept-back***"
"""What a history, or a scenario that was recorded, has where the value of a secret-looking variable stood.

It is neither what it has for the run's own (``events.HIDDEN``), which is a credential wherever a service shows it, nor
what services put in the place of their own, which is none: a checker judges the line by the words around it.
"""

_LEAST_CHARACTERS = 6
_LEAST_IN_PAGES = 8
_LONG_WORD = 12
_LONG_PHRASE = 10
_LONG_NUMBER = 12
_NUMBER = re.compile(r"[0-9._:,+-]+")
_PLAIN = re.compile(
    r"(?:19|20)\d\d[-_/.]?[01]\d(?:[-_/.]?[0-3]\d)?(?:[ T_]?\d\d:?\d\d(?::?\d\d(?:\.\d+)?)?)?(?:Z|[+-]\d\d:?\d\d)?"
    r"|\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?"
)
"""A date, with or without the time of day, and an address."""
_WORDS = re.compile(r"[ _.,/-]*[A-Za-z]+(?:[ _.,/-]+(?:[A-Za-z]+|[0-9]+))*[ _.,/-]*")
_ENDINGS = ("password", "passwd", "passphrase", "token", "secret", "apikey")
_PARTS = frozenset(
    "pass pwd key pat auth authorization cookie credential credentials passwords tokens secrets".split()  # noqa: SIM905
)
_PLACES = frozenset(("file", "path", "dir", "folder", "sock", "socket"))
"""Ends of names whose value says where something is, which is no secret."""

_URL_PASSWORD = re.compile(r"\w://[^/\s:@]*:([^@\s/]+)@")
_LIBPQ_PASSWORD = re.compile(r"\bpassword\s*=\s*(?:'((?:[^'\\]|\\.)*)'|([^\s']+))")
_DATABASE = re.compile(r"\bdbname\s*=\s*'?([^\s']+)|://[^/\s]*/([^/?\s]+)")
_LINE = re.compile(r"(?m)^((?:export |declare -x )?([A-Z][A-Z0-9_]*)=)([^\r\n]+)")
"""A line of an environment that was printed: its value goes on to the end, spaces and quotes included."""
_VARIABLE = re.compile(
    r"(\b([A-Z][A-Z0-9_]*)\\?[\"']?\s*[=:]\s*)"
    r"(\\[\"'](?:(?!\\[\"'])[^\n])*|\"(?:\\.|[^\"\\\n])*|'(?:\\.|[^'\\\n])*|[^\s'\",;&)\]}\\]+)"
)
_NAMED = (
    r"(?i)((?:password|passwd|passphrase|token|secret|api[_-]?key|(?:secret|access|private|signing|encryption)[_-]?key"
    r"|[a-z0-9][_-](?:pass|pwd|pat))\\?[\"']?\s*[=:]\s*)"
)
_SHAPES = (
    (re.compile(r"(://[^/\s:@]*:)[^@\s/]+@"), rf"\1{MASK}@"),
    (re.compile(_NAMED + r"(\\[\"'])(?:(?!\\[\"'])[^\n])+"), rf"\1\2{MASK}"),
    (re.compile(_NAMED + r"([\"'])(?:\\.|(?!\2)[^\\\n])+"), rf"\1\2{MASK}"),
    (re.compile(_NAMED + r"(?!null\b|none\b|true\b|false\b)[^\s'\",;&)\]}\\]+"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bpassword\s+')[^'\n]*"), rf"\1{MASK}"),
    (re.compile(r"(?i)(\bauthorization\\?[\"']\s*:\s*\\?[\"'])[^\"'\n\\]*"), rf"\1{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic) +[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {MASK}"),
)
_SIGNS = (
    *("://", "passw", "passphrase", "token", "secret", "apikey", "api_key", "api-key"),
    *("authorization", "bearer", "basic", "_key", "-key", "accesskey", "privatekey", "signingkey", "encryptionkey"),
    *("_pass", "-pass", "_pwd", "-pwd", "_pat", "-pat"),
)
"""Without one of these in lower case a text has no shape of a credential, but for a variable with one of the next."""
_VARIABLE_SIGNS = ("PASS", "PWD", "KEY", "PAT", "AUTH", "COOKIE", "CREDENTIAL", "TOKEN", "SECRET")
_NOTHING = ("null", "none", "true", "false")


def masked(text: str, mask: str = MASK) -> str:
    """Hide what has the shape of a credential in free text, whoever's it is.

    Of a long text give it line by line: a pattern that goes over megabytes at once would keep the interpreter from the
    loads that other runs play meanwhile.
    """
    if _has_any(_SIGNS, text.lower()):
        for shape, shown in _SHAPES:
            text = shape.sub(shown.replace(MASK, mask), text)
    if _has_any(_VARIABLE_SIGNS, text):
        for variable in (_LINE, _VARIABLE):
            text = variable.sub(lambda found: _without_value(found, mask), text)
    return text


def _has_any(signs: Iterable[str], text: str) -> bool:
    """Asked for each line of long logs, where a generator would take twice the time."""
    for sign in signs:  # noqa: SIM110
        if sign in text:
            return True
    return False


def _without_value(found: re.Match[str], mask: str) -> str:
    """Keep of ``NAME=value`` the value back, opening quotes aside, where the name is that of a secret.

    A name of one part has to say it wholly: a line may begin with ``PASS:`` or ``KEY:`` for many reasons.
    """
    before, name, value = found.groups()
    bare = value.lstrip("\\\"'")
    told = "_" in name or name.lower().endswith(_ENDINGS)
    if not told or not is_named_secret(name) or bare.rstrip("\"'").lower() in ("", *_NOTHING) or _is_place(bare):
        return found[0]
    return f"{before}{value[: len(value) - len(bare)]}{mask}"


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
        return _sorted_out((*self.known, *spellings(secrets)), self.guessed)

    def hidden(self, text: str) -> str:
        """Replace all of them, and what has the shape of one, in text for people."""
        return masked(redact(redact(text, self.known), self.guessed))


def secrets_of(target: Target | None, overrides: Mapping[str, str], names: Iterable[str] = ()) -> Secrets:
    """Return what is known of a target's secrets before anything is started; ``overrides`` are a scenario's.

    ``names`` are told wherever the run is, besides those of the target, so that no guess at a secret is a part of them.
    Without a target what the caller's environment and the overrides tell.
    """
    guesses = [*secrets_in(os.environ), *secrets_in(overrides)]
    if target is None:
        return Secrets(guessed=_hideable(guesses, names))
    if target.launch is not None:
        guesses += secrets_in(target.launch.environment)
        for part in target.launch.command:
            guesses += _within(part)
    guesses += _within(target.url)
    if target.external is not None:
        guesses += _of_external(target.external)
    tokens = filter(None, (target.tokens.admin, target.tokens.metrics))
    return _sorted_out(spellings(tokens), _hideable(guesses, (*names, *names_of(target))))


def _sorted_out(known: Sequence[str], guessed: Sequence[str]) -> Secrets:
    """A guess that holds a known secret is known, and replaced as a whole: the known ones are replaced first."""
    surer = {guess for guess in guessed if any(secret in guess for secret in known)}
    return Secrets(_longest_first((*known, *surer)), tuple(guess for guess in guessed if guess not in surer))


def names_of(target: Target) -> tuple[str, ...]:
    """Return how a target and its parts are called: what its reports tell, and what its replays need, anyway."""
    names = [target.name, str(target.path)]
    if target.external is not None:
        names += [target.external.proxy_name, target.external.service_role]
        names += [name for found in _DATABASE.findall(target.external.database_url) for name in found]
    return tuple(filter(None, names))


def environment_secrets() -> tuple[str, ...]:
    """Return the spellings of what looks like a secret in this process's environment.

    Shorter ones are left out: they are looked for in whole pages, whose packed scripts have millions of characters.
    """
    return tuple(one for one in _hideable(secrets_in(os.environ)) if len(one) >= _LEAST_IN_PAGES)


def secrets_in(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield the values of variables that are named like a secret, and passwords within the values of any other."""
    for name, value in environment.items():
        if not is_kept_back(value):
            if _is_secret(name, value):
                yield value
            yield from _within(value)


def kept_back(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables as they may be written down: no value of a secret, and none with the shape of a credential."""
    return {
        name: GUESSED if value and _is_secret(name, value) else masked(value, GUESSED)
        for name, value in environment.items()
    }


def is_kept_back(value: str) -> bool:
    """Tell whether a value is what stands where one was written down without its secret."""
    return HIDDEN in value or GUESSED in value


def given_back(environment: Mapping[str, str], source: Mapping[str, str]) -> dict[str, str]:
    """Give variables whose values are kept back those of ``source``; what that does not have either stays so."""
    return {name: source.get(name, value) if is_kept_back(value) else value for name, value in environment.items()}


def is_named_secret(name: str) -> bool:
    """Tell whether a variable is named like a secret: ``API_TOKEN``, ``PGPASSWORD``; not ``TOKEN_FILE``."""
    parts = [part for part in re.split(r"[^a-z0-9]+", name.lower()) if part]
    if not parts or parts[-1] in _PLACES:
        return False
    return any(part in _PARTS or part.endswith(_ENDINGS) for part in parts)


def can_be_hidden(secret: str, names: Iterable[str] = ()) -> bool:
    """Tell whether a guess may be replaced wherever it stands, since no history says it by itself.

    Left to its shape is what is shorter than 6 characters, a date, an address, a number of less than 12 digits, one
    word of less than 12 letters, words and numbers of less than 10 characters together, a part of ``names``, and words
    of any length that are nothing but those of histories (:mod:`harness.vocabulary`).
    """
    if len(secret) < _LEAST_CHARACTERS or _PLAIN.fullmatch(secret) or is_phrase(secret):
        return False
    if any(secret in name for name in names):
        return False
    if _NUMBER.fullmatch(secret):
        return sum(character.isdigit() for character in secret) >= _LONG_NUMBER
    if not _WORDS.fullmatch(secret):
        return True
    return len(secret) >= (_LONG_WORD if secret.isalpha() else _LONG_PHRASE) and not is_of_words(secret)


def _hideable(guesses: Iterable[str], names: Iterable[str] = ()) -> tuple[str, ...]:
    names = tuple(names)
    return spellings(guess for guess in guesses if can_be_hidden(guess, names))


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


def _is_secret(name: str, value: str) -> bool:
    return is_named_secret(name) and not _is_place(value)


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
