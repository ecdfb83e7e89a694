"""Rollups that always equal a full recompute, however late rows come and wherever the roller was killed.

What is due is named in two tables (frontier.py). A portion of work and the deletion of its name are one transaction, so
that a roller that was killed anywhere loses nothing: the next one finds what is named.

A touched bucket is computed anew from what is finer (levels.py), never merged: duplicates cannot count twice. A late
row costs a mark of 64 bytes, and reading the rows of its minute, 15 minutes and 96 quarter hours again. Days whose
rows were dropped (`dropped_days`) are frozen: a late row cannot make them forget what was dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import I64, Schema
from model.time import to_datetime, to_ns
from smc.store import levels
from smc.store.frontier import ROLLER, SOURCES, advance, day_start_ns, frontier_ns, mark, outstanding
from smc.store.levels import Level, Source
from smc.store.partitions import DAY_NS, days_of
from smc.store.runs import Runs
from smc.store.unpack import array

__all__ = ["SOURCES", "TABLES", "Rolled", "mark", "outstanding", "roll_up", "work_once"]

TABLES = tuple(source.table(level) for source in SOURCES.values() for level in Level)

QUARTER_NS = Level.QUARTER.width_ns
STEPS = 64  # transactions of a round
PORTION_DEVICES = 2_000
PORTION_ROWS = 100_000  # read at once: about 50 MB

_TAKE_MARKS = text("""
WITH oldest AS (
    SELECT DISTINCT schema, device_id, day
    FROM (SELECT * FROM rollup_marks ORDER BY mark_id LIMIT :most) AS first_come
), gone AS (
    DELETE FROM rollup_marks m USING oldest o
    WHERE m.schema = o.schema AND m.device_id = o.device_id AND m.day = o.day RETURNING m.*
)
SELECT array_send(array_agg(schema)), array_send(array_agg(device_id)), array_send(array_agg(day)),
       array_send(array_agg(first)), array_send(array_agg(last))
FROM (SELECT schema, device_id, day, min(first) AS first, max(last) AS last FROM gone
      GROUP BY schema, day, device_id ORDER BY schema, day, device_id) AS keys
