"""The role that takes the connection slots of others: one login, made to be cheap and gone at heal."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from psycopg import sql

from ..stacks.scram import scram_verifier

_PASSWORDS: dict[str, str] = {}
"""Those of the roles made here: only this process logs in as one, and the ledger is no place for a password."""


@dataclass(frozen=True)
class LoginRole:
    """A role that may log in and do nothing else."""

    name: str
    statement: sql.Composed


def password_of(name: str) -> str:
    """Return the password of a role that this process has made."""
    return _PASSWORDS[name]


def new_role() -> LoginRole:
    """Name a role and say how to make it.

    Its SCRAM verifier has a single iteration: a hundred logins at the usual 4096 would take seconds of computing.
    """
    name, password = f"harness_slots_{secrets.token_hex(4)}", secrets.token_hex(16)
    _PASSWORDS[name] = password
    verifier = sql.Literal(scram_verifier(password, 1))
    statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER PASSWORD {}").format(sql.Identifier(name), verifier)
    return LoginRole(name, statement)
