"""What arrived and how it went: raw envelopes as proof, statuses for their posters, and the quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, text

from model.ids import new_id

QUARANTINE_BYTES = 65_536
STATUS_KEPT = timedelta(hours=48)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Something that was refused, with its bytes (the first 64 KiB)."""

    quarantine_id: UUID
    received: datetime
    peer: str
    reason: str
    detail: str
    bytes: bytes
    size: int


def put_raw(conn: Connection, member: str, received: datetime, outbox: int, body: bytes, token: str) -> None:
    """Keep an envelope and its signature exactly as they came: the proof of who said what."""
    query = text(
        "INSERT INTO intake_raw (member, received, outbox, body, token) "
        "VALUES (:member, :received, :outbox, :body, :token)"
    )
    conn.execute(query, {"member": member, "received": received, "outbox": outbox, "body": body, "token": token})


def put_status(conn: Connection, status: UUID, member: str, now: datetime, body: dict[str, Any]) -> None:
    """Keep a status for its poster, at least 24 h."""
    conn.execute(text("DELETE FROM taxii_status WHERE requested < :old"), {"old": now - STATUS_KEPT})
    query = text(
        "INSERT INTO taxii_status (status, member, requested, body) "
        "VALUES (:status, :member, :now, CAST(:body AS jsonb))"
    )
    conn.execute(query, {"status": status, "member": member, "now": now, "body": orjson.dumps(body).decode()})


def status(conn: Connection, status_id: UUID, member: str) -> dict[str, Any] | None:
    """A status, for the member that posted; None for everybody else."""
    query = text("SELECT body FROM taxii_status WHERE status = :status AND member = :member")
    found: dict[str, Any] | None = conn.scalar(query, {"status": status_id, "member": member})
    return found


def quarantine(conn: Connection, peer: str, reason: str, detail: str, data: bytes, now: datetime) -> None:
    """Keep what was refused, with its reason and origin."""
    query = text(
        "INSERT INTO quarantine (quarantine_id, received, peer, reason, detail, bytes, size) "
        "VALUES (:id, :now, :peer, :reason, :detail, :bytes, :size)"
    )
    values = {"id": new_id(), "now": now, "peer": peer, "reason": reason, "detail": detail.replace("\0", "")[:500]}
    conn.execute(query, values | {"bytes": data[:QUARANTINE_BYTES], "size": len(data)})


def quarantined(conn: Connection, limit: int = 100) -> list[Quarantined]:
    """The newest refusals."""
    rows = conn.execute(text("SELECT * FROM quarantine ORDER BY received DESC LIMIT :limit"), {"limit": limit})
    return [Quarantined(**{**row._mapping, "bytes": bytes(row.bytes)}) for row in rows]


def quarantine_counts(conn: Connection) -> dict[str, int]:
    """Refusals by reason."""
    rows = conn.execute(text("SELECT reason, count(*) AS n FROM quarantine GROUP BY reason ORDER BY reason"))
    return {row.reason: row.n for row in rows}
