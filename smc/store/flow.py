"""What the intake and audit pages read: rates of intake, who did what; and when a page has something new to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

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


# Beside the newest moment stands a sum over the hour before it: a transaction that began before the newest one and
# commits after it leaves the maximum where it was. No more than that hour is read.
_VERSIONS = """
SELECT (SELECT concat_ws('/', max(changed), sum(version), count(*)) FROM incidents
        WHERE changed >= (SELECT max(changed) FROM incidents) - INTERVAL '1 hour') AS incidents,
       (SELECT concat_ws('/', max(greatest(proposed, decided, outcome_at)), sum(hashtext(status)), count(*))
        FROM decisions WHERE greatest(proposed, decided, outcome_at)
              >= (SELECT max(greatest(proposed, decided, outcome_at)) FROM decisions) - INTERVAL '1 hour') AS decisions,
       (SELECT concat_ws('/', max(greatest(received, acknowledged)), count(acknowledged), count(*)) FROM inbox)
           AS advice,
       (SELECT concat_ws('/', max(outbox_id), max(completed)) FROM outbox) AS shared,
       (SELECT concat_ws('/', count(*), sum(attempts), count(*) FILTER (WHERE state = 'sent')) FROM outbox
        WHERE state IN ('waiting', 'sent')) AS moving
"""
_SNAPSHOT = text("SELECT pg_current_snapshot()::text")
_WHOLE_BITS = 52  # whole numbers that a browser keeps exactly


def versions(conn: Connection) -> dict[str, int]:
    """A whole number per live topic that is another one whenever what its pages show has changed."""
    found = conn.execute(text(_VERSIONS)).mappings().one()
    return {
        "incidents": _number(found["incidents"], found["decisions"]),
        "advice": _number(found["advice"]),
        "sharing": _number(found["shared"], found["moving"]),
    }


def snapshot(conn: Connection) -> str:
    """What is visible now, as a text: as long as it stays the same, no transaction has changed anything."""
    return str(conn.execute(_SNAPSHOT).scalar_one())


def _number(*told: str) -> int:
    return int.from_bytes(sha256("|".join(told).encode()).digest()[:8]) >> (64 - _WHOLE_BITS)
