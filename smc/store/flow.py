"""What the intake, sharing and audit pages read: rates, quarantined bytes, what left the house, who did what."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

# Device time may run ahead of or behind the receiver; rows further off than this are not counted as current intake.
SKEW = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class RateBucket:
    """Readings and frames received in the interval from `start`."""

    start: datetime
    readings: int
    frames: int


_RATES = """
WITH rows AS (
    SELECT date_bin(:step, received, :start) AS start, count(*) AS readings, 0 AS frames FROM meter_readings
    WHERE time >= :from_time AND time < :to_time AND received >= :start AND received < :end GROUP BY 1
    UNION ALL
    SELECT date_bin(:step, received, :start), 0, sum(frames) FROM phasor_seconds
    WHERE time >= :from_time AND time < :to_time AND received >= :start AND received < :end GROUP BY 1
)
SELECT start, sum(readings)::bigint AS readings, sum(frames)::bigint AS frames FROM rows GROUP BY start ORDER BY start
"""


def intake_rates(conn: Connection, start: datetime, end: datetime, step: timedelta) -> list[RateBucket]:
    """Meter readings and PMU frames per `step`, every interval of [start, end) present.

    Rows stamped more than an hour off their receipt are left out: the time index bounds the search.
    """
    values = {"start": start, "end": end, "step": step, "from_time": start - SKEW, "to_time": end + SKEW}
    found = {m["start"]: m for m in conn.execute(text(_RATES), values).mappings()}
    steps = max(1, -(-(end - start) // step))
    moments = [start + n * step for n in range(steps)]
    return [RateBucket(m, *((found[m]["readings"], found[m]["frames"]) if m in found else (0, 0))) for m in moments]


@dataclass(frozen=True, slots=True)
class Refused:
    """Messages refused for one reason at one origin."""

    link: str
    peer: str
    reason: str
    count: int
    last_received: datetime


def refused_by_reason(conn: Connection, start: datetime, end: datetime, limit: int = 50) -> list[Refused]:
    """Quarantined messages of the time, by reason and origin, the most frequent first."""
    sql = (
        "SELECT link, peer, reason, sum(count)::bigint AS count, max(last_received) AS last_received FROM quarantine"
        " WHERE last_received >= :start AND received < :end GROUP BY link, peer, reason"
        " ORDER BY count DESC LIMIT :limit"
    )
    found = conn.execute(text(sql), {"start": start, "end": end, "limit": limit}).mappings()
    return [Refused(**m) for m in found]


@dataclass(frozen=True, slots=True)
class Specimen:
    """One quarantined message: its first bytes (64 KiB at most) of `size`, and what was wrong."""

    quarantine_id: UUID
    received: datetime
    last_received: datetime
    link: str
    peer: str
    reason: str
    what: str
    value: str
    expected: str
    size: int
    count: int
    bytes: bytes


_SPECIMEN = ", ".join(Specimen.__slots__)


def specimens(conn: Connection, start: datetime, end: datetime, reason: str = "", limit: int = 100) -> list[Specimen]:
    """Quarantined messages of the time, the newest first, with their first 32 bytes."""
    columns = _SPECIMEN.replace("bytes", "substring(bytes FROM 1 FOR 32) AS bytes")
    sql = (
        f"SELECT {columns} FROM quarantine WHERE last_received >= :start AND received < :end"  # noqa: S608  (own columns)
        " AND (:reason = '' OR reason = :reason) ORDER BY last_received DESC LIMIT :limit"
    )
    values = {"start": start, "end": end, "reason": reason, "limit": limit}
    return [_specimen(m) for m in conn.execute(text(sql), values).mappings()]


def specimen(conn: Connection, quarantine_id: UUID) -> Specimen | None:
    """One quarantined message with all the bytes that were kept."""
    sql = f"SELECT {_SPECIMEN} FROM quarantine WHERE quarantine_id = :id"  # noqa: S608  (own columns)
    found = conn.execute(text(sql), {"id": quarantine_id}).mappings().first()
    return _specimen(found) if found else None


def _specimen(m: Any) -> Specimen:
    return Specimen(**{**m, "bytes": bytes(m["bytes"])})


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One line of the audit chain."""

    number: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: dict[str, Any]
    hash: bytes


def audit_rows(
    conn: Connection, start: datetime, end: datetime, words: str = "", limit: int = 100, offset: int = 0
) -> tuple[list[AuditRow], int]:
    """Audit lines of the time, the newest first, and how many match in all."""
    sql = (
        "SELECT number, at, actor, action, object, detail, hash, count(*) OVER () AS total FROM audit"
        " WHERE at >= :start AND at <= :end"
        " AND (:words = '' OR strpos(lower(concat_ws(' ', actor, action, object, detail::text)), lower(:words)) > 0)"
        " ORDER BY number DESC LIMIT :limit OFFSET :offset"
    )
    values = {"start": start, "end": end, "words": words, "limit": limit, "offset": offset}
    found: Sequence[Any] = conn.execute(text(sql), values).mappings().all()
    rows = [AuditRow(**{k: m[k] for k in AuditRow.__slots__ if k != "hash"}, hash=bytes(m["hash"])) for m in found]
    return rows, int(found[0]["total"]) if found else 0


_VERSIONS = """
SELECT (SELECT coalesce(extract(epoch FROM max(changed)) * 1000, 0)::bigint + count(*) FROM incidents)
       + (SELECT coalesce(extract(epoch FROM max(greatest(proposed, decided, outcome_at))) * 1000, 0)::bigint
          FROM decisions) AS incidents,
       (SELECT coalesce(extract(epoch FROM max(greatest(received, acknowledged))) * 1000, 0)::bigint
        FROM inbox) AS advice,
       (SELECT coalesce(sum(attempts), 0) + coalesce(max(outbox_id), 0) + count(completed) FROM outbox) AS sharing
"""


def versions(conn: Connection) -> dict[str, int]:
    """A whole number per live topic that rises whenever what its pages show has changed."""
    return {topic: int(version) for topic, version in conn.execute(text(_VERSIONS)).mappings().one().items()}
