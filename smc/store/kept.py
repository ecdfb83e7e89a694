"""How keeping house stands: who keeps it, what is oldest and goes next, when each job last ended well."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from smc.store import partitions
from smc.store.partitions import Span
from smc.store.retention import Limits, known_receipts
from smc.store.series import ROW_TABLES, SERIES, DataClass, RowTable, Series

HOUSE_LOCK = 0x4B454550  # "KEEP": whoever has it keeps house, everybody else stands by

_SAY = text("INSERT INTO keep_rounds VALUES (:job, :ended) ON CONFLICT (job) DO UPDATE SET ended = excluded.ended")


@dataclass(frozen=True, slots=True)
class Kept:
    """The oldest data of a table: since when, and when they go at the earliest. A hold can keep them longer."""

    table: str
    data_class: DataClass
    oldest: datetime
    goes: datetime


@contextmanager
def house(engine: Engine) -> Iterator[Connection | None]:
    """The connection of the one who keeps house, as long as it lives; None where somebody else does."""
    with engine.connect() as conn:
        try:
            with conn.begin():
                query = text("SELECT pg_try_advisory_lock(:key)")
                taken = bool(conn.execute(query, {"key": HOUSE_LOCK}).scalar_one())
            yield conn if taken else None
        finally:
            conn.invalidate()  # ends the session: in a connection given back to the pool the lock would live on


def stay(conn: Connection) -> None:
    """Notice soon when the connection, and with it the house, is lost: raises DBAPIError."""
    with conn.begin():
        conn.execute(text("SELECT 1"))


def oldest(conn: Connection, limits: Limits) -> Iterator[Kept]:
    """The oldest data of every table that has any."""
    for series in SERIES:
        yield from _oldest_span(conn, series, limits)
    for table in ROW_TABLES:
        yield from _oldest_row(conn, table, limits)


def _oldest_span(conn: Connection, series: Series, limits: Limits) -> Iterator[Kept]:
    query = text(f"SELECT EXISTS (SELECT FROM {series.name} WHERE time >= :start AND time < :end)")  # noqa: S608 (own names)
    for span in partitions.spans(conn, series.name):
        if conn.scalar(query, {"start": span.start, "end": span.end}):
            newest = known_receipts(conn, series.judge).get(span, span.end)
            yield Kept(series.name, series.data_class, span.start, max(newest, span.end) + limits[series.data_class])
            return


def _oldest_row(conn: Connection, table: RowTable, limits: Limits) -> Iterator[Kept]:
    received = conn.scalar(text(f"SELECT min({table.receipt}) FROM {table.name}"))  # noqa: S608 (own names)
    if received is not None:
        yield Kept(table.name, table.data_class, received, received + limits[table.data_class])


def say_ended(conn: Connection, job: str, at: datetime) -> None:
    """A job has ended well."""
    conn.execute(_SAY, {"job": job, "ended": at})


def last_ended(conn: Connection) -> dict[str, datetime]:
    """When each job last ended well."""
    return {row.job: row.ended for row in conn.execute(text("SELECT job, ended FROM keep_rounds"))}


def last_sign_of_time(conn: Connection) -> datetime | None:
    """When keeping house last ended well; before its first round, the newest receipt. By the host's clock of then."""
    found: datetime | None = conn.scalar(
        text("SELECT coalesce((SELECT max(ended) FROM keep_rounds), (SELECT max(received) FROM latest))")
    )
    return found


def dropped_days(conn: Connection) -> dict[str, int]:
    """How many days of each series were dropped so far."""
    rows = conn.execute(text("SELECT series, count(*) FROM dropped_days GROUP BY series ORDER BY series"))
    return {series: int(days) for series, days in rows}


def dropped_between(conn: Connection, span: Span) -> int:
    """How many days of series were dropped that the span touches."""
    query = text("SELECT count(*) FROM dropped_days WHERE day >= CAST(:start AS date) AND day < :end")
    return int(conn.execute(query, {"start": span.start, "end": span.end}).scalar_one())
