"""The frontier of the rollups: what it has passed is computed or named as due, without a clock deciding it.

The frontier of a schema is a minute. A writer marks what it stores behind the frontier, in its own transaction and
under a shared lock (`mark`); what lies ahead costs it nothing. The roller moves the frontier in a short transaction
under the same lock alone, and names there what was passed (`advance`). Only after that commit does it compute
(rollups.py): a row stored before the move is seen by the computation, a row stored after it saw the new frontier and
was marked.

The clock only says how far to go. If it leaps ahead, everything that comes is late, and costs marks; if it falls back
far, the frontier follows, but not behind what is stored.
"""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from model.block import Block, Schema
from model.time import NS_PER_S, to_datetime, to_ns
from smc.store.copy import Batch, Column, PgType, copy_batches
from smc.store.edition import detect
from smc.store.levels import Level, Source
from smc.store.meter_rollups import Meters
from smc.store.partitions import DAY_NS, spans
from smc.store.phasor_rollups import Phasors

SOURCES: dict[Schema, Source] = {Schema.METER: Meters(), Schema.PHASOR: Phasors()}

SETTLE_NS = 30 * NS_PER_S  # the frontier stays so far behind the clock: most rows are there by then
FALL_BACK_NS = 3_600 * NS_PER_S  # a frontier so far ahead of the clock goes back
LAST_NS = np.iinfo(np.int64).max // DAY_NS * DAY_NS  # no stamp is later (year 2262)
MINUTE_NS = Level.MINUTE.width_ns

ROLLER = text("SELECT pg_try_advisory_xact_lock(hashtext('rollup roller'))")  # one transaction of rolling at a time
_ENTER = text("SELECT rollup_frontier(CAST(:schema AS smallint))")
_FRONTIER = text("SELECT frontier FROM rollup_frontiers WHERE schema = :schema")
_MOVE = text("UPDATE rollup_frontiers SET frontier = :frontier WHERE schema = :schema")
_ALONE = text("SELECT pg_advisory_xact_lock(hashtext('rollup_frontiers'), :schema)")
_PATIENCE = text("SET LOCAL lock_timeout = '500ms'")  # new writers wait behind the roller: better to try again
_NAME_RANGE = text(
    "INSERT INTO rollup_ranges (schema, whole_day, start, stop) VALUES (:schema, :whole_day, :start, :stop)"
)
_OUTSTANDING = text(
    "SELECT EXISTS (SELECT FROM rollup_marks WHERE schema = :schema AND last >= :start AND first < :end) "
    "OR EXISTS (SELECT FROM rollup_ranges WHERE schema = :schema AND stop > :start AND start < :end)"
)


def mark(conn: Connection, block: Block) -> None:
    """Name what a block brings behind the frontier, before it is stored and in the same transaction.

    Once per block, first of all: the shared lock must not be waited for while rows are locked.
    """
    frontier = conn.execute(_ENTER, {"schema": int(block.schema)}).scalar_one()
    late = np.flatnonzero(block.time_ns < to_ns(frontier))
    if not late.size:
        return
    order = late[np.lexsort((block.time_ns[late], block.device[late]))]
    device, time_ns = block.device[order], block.time_ns[order]
    day_ns = time_ns // DAY_NS * DAY_NS
    edge = np.flatnonzero((np.diff(device) != 0) | (np.diff(day_ns) != 0)) + 1
    first, last = np.append(0, edge), np.append(edge, len(order)) - 1
    columns = (
        Column("schema", PgType.INT2, np.full(len(first), int(block.schema))),
        Column("device_id", PgType.INT4, device[first]),
        Column("day", PgType.TIMESTAMPTZ, day_ns[first]),
        Column("first", PgType.TIMESTAMPTZ, time_ns[first]),
        Column("last", PgType.TIMESTAMPTZ, time_ns[last]),
    )
    copy_batches(conn, "rollup_marks", [Batch(len(first), columns)])


def outstanding(conn: Connection, schema: Schema, start: datetime, end: datetime) -> bool:
    """Whether rollups of this time still wait for rows that are stored. Their rows must not be dropped yet."""
    values = {"schema": int(schema), "start": start, "end": end}
    return bool(conn.execute(_OUTSTANDING, values).scalar_one()) or frontier_ns(conn, schema) < to_ns(end)


