"""Sessions: a random token in a cookie, its SHA-256 in the database, an idle and an absolute end."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from model.time import require_aware
from trust.roles import Role

TOKEN_BYTES = 32  # 256 bits
SEEN_EVERY = timedelta(seconds=20)  # how often use of a session is written down


@dataclass(frozen=True, slots=True)
class Session:
    """Who is signed in. The token itself is never kept, only its hash."""

    token_hash: bytes
    account_id: UUID
    name: str
    role: Role
    must_change: bool
    created: datetime
    last_seen: datetime
    expires: datetime
    authenticated: datetime
    address: str
    csrf: str

    def __post_init__(self) -> None:
        for name in ("created", "last_seen", "expires", "authenticated"):
            require_aware(name, getattr(self, name))

    def alive(self, now: datetime, idle: timedelta) -> bool:
        """Neither past its absolute end nor idle too long; a clock set back does not lengthen it."""
        return now < self.expires and now - self.last_seen < idle


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long a sign-in lasts."""

    idle: timedelta
    absolute: timedelta


def new_token() -> str:
    """A fresh token for a cookie, URL-safe."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> bytes:
    """What the database keeps of a token. The token is random, so a plain hash is enough."""
    return hashlib.sha256(token.encode()).digest()
