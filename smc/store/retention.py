"""What is kept how long: spans and rows go when their newest receipt is past its days and no legal hold keeps them.

Incidents, findings, decisions and audit are never deleted here. Each span is one short transaction of its own; a lock
that is not free soon raises, and the next round tries again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, text

from smc.store import holds, partitions
from smc.store.frontier import outstanding
from smc.store.partitions import DAY, Span
from smc.store.series import ROW_TABLES, SERIES, DataClass, RowTable, Series

DAYS_AHEAD = 3
DELETE_ROWS = 10_000  # in one transaction
# Dropping waits for readers of the whole series, and all who come later wait behind it: better to try again.
LOCK_TIMEOUT = text("SET LOCAL lock_timeout = '500ms'")

Limits = Mapping[DataClass, timedelta]

_KNOWN = text("SELECT data_start, data_end, newest FROM known_receipts WHERE series = :series")
_REMEMBER = text(
    "INSERT INTO known_receipts VALUES (:series, :start, :end, :newest) "
    "ON CONFLICT (series, data_start, data_end) DO UPDATE SET newest = excluded.newest"
)
_FORGET = text("DELETE FROM known_receipts WHERE series = :series AND data_start = :start AND data_end = :end")
_NOTE_DROPPED = text(
    "INSERT INTO dropped_days SELECT :series, day, :now FROM unnest(CAST(:days AS date[])) AS day "
    "ON CONFLICT (series, day) DO UPDATE SET dropped_at = excluded.dropped_at"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A span that is old by its stamps, with the series that have it. Its receipts decide."""

    data_class: DataClass
    judge: Series
    span: Span
    series: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """What a round did.

    `held` are the spans that were over but for a hold, by the hold's number. `busy` were just being written to, and
    `unrolled` wait for their rollups.
    """

    dropped: int
    rows_deleted: int
    busy: int
    unrolled: int
    held: Mapping[int, int]


def keep_round(
    conn: Connection,
    now: datetime,
    limits: Limits,
    series: Sequence[Series] = SERIES,
    tables: Sequence[RowTable] = ROW_TABLES,
) -> Round:
    """Drop and delete what is over. `conn` is in no transaction; each span and each heap of rows gets its own."""
    counted: Counter[str] = Counter()
    held: Counter[int] = Counter()
    with conn.begin():
        found = list(candidates(conn, now, limits, series))
    for candidate in found:
        with conn.begin():
            conn.execute(LOCK_TIMEOUT)
            keepers = holds.holding(conn, candidate.data_class, candidate.series, candidate.span)
            held.update(hold.hold_id for hold in keepers)
            if not keepers:
                counted[_settle(conn, candidate, now, limits[candidate.data_class])] += 1
    deleted = sum(_delete_rows(conn, table, now - limits[table.data_class]) for table in tables)
    return Round(counted["dropped"], deleted, counted["busy"], counted["unrolled"], held)


def candidates(conn: Connection, now: datetime, limits: Limits, series: Sequence[Series]) -> Iterator[Candidate]:
    """Spans that nothing received lately should be in, and of which it is not known that something was."""
    by_name = {each.name: each for each in series}
    for data_class, judge in sorted({(each.data_class, each.judge) for each in series}):
        limit = limits[data_class]
        members = [each.name for each in series if (each.data_class, each.judge) == (data_class, judge)]
        known = known_receipts(conn, judge)
        having: dict[Span, list[str]] = {}
        for name in members:
            for span in partitions.spans(conn, name):
                having.setdefault(span, []).append(name)
        for span, names in sorted(having.items()):
            far = span.end <= now - limit or span.start > now + (DAYS_AHEAD + 1) * DAY
            if far and (span not in known or known[span] <= now - limit):
                yield Candidate(data_class, by_name[judge], span, tuple(names))


def known_receipts(conn: Connection, series: str) -> dict[Span, datetime]:
    """The newest receipts that were found in spans of a series when they were last looked at."""
    return {Span(start, end): newest for start, end, newest in conn.execute(_KNOWN, {"series": series})}


def _settle(conn: Connection, candidate: Candidate, now: datetime, limit: timedelta) -> str:
    """Drop the span if it is over: "dropped"; else "young", which is remembered, "unrolled" or "busy"."""
    judge, span = candidate.judge, candidate.span
    bounds = {"series": judge.name, "start": span.start, "end": span.end}
    if not partitions.claim(conn, sorted({*candidate.series, judge.name}), span):
        return "busy"
    newest = conn.scalar(
        text(f"SELECT max({judge.receipt}) FROM {judge.name} WHERE time >= :start AND time < :end"),  # noqa: S608
        bounds,
    )
    if newest is not None and newest > now - limit:
        conn.execute(_REMEMBER, {**bounds, "newest": newest})
        return "young"
    if judge.rolls is not None and span.end <= now and outstanding(conn, judge.rolls, span.start, span.end):
        return "unrolled"
    holds.let_none_open(conn)
    if holds.holding(conn, candidate.data_class, candidate.series, span):
        return "busy"  # opened while we looked; the next round tells of it
    for name in candidate.series:
        rows = conn.scalar(
            text(f"SELECT EXISTS (SELECT FROM {name} WHERE time >= :start AND time < :end)"),  # noqa: S608 (own names)
            bounds,
        )
        partitions.drop_span(conn, name, span)
        if rows:
            conn.execute(_NOTE_DROPPED, {"series": name, "days": span.days(), "now": now})
    conn.execute(_FORGET, bounds)
    return "dropped"


def _delete_rows(conn: Connection, table: RowTable, before: datetime) -> int:
    query = text(
        f"DELETE FROM {table.name} WHERE ctid IN (SELECT ctid FROM {table.name} t "  # noqa: S608 (own names)
        f"WHERE {table.receipt} < :before AND NOT {holds.held_row(table)} LIMIT :most)"
    )
    total = 0
    while True:
        with conn.begin():
            conn.execute(LOCK_TIMEOUT)
            holds.let_none_open(conn)
            parameters = {"before": before, "data_class": table.data_class, "most": DELETE_ROWS}
            deleted = conn.execute(query, parameters).rowcount
        total += deleted
        if deleted < DELETE_ROWS:
            return total