def advance(conn: Connection, schema: Schema, now: datetime) -> bool:
    """Move the frontier to the last minute that should be complete, naming what it passes. False where it stands
    already, another roller is at work, or writers did not let go of the lock. `conn` is in no transaction."""
    target_ns = (min(to_ns(now), LAST_NS) - SETTLE_NS) // MINUTE_NS * MINUTE_NS
    with conn.begin():
        before_ns = frontier_ns(conn, schema)
        if before_ns < target_ns:
            after_ns = target_ns
        elif before_ns - target_ns > FALL_BACK_NS:
            after_ns = min(before_ns, max(target_ns, _known_until_ns(conn, schema)))
        else:
            return False
    try:
        with conn.begin():
            return after_ns != before_ns and _move(conn, schema, before_ns, after_ns)
    except OperationalError as error:
        if isinstance(error.orig, LockNotAvailable):
            return False  # the next round tries again
        raise


def _move(conn: Connection, schema: Schema, before_ns: int, after_ns: int) -> bool:
    if not conn.scalar(ROLLER):
        return False
    conn.execute(_PATIENCE)
    conn.execute(_ALONE, {"schema": int(schema)})
    if frontier_ns(conn, schema) != before_ns:
        return False
    if after_ns > before_ns:
        _name_passed(conn, schema, before_ns, after_ns)
    else:
        _forget_after(conn, schema, after_ns)
    conn.execute(_MOVE, {"schema": int(schema), "frontier": to_datetime(after_ns)})
    return True


def _name_passed(conn: Connection, schema: Schema, before_ns: int, after_ns: int) -> None:
    """Ranges for what the frontier passes; of a long way only the parts of the series that exist."""
    stretches = [(before_ns, after_ns)]
    if after_ns - before_ns > DAY_NS:
        parts = _days_that_exist(conn, SOURCES[schema].series[0])
        stretches = [(max(before_ns, day), min(after_ns, day + DAY_NS)) for day in parts]
    ranges = [(start, stop, False) for start, stop in stretches if start < stop]
    for start, stop in stretches:
        ends = range(start // DAY_NS * DAY_NS + DAY_NS, stop + 1, DAY_NS)
        ranges += [(end - DAY_NS, end, True) for end in ends]
    if ranges:
        values = [
            {"schema": int(schema), "whole_day": whole, "start": to_datetime(start), "stop": to_datetime(stop)}
            for start, stop, whole in ranges
        ]
        conn.execute(_NAME_RANGE, values)


def _days_that_exist(conn: Connection, series: str) -> list[int]:
    """Starts of the UTC days that have a partition or chunk, or strays in the default partition, in order."""
    days = {day for span in spans(conn, series) for day in span.days()}
    if not detect(conn).has_hypertables:
        strays = text(f"SELECT DISTINCT (time AT TIME ZONE 'UTC')::date FROM {series}_default")  # noqa: S608 (own names)
        days |= set(conn.scalars(strays))
    return [day_start_ns(day) for day in sorted(days)]


def _forget_after(conn: Connection, schema: Schema, after_ns: int) -> None:
    """Take back what the frontier leaves: nobody would mark it any more. It is computed when the frontier returns."""
    for level in Level:
        query = text(f"DELETE FROM {SOURCES[schema].table(level)} WHERE time > :start")  # noqa: S608 (own names)
        conn.execute(query, {"start": to_datetime(after_ns - level.width_ns)})
    values = {"schema": int(schema), "after": to_datetime(after_ns)}
    conn.execute(
        text("DELETE FROM rollup_ranges WHERE schema = :schema AND (start >= :after OR whole_day AND stop > :after)"),
        values,
    )
    conn.execute(text("UPDATE rollup_ranges SET stop = :after WHERE schema = :schema AND stop > :after"), values)


def _known_until_ns(conn: Connection, schema: Schema) -> int:
    """No frontier goes back behind the newest row, nor behind a day that cannot be computed again."""
    newest = conn.scalar(text("SELECT max(time) FROM latest"))
    frozen = conn.scalar(
        text("SELECT max(day) FROM dropped_days WHERE series = ANY(:series)"), {"series": list(SOURCES[schema].series)}
    )
    known_ns = 0 if newest is None else (to_ns(newest) // MINUTE_NS + 1) * MINUTE_NS
    return max(known_ns, 0 if frozen is None else day_start_ns(frozen) + DAY_NS)


def frontier_ns(conn: Connection, schema: Schema) -> int:
    """Where the frontier stands."""
    return to_ns(conn.execute(_FRONTIER, {"schema": int(schema)}).scalar_one())


def day_start_ns(day: date) -> int:
    """Nanoseconds since 1970 of the day's beginning."""
    return (day - date(1970, 1, 1)).days * DAY_NS
