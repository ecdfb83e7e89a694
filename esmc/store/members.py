"""Members of the federation and how their transmissions stand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, text

from model.errors import NotTrusted


@dataclass(frozen=True, slots=True)
class Member:
    """One operator's centre as Europe knows it: a code, a place, a certificate name and a pinned key."""

    code: str
    name: str
    country: str
    area: str
    simulated: bool
    certificate: str  # SAN URI of the client certificate, urn:smc:dso:DSO-0001
    public_key: str  # Ed25519, PEM
    joined: datetime
    last_seen: datetime | None
    last_error: str
    errors: int
    sequence: int  # highest JWS seq
    outbox: int  # last contiguous outbox number
    revoked: datetime | None


def put(conn: Connection, member: Member) -> Member:
    """Add a member, or change its name, place and key; its counters stay."""
    query = text(
        "INSERT INTO members (code, name, country, area, simulated, certificate, public_key, joined) "
        "VALUES (:code, :name, :country, :area, :simulated, :certificate, :public_key, :joined) "
        "ON CONFLICT (code) DO UPDATE SET name = excluded.name, country = excluded.country, area = excluded.area, "
        "simulated = excluded.simulated, certificate = excluded.certificate, public_key = excluded.public_key, "
        "revoked = NULL RETURNING *"
    )
    return _member(conn.execute(query, {name: getattr(member, name) for name in Member.__slots__}).one())


def revoke(conn: Connection, code: str, now: datetime) -> None:
    """From the next request on this member is refused."""
    conn.execute(text("UPDATE members SET revoked = :now WHERE code = :code"), {"code": code, "now": now})


def by_certificate(conn: Connection, uri: str, *, lock: bool = False) -> Member | None:
    """The member with this certificate name; locked until the end of the transaction if asked."""
    plain, locking = "SELECT * FROM members WHERE certificate = :uri", " FOR UPDATE"
    row = conn.execute(text(plain + locking if lock else plain), {"uri": uri}).one_or_none()
    return None if row is None else _member(row)


def everyone(conn: Connection) -> list[Member]:
    """All members by code, revoked ones included."""
    return [_member(row) for row in conn.execute(text("SELECT * FROM members ORDER BY code"))]


def seen(conn: Connection, code: str, now: datetime) -> None:
    """A member polled; written at most every 5 s, because many poll often."""
    query = text(
        "UPDATE members SET last_seen = :now WHERE code = :code AND (last_seen IS NULL OR last_seen < :before)"
    )
    conn.execute(query, {"code": code, "now": now, "before": now - timedelta(seconds=5)})


def failed(conn: Connection, code: str, error: str) -> None:
    """Count a member's fault and keep the last one."""
    query = text("UPDATE members SET errors = errors + 1, last_error = :error WHERE code = :code")
    conn.execute(query, {"code": code, "error": error[:500]})


def advance(
    conn: Connection, member: Member, jti: str, sequence: int, outbox: int, now: datetime, keep_s: float
) -> None:
    """Remember a verified transmission of a locked member. Raises NotTrusted for one that was seen before.

    `sequence` must rise with every transmission and `jti` be new; `outbox` may repeat, a retry carries the same number.
    """
    if sequence <= member.sequence:
        raise NotTrusted("sequence", f"seq of {member.code}", sequence, f"> {member.sequence}")
    conn.execute(text("DELETE FROM seen_tokens WHERE expires < :now"), {"now": now})
    query = text(
        "INSERT INTO seen_tokens (jti, member, expires) VALUES (:jti, :code, :expires) "
        "ON CONFLICT DO NOTHING RETURNING jti"
    )
    values = {"jti": jti, "code": member.code, "expires": now + timedelta(seconds=keep_s)}
    if conn.execute(query, values).one_or_none() is None:
        raise NotTrusted("replay", f"jti of {member.code}", jti, "a token that was never used")
    update = text(
        "UPDATE members SET sequence = :sequence, outbox = greatest(outbox, :outbox), last_seen = :now, "
        "last_error = '' WHERE code = :code"
    )
    conn.execute(update, {"code": member.code, "sequence": sequence, "outbox": outbox, "now": now})


def _member(row: Any) -> Member:
    return Member(**row._mapping)
