"""The role that takes the connection slots of others: one login, made to be cheap and gone at heal."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from psycopg import sql

from ..stacks.scram import scram_verifier


@dataclass(frozen=True)
class LoginRole:
    """A role that may log in and do nothing else."""

    name: str
    password: str
    statement: sql.Composed


def new_role() -> LoginRole:
    """Name a role and say how to make it.

    Its SCRAM verifier has a single iteration: a hundred logins at the usual 4096 would take seconds of computing.
    """
    name, password = f"harness_slots_{secrets.token_hex(4)}", secrets.token_hex(16)
    verifier = sql.Literal(scram_verifier(password, 1))
    statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER PASSWORD {}").format(sql.Identifier(name), verifier)
    return LoginRole(name, password, statement)