""")
_NEXT_RANGE = text(
    "SELECT range_id, schema, whole_day, start, stop, after_device FROM rollup_ranges ORDER BY range_id LIMIT 1"
)
_SHARE_DAYS = text(
    "SELECT count(pg_advisory_xact_lock_shared(hashtext('day of ' || series), day - DATE 'epoch')) "
    "FROM unnest(CAST(:series AS text[])) AS series, unnest(CAST(:days AS date[])) AS day"
)
_FROZEN = text("SELECT DISTINCT day FROM dropped_days WHERE series = ANY(:series) AND day = ANY(:days)")
# A device with a row of some time has its newest row then or later. Asking the series itself would read all of its
# newest pages, which its index over time does not know yet.
_DEVICES = text(
    "SELECT array_send(array_agg(device_id)) FROM (SELECT device_id FROM latest "
    "WHERE device_id > :after AND time >= :start ORDER BY device_id LIMIT :most) AS next"
)


@dataclass(frozen=True, slots=True)
class Rolled:
    """What a round did. `behind`: there is more to do at once."""

    moved: int
    portions: int
    behind: bool


def roll_up(conn: Connection, now: datetime, steps: int = STEPS) -> Rolled:
    """One bounded round: move the frontiers, then compute what is due. Again at any time, also after any kill.

    `conn` is in no transaction, and is left so.
    """
    moved = sum(advance(conn, schema, now) for schema in SOURCES)
    for done in range(steps):
        if not work_once(conn):
            return Rolled(moved, done, behind=False)
    return Rolled(moved, steps, behind=True)


def work_once(conn: Connection) -> bool:
    """A portion of marks and a portion of ranges, a transaction each. False where nothing is due, or another roller is
    at work."""
    with conn.begin():
        marks = bool(conn.scalar(ROLLER)) and _work_marks(conn)
    with conn.begin():
        ranges = bool(conn.scalar(ROLLER)) and _work_range(conn)
    return marks or ranges


def _work_marks(conn: Connection) -> bool:
    found = map(array, conn.execute(_TAKE_MARKS, {"most": PORTION_DEVICES}).one())
    schema, device, day_ns, first_ns, last_ns = (column.astype(np.int64) for column in found)
    for one, day in sorted(set(zip(schema.tolist(), day_ns.tolist(), strict=True))):
        chosen = (schema == one) & (day_ns == day)
        touched = Runs.of(device[chosen], first_ns[chosen], last_ns[chosen] + 1_000)
        _recompute_day(conn, Schema(one), day, touched)
    return bool(len(schema))


def _recompute_day(conn: Connection, schema: Schema, day_ns: int, touched: Runs) -> None:
    """All levels of what was touched in one day, as far as the frontier has passed it."""
    source, passed_ns = SOURCES[schema], frontier_ns(conn, schema)
    if _frozen_days(conn, source, day_ns):
        return
    for level in Level:
        runs = touched.widened(level.width_ns)
        end_ns = passed_ns // level.width_ns * level.width_ns
        runs = Runs.of(runs.device, runs.start_ns, np.minimum(runs.stop_ns, end_ns))
        if len(runs):
            _recompute(conn, source, (level,), runs, source.weigh(conn, runs))


def _work_range(conn: Connection) -> bool:
    found = conn.execute(_NEXT_RANGE).one_or_none()
    if found is None:
        return False
    schema, start_ns, stop_ns = Schema(found.schema), to_ns(found.start), to_ns(found.stop)
    after: int | None = None
    if found.whole_day:
        after = _compute_day(conn, schema, start_ns, found.after_device)
        start_ns = stop_ns if after is None else start_ns
    else:
        start_ns = _compute_stretch(conn, schema, start_ns, stop_ns)
    if start_ns == stop_ns:
        conn.execute(text("DELETE FROM rollup_ranges WHERE range_id = :id"), {"id": found.range_id})
    else:
        update = text("UPDATE rollup_ranges SET start = :start, after_device = :after WHERE range_id = :id")
        conn.execute(
            update, {"start": to_datetime(start_ns), "after": -1 if after is None else after} | {"id": found.range_id}
        )
    return True


def _compute_stretch(conn: Connection, schema: Schema, start_ns: int, stop_ns: int) -> int:
    """Minutes and quarter hours of a part of the times that is about a portion; returns how far it reaches.

    Slices end at quarter hours. They grow while few rows are found, so that an empty day is a few questions.
    """
    source, rows, length_ns = SOURCES[schema], 0, QUARTER_NS
    frozen = _frozen_days(conn, source, np.arange(start_ns // DAY_NS, -(-stop_ns // DAY_NS)) * DAY_NS)
    while start_ns < stop_ns and rows < PORTION_ROWS:
        day_ns, quarter_ns = (start_ns // width_ns * width_ns for width_ns in (DAY_NS, QUARTER_NS))
        reached_ns = min(stop_ns, quarter_ns + length_ns, day_ns + DAY_NS)
        found = 0
        if day_ns not in frozen:
            runs, weights = _busy(conn, source, start_ns, reached_ns)
            found = int(weights.sum())
            if found > PORTION_ROWS and length_ns > QUARTER_NS:  # it has grown into a busy time
                length_ns = QUARTER_NS
                continue
            _compute_slice(conn, source, runs, weights, (start_ns, reached_ns))
        start_ns, rows = reached_ns, rows + found
        length_ns = length_ns if found > PORTION_ROWS // 16 else 2 * length_ns
    return start_ns


def _compute_slice(conn: Connection, source: Source, runs: Runs, weights: I64, slice_ns: tuple[int, int]) -> None:
    """Minutes of the runs, and the quarter hours that the slice completes."""
    first_ns, last_ns = (edge_ns // QUARTER_NS * QUARTER_NS for edge_ns in slice_ns)
    if (first_ns, last_ns) == slice_ns:
        _recompute(conn, source, (Level.MINUTE, Level.QUARTER), runs, weights)
        return
    _recompute(conn, source, (Level.MINUTE,), runs, weights)
    if first_ns < last_ns:
        _recompute(conn, source, (Level.QUARTER,), *_busy(conn, source, first_ns, last_ns))


def _busy(conn: Connection, source: Source, start_ns: int, stop_ns: int) -> tuple[Runs, I64]:
    """Devices with enough rows in these times for a bucket, and about how many rows each."""
    device = array(conn.scalar(_DEVICES, {"start": to_datetime(start_ns), "after": -1, "most": None})).astype(np.int32)
    if not len(device):
        return Runs.of(device, start_ns, stop_ns), np.zeros(0, np.int64)
    runs = Runs.of(device, start_ns, stop_ns)
    weights = source.weigh(conn, runs)
    return runs.take(weights >= levels.LEAST_ROWS), weights[weights >= levels.LEAST_ROWS]


def _compute_day(conn: Connection, schema: Schema, day_ns: int, after: int) -> int | None:
    """The day's bucket of the next devices; the last of them, None where there are no more."""
    source = SOURCES[schema]
    bounds = {"start": to_datetime(day_ns), "after": after, "most": PORTION_DEVICES}
    device = array(conn.scalar(_DEVICES, bounds)).astype(np.int32)
    if not len(device) or _frozen_days(conn, source, day_ns):
        return None
    runs = Runs.of(device, day_ns, day_ns + DAY_NS)
    _recompute(conn, source, (Level.DAY,), runs, source.weigh(conn, runs))
    return int(device[-1])


def _recompute(conn: Connection, source: Source, wanted: Sequence[Level], runs: Runs, weights: I64) -> None:
    """In portions of about PORTION_ROWS. A run with too few rows has nothing stored and gets nothing."""
    runs, weights = runs.take(weights >= levels.LEAST_ROWS), weights[weights >= levels.LEAST_ROWS]
    step_ns = max(QUARTER_NS, *(level.width_ns for level in wanted))
    length_ns = runs.stop_ns - runs.start_ns
    heavy = runs.cut(step_ns)
    share = heavy.stop_ns - heavy.start_ns
    whole = np.repeat(np.arange(len(runs)), -(-runs.stop_ns // step_ns) - runs.start_ns // step_ns)
    weight = weights[whole] * share // np.maximum(length_ns[whole], 1)
    portion = np.cumsum(weight) // PORTION_ROWS
    for chosen in np.split(np.arange(len(heavy)), np.flatnonzero(np.diff(portion)) + 1):
        if len(chosen):
            levels.recompute(conn, source, wanted, heavy.take(chosen).merged())


def _frozen_days(conn: Connection, source: Source, day_ns: npt.ArrayLike) -> set[int]:
    """Starts of those of the days that have lost rows. The rows of the others stay until the transaction ends."""
    values = {"series": list(source.series), "days": days_of(np.atleast_1d(np.asarray(day_ns, np.int64)))}
    conn.execute(_SHARE_DAYS, values)
    return {day_start_ns(day) for day in conn.scalars(_FROZEN, values)}
