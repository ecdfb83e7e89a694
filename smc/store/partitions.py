"""Spans of the series tables: days of plain PostgreSQL, chunks of TimescaleDB; who may write to them or drop them.

Whoever writes shares the days it writes to until its transaction ends, whoever drops a span needs its days alone. So a
span that was looked at and found old cannot get a row between the look and the drop.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from sqlalchemy import Connection, text

from model.block import I64
from model.time import EPOCH, NS_PER_S
from smc.store.edition import detect

DAY_NS = 86_400 * NS_PER_S
DAY = timedelta(days=1)
ACCEPTED_LATENESS_DAYS = 60  # rows up to this old come in as usual; older ones only from recordings
# A block with more days than rows may be late is odd: its oldest days go to the default partition, so that a sender
# with a wild clock cannot fill the catalogue.
MAX_DAYS = ACCEPTED_LATENESS_DAYS + 4
MAX_PARTITIONS = 1_000  # of a series, before strays have to stay in the default partition
_NAME = re.compile(r"_(\d{4})(\d{2})(\d{2})\Z")

# The days are locked before the partitions are looked for: one of them may just be going. Who writes to more days than
# are made shares one lock for all the others.
_ENSURE = text("""
WITH shared AS MATERIALIZED (
    SELECT series, day, pg_advisory_xact_lock_shared(hashtext('day of ' || series), day - DATE 'epoch')
    FROM unnest(CAST(:series AS text[])) AS series, unnest(CAST(:days AS date[])) AS day
), others AS MATERIALIZED (
    SELECT pg_advisory_xact_lock_shared(hashtext('other days of ' || series), 0)
    FROM unnest(CAST(:series AS text[])) AS series WHERE :more
)
SELECT count(*) FILTER (WHERE series_partition(series, day)) + 0 * (SELECT count(*) FROM others) FROM shared
""")
_CLAIM = text("""
SELECT bool_and(pg_try_advisory_xact_lock(hashtext('day of ' || series), day - DATE 'epoch'))
       AND bool_and(pg_try_advisory_xact_lock(hashtext('other days of ' || series), 0))
FROM unnest(CAST(:series AS text[])) AS series, unnest(CAST(:days AS date[])) AS day
""")
_CHUNKS = text(
    "SELECT range_start, range_end FROM timescaledb_information.chunks WHERE hypertable_name = :series ORDER BY 1"
)
_PARTITIONS = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = CAST(:series AS regclass) ORDER BY 1"
)
_DROP_CHUNK = text(
    "SELECT drop_chunks(CAST(:series AS regclass), older_than => CAST(:end AS timestamptz), "
    "newer_than => CAST(:start AS timestamptz))"
)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A part of a series: start <= time < end."""

    start: datetime
    end: datetime

    @classmethod
    def of_day(cls, day: date) -> Span:
        """The UTC day."""
        start = datetime.combine(day, time(), UTC)
        return cls(start, start + DAY)

    def days(self) -> list[date]:
        """The UTC days it touches."""
        first = self.start.astimezone(UTC).date()
        last = (self.end - timedelta(microseconds=1)).astimezone(UTC).date()
        return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def days_of(time_ns: I64) -> list[date]:
    """The UTC days of the times, newest first."""
    first, last = int(time_ns.min()) // DAY_NS, int(time_ns.max()) // DAY_NS
    days = np.array([first]) if first == last else np.unique(time_ns // DAY_NS)  # nearly always it is one day
    return [EPOCH.date() + timedelta(days=int(day)) for day in days[::-1]]


def ensure_days(conn: Connection, series: Sequence[str], days: Sequence[date]) -> int:
    """Share these days until the transaction ends, and make their partitions where they are missing.

    Returns how many were made (0 on TimescaleDB, which makes its chunks itself).
    """
    values = {"series": list(series), "days": list(days)[:MAX_DAYS], "more": len(days) > MAX_DAYS}
    return int(conn.execute(_ENSURE, values).scalar_one())


def claim(conn: Connection, series: Sequence[str], span: Span) -> bool:
    """Get the span's days alone until the transaction ends. False where somebody is writing to one of them."""
    return bool(conn.execute(_CLAIM, {"series": list(series), "days": span.days()}).scalar_one())


def spans(conn: Connection, series: str) -> list[Span]:
    """The partitions or chunks of a series, oldest first, without the default partition."""
    if detect(conn).has_hypertables:
        return [Span(start, end) for start, end in conn.execute(_CHUNKS, {"series": series})]
    names = (_NAME.search(name) for name in conn.scalars(_PARTITIONS, {"series": series}))
    return [Span.of_day(date(*map(int, name.groups()))) for name in names if name]


def drop_span(conn: Connection, series: str, span: Span) -> None:
    """Drop a partition or chunk. The caller has claimed it and bounds how long a lock is waited for."""
    if detect(conn).has_hypertables:
        conn.execute(_DROP_CHUNK, {"series": series, "start": span.start, "end": span.end})
    else:
        conn.exec_driver_sql(f'DROP TABLE "{series}_{span.start:%Y%m%d}"')


def strays(conn: Connection, series: Sequence[str]) -> dict[str, int]:
    """Rows in default partitions: their days were not made, e.g. because a clock runs wild. None on TimescaleDB."""
    if detect(conn).has_hypertables:
        return {}
    counted = {name: conn.scalar(text(f"SELECT count(*) FROM {name}_default")) for name in series}  # noqa: S608 (own names)
    return {name: int(rows) for name, rows in counted.items() if rows}


def settle_strays(conn: Connection, series: str, most_days: int) -> int:
    """Make the days of a series' strays, those with most rows first; the rows move there. Returns the days made.

    A series with MAX_PARTITIONS gets none: its strays stay where they are.
    """
    room = min(most_days, MAX_PARTITIONS - len(spans(conn, series)))
    if room < 1:
        return 0
    days = conn.scalars(
        text(
            f"SELECT (time AT TIME ZONE 'UTC')::date FROM {series}_default "  # noqa: S608 (own names)
            "GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT :room"
        ),
        {"room": room},
    )
    return ensure_days(conn, [series], list(days))
