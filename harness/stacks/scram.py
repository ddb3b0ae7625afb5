"""What PostgreSQL stores of a password (RFC 5803; PostgreSQL 18, pg_authid), at a price of our choosing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets


def scram_verifier(password: str, iterations: int) -> str:
    """Return the verifier of a password, for the place of a password in ``CREATE ROLE``.

    The iterations make a guess at a weak password dear, and each login: the usual 4096, the fewest that RFC 7677
    allows, cost a client some 5 ms.  libpq takes fewer, some clients refuse them.
    """
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, stored, server)]
    return f"SCRAM-SHA-256${iterations}:{parts[0]}${parts[1]}:{parts[2]}"
