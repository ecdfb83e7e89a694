"""Bytes that no decoder or rule accepted, with reason and origin, and a bound on what one origin can fill."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from model.errors import PeerError
from model.ids import stable_id

KEPT_BYTES = 64 * 1024
MAX_SPECIMENS = 200  # per link, peer and reason; what comes after is only counted
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One refused message; equal ones of an origin are one row with a count. `data` holds the first 64 KiB."""

    quarantine_id: UUID
    received: datetime
    last_received: datetime
    link: str
    peer: str
    reason: str
    what: str
    value: str
    expected: str
    data: bytes
    size: int
    count: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Messages refused for one reason at one origin."""

    link: str
    peer: str
    reason: str
    count: int
    last_received: datetime


_PUT = text("""
INSERT INTO quarantine (quarantine_id, received, last_received, link, peer, reason, what, value, expected, bytes, size,
                        count)
VALUES (:id, :received, :received, :link, :peer, :reason, :what, :value, :expected, :bytes, :size, 1)
ON CONFLICT (quarantine_id) DO UPDATE SET count = quarantine.count + 1,
    last_received = greatest(quarantine.last_received, excluded.last_received)
""")
_SPECIMENS = text(
    "SELECT EXISTS (SELECT FROM quarantine WHERE quarantine_id = :id), (SELECT count(*) FROM quarantine "
    "WHERE link = :link AND peer = :peer AND reason = :reason)"
)
_ROWS = "quarantine_id, received, last_received, link, peer, reason, what, value, expected, size, count"
_FIRST_BYTES = f"{_ROWS}, substring(bytes FROM 1 FOR 32) AS data"
_ALL_BYTES = f"{_ROWS}, bytes AS data"


def put(conn: Connection, link: str, peer: str, error: PeerError, data: bytes, received: datetime) -> UUID:
    """Keep refused bytes with their reason. The same bytes again, or too many of a kind, raise a count instead."""
    origin = {"link": _clean(link), "peer": _clean(peer), "reason": _clean(error.reason)}
    number = stable_id("quarantine", *origin.values(), sha256(data).hexdigest())
    known, specimens = conn.execute(_SPECIMENS, {**origin, "id": number}).one()
    if not known and specimens >= MAX_SPECIMENS:
        number = stable_id("quarantine", *origin.values(), "more")
    record = {
        "id": number,
        "received": received,
        "what": _clean(error.what),
        "value": _clean(str(error.value)),
        "expected": _clean(str(error.expected)),
        "bytes": data[:KEPT_BYTES],
        "size": len(data),
    }
    conn.execute(_PUT, record | origin)
    return number


def recent(conn: Connection, limit: int) -> list[Quarantined]:
    """The newest refused messages."""
    query = text(f"SELECT {_ALL_BYTES} FROM quarantine ORDER BY last_received DESC LIMIT :limit")  # noqa: S608 (own)
    return [_quarantined(row) for row in conn.execute(query, {"limit": limit})]


def get(conn: Connection, quarantine_id: UUID) -> Quarantined | None:
    """One refused message, or None."""
    query = text(f"SELECT {_ALL_BYTES} FROM quarantine WHERE quarantine_id = :id")  # noqa: S608 (own names)
    row = conn.execute(query, {"id": quarantine_id}).one_or_none()
    return None if row is None else _quarantined(row)


def between(conn: Connection, start: datetime, end: datetime, reason: str = "", limit: int = 100) -> list[Quarantined]:
    """Refused messages of the time, the newest first, with no more than their first 32 bytes."""
    query = text(
        f"SELECT {_FIRST_BYTES} FROM quarantine WHERE last_received >= :start AND received < :end"  # noqa: S608 (own)
        " AND (:reason = '' OR reason = :reason) ORDER BY last_received DESC LIMIT :limit"
    )
    values = {"start": start, "end": end, "reason": reason, "limit": limit}
    return [_quarantined(row) for row in conn.execute(query, values)]


def by_reason(conn: Connection, start: datetime, end: datetime, limit: int = 50) -> list[Refused]:
    """Refused messages of the time, counted by reason and origin, the most frequent first."""
    query = text(
        "SELECT link, peer, reason, sum(count)::bigint AS count, max(last_received) AS last_received FROM quarantine"
        " WHERE last_received >= :start AND received < :end GROUP BY link, peer, reason"
        " ORDER BY count DESC LIMIT :limit"
    )
    return [Refused(*row) for row in conn.execute(query, {"start": start, "end": end, "limit": limit})]


def counts(conn: Connection) -> dict[tuple[str, str], int]:
    """Refused messages by (link, reason)."""
    query = text("SELECT link, reason, sum(count)::bigint FROM quarantine GROUP BY link, reason ORDER BY link, reason")
    return {(link, reason): number for link, reason, number in conn.execute(query)}


def _clean(value: str) -> str:
    """A peer's words as PostgreSQL can keep them: no NUL, no lone surrogate, bounded."""
    return value[:MAX_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()


def _quarantined(row: Row[Any]) -> Quarantined:
    return Quarantined(**{**row._mapping, "data": bytes(row.data)})
