"""What waits to leave the centre: frozen bytes, numbered without a gap per peer, kept after they have arrived."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from model.finding import FindingKind, Severity
from model.time import NS_PER_US, to_ns


@dataclass(frozen=True, slots=True)
class Parcel:
    """One envelope on its way. `number` counts 1, 2, 3 … per peer; the bytes never change."""

    outbox_id: int
    peer: str
    number: int
    kind: str  # incident or ack
    incident_id: UUID | None
    body: bytes
    created: datetime
    state: str  # waiting, sent, complete, failed
    attempts: int
    last_error: str
    next_attempt: datetime | None
    completed: datetime | None


@dataclass(frozen=True, slots=True)
class Lag:
    """How far behind a peer is."""

    peer: str
    waiting: int
    failed: int
    complete: int
    oldest: datetime | None  # creation of the oldest parcel that has not arrived
    last_error: str
    last_completed: datetime | None


def enqueue(conn: Connection, peer: str, kind: str, incident_id: UUID | None, body: bytes, now: datetime) -> Parcel:
    """Freeze bytes for a peer in the caller's transaction; numbers rise by one in commit order."""
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('outbox'), hashtext(:peer))"), {"peer": peer})
    query = text(
        "INSERT INTO outbox (peer, number, kind, incident_id, body, created, state, next_attempt) "
        "SELECT :peer, coalesce(max(number), 0) + 1, :kind, :incident_id, :body, :now, 'waiting', :now "
        "FROM outbox WHERE peer = :peer RETURNING *"
    )
    values = {"peer": peer, "kind": kind, "incident_id": incident_id, "body": body, "now": now}
    return _parcel(conn.execute(query, values).one())


def waiting(conn: Connection, peer: str, limit: int = 100) -> list[Parcel]:
    """Parcels that have not arrived, in the order of their numbers."""
    query = text(
        "SELECT * FROM outbox WHERE peer = :peer AND state IN ('waiting', 'sent') ORDER BY number LIMIT :limit"
    )
    return [_parcel(row) for row in conn.execute(query, {"peer": peer, "limit": limit})]


def latest(conn: Connection, incident_id: UUID) -> Parcel | None:
    """What was last frozen of an incident."""
    query = text("SELECT * FROM outbox WHERE incident_id = :id ORDER BY outbox_id DESC LIMIT 1")
    row = conn.execute(query, {"id": incident_id}).one_or_none()
    return None if row is None else _parcel(row)


def unexported(
    conn: Connection, kinds: Sequence[FindingKind], least: Severity, quiet_before: datetime, limit: int = 100
) -> list[UUID]:
    """Incidents of these kinds and at least this severity that changed after their last parcel, oldest first.

    One whose last parcel is younger than `quiet_before` waits: repeats become one version, not a stream.
    """
    query = text(
        "SELECT i.incident_id FROM incidents i "
        "LEFT JOIN (SELECT incident_id, max(created) AS created FROM outbox GROUP BY 1) o USING (incident_id) "
        "LEFT JOIN (SELECT incident_id, max(proposed) AS proposed FROM decisions GROUP BY 1) d USING (incident_id) "
        "WHERE i.kind = ANY(:kinds) AND i.severity = ANY(:severities) AND (o.created IS NULL "
        "OR (o.created < :quiet_before AND o.created < greatest(i.changed, d.proposed))) "
        "ORDER BY i.changed LIMIT :limit"
    )
    severities = [str(s) for s in Severity if s.rank >= least.rank]
    values = {"kinds": [str(k) for k in kinds], "severities": severities, "quiet_before": quiet_before, "limit": limit}
    return list(conn.scalars(query, values).all())


def transmission(conn: Connection, parcel: Parcel, now: datetime) -> int:
    """Count an attempt and hand out its sequence number.

    It rises with every transmission: over crashes (a database counter never goes back), over clocks that step back
    (the counter goes on) and over a database restored from a backup (the clock has gone on).
    """
    conn.execute(text("UPDATE outbox SET attempts = attempts + 1 WHERE outbox_id = :id"), {"id": parcel.outbox_id})
    query = text(
        "SELECT setval(name, greatest(nextval(name), CAST(:now_us AS bigint))) "
        "FROM (SELECT CAST(pg_get_serial_sequence('outbox', 'outbox_id') AS regclass) AS name) counter"
    )
    return int(conn.execute(query, {"now_us": to_ns(now) // NS_PER_US}).scalar_one())


def mark_sent(conn: Connection, parcel: Parcel, status: str, next_attempt: datetime) -> None:
    """The peer has it but has not finished; `status` is the id under which it tells how it went."""
    _mark(conn, parcel, "sent", f"status {status}", next_attempt, None)


def mark_complete(conn: Connection, parcel: Parcel, now: datetime) -> None:
    """The peer has stored every object."""
    _mark(conn, parcel, "complete", "", None, now)


def mark_failed(conn: Connection, parcel: Parcel, error: str, now: datetime) -> None:
    """The peer refused it for good; a person has to look."""
    _mark(conn, parcel, "failed", error, None, now)


def mark_retry(conn: Connection, parcel: Parcel, error: str, next_attempt: datetime) -> None:
    """It did not arrive; try again later."""
    _mark(conn, parcel, "waiting", error, next_attempt, None)


def resend_from(conn: Connection, peer: str, number: int, now: datetime) -> int:
    """The peer lacks this number and all after it (its database was restored): send them again. Counts them."""
    query = text(
        "UPDATE outbox SET state = 'waiting', next_attempt = :now, completed = NULL "
        "WHERE peer = :peer AND number >= :number"
    )
    return conn.execute(query, {"peer": peer, "number": number, "now": now}).rowcount


def lag(conn: Connection) -> list[Lag]:
    """One line per peer."""
    query = text(
        "SELECT peer, count(*) FILTER (WHERE state IN ('waiting', 'sent')) AS waiting, "
        "count(*) FILTER (WHERE state = 'failed') AS failed, count(*) FILTER (WHERE state = 'complete') AS complete, "
        "min(created) FILTER (WHERE state IN ('waiting', 'sent')) AS oldest, "
        "coalesce((array_agg(last_error ORDER BY number DESC) FILTER (WHERE last_error <> ''))[1], '') AS last_error, "
        "max(completed) FILTER (WHERE state = 'complete') AS last_completed FROM outbox GROUP BY peer ORDER BY peer"
    )
    return [Lag(**row._mapping) for row in conn.execute(query)]


def recent(conn: Connection, limit: int = 100) -> list[Parcel]:
    """The newest parcels, for the page about sharing."""
    query = text("SELECT * FROM outbox ORDER BY outbox_id DESC LIMIT :limit")
    return [_parcel(row) for row in conn.execute(query, {"limit": limit})]


def _mark(
    conn: Connection, parcel: Parcel, state: str, error: str, next_attempt: datetime | None, completed: datetime | None
) -> None:
    query = text(
        "UPDATE outbox SET state = :state, last_error = :error, next_attempt = :next_attempt, completed = :completed "
        "WHERE outbox_id = :id"
    )
    values = {"state": state, "error": error[:500], "next_attempt": next_attempt, "completed": completed}
    conn.execute(query, values | {"id": parcel.outbox_id})


def _parcel(row: Any) -> Parcel:
    return Parcel(**{**row._mapping, "body": bytes(row.body)})
