"""The role that takes the connection slots of others: one login, made to be cheap and gone at heal."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass

from psycopg import sql


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
    verifier = sql.Literal(_scram_verifier(password))
    statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER PASSWORD {}").format(sql.Identifier(name), verifier)
    return LoginRole(name, password, statement)


def _scram_verifier(password: str, iterations: int = 1) -> str:
    """RFC 5803, as PostgreSQL stores it."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"
