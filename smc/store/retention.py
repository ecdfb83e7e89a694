"""What is kept how long, and partitions made ahead of time. Called once an hour by whoever keeps house."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, text

from smc.store.edition import detect
from smc.store.partitions import ensure_days

SERIES = ("meter_readings", "phasor_seconds", "phasors")
DAYS_AHEAD = 3
LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '2s'")  # dropping waits for readers; readers must not wait for dropping
_DAY = re.compile(r"_(\d{8})\Z")


@dataclass(frozen=True, slots=True)
class Keep:
    """Days that each class of data is kept. Incidents, findings, decisions and audit are not deleted here."""

    telemetry_days: int = 90
    conflicts_days: int = 365
    events_days: int = 365
    quarantine_days: int = 90

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1 day")


@dataclass(frozen=True, slots=True)
class Kept:
    """What a round of housekeeping did. `strays` should be 0: rows in a default partition."""

    partitions_made: int
    partitions_dropped: int
    rows_deleted: int
    strays: int


def keep_house(conn: Connection, now: datetime, keep: Keep) -> Kept:
    """Make the partitions of the next days, drop series and delete rows past their days. In the caller's transaction;
    a lock that is not free within 2 s raises, and the next round tries again."""
    conn.execute(LOCK_TIMEOUT)
    today = now.astimezone(UTC).date()
    made = ensure_days(conn, SERIES, [today + timedelta(days=n) for n in range(DAYS_AHEAD + 1)])
    oldest = today - timedelta(days=keep.telemetry_days)
    dropped = sum(_drop_before(conn, series, oldest) for series in SERIES)
    deleted = (
        _delete_before(conn, "reading_conflicts", "received", now - timedelta(days=keep.conflicts_days))
        + _delete_before(conn, "device_events", "received", now - timedelta(days=keep.events_days))
        + _delete_before(conn, "quarantine", "last_received", now - timedelta(days=keep.quarantine_days))
    )
    return Kept(made, dropped, deleted, strays(conn))


def strays(conn: Connection) -> int:
    """Rows in default partitions: their days were not made, e.g. because a clock runs wild. 0 on TimescaleDB."""
    if detect(conn).has_hypertables:
        return 0
    return sum(int(conn.scalar(text(f"SELECT count(*) FROM {series}_default")) or 0) for series in SERIES)  # noqa: S608 (own names)


def _drop_before(conn: Connection, series: str, oldest: date) -> int:
    if detect(conn).has_hypertables:
        dropped = conn.execute(
            text("SELECT drop_chunks(CAST(:series AS regclass), CAST(:oldest AS timestamptz))"),
            {"series": series, "oldest": datetime.combine(oldest, datetime.min.time(), UTC)},
        )
        return len(dropped.all())
    names = conn.scalars(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = CAST(:series AS regclass)"
        ),
        {"series": series},
    )
    old = [name for name in names if (day := _DAY.search(name)) and day.group(1) < oldest.strftime("%Y%m%d")]
    for name in old:
        conn.exec_driver_sql(f'DROP TABLE "{name}"')
    return len(old)


def _delete_before(conn: Connection, table: str, column: str, moment: datetime) -> int:
    query = text(f"DELETE FROM {table} WHERE {column} < :moment")  # noqa: S608 (own names)
    return conn.execute(query, {"moment": moment}).rowcount
