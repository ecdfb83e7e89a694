"""Telemetry as numpy columns. Every question has a time bound: an unbounded one reads years."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import F64, I64, METER_COLUMNS
from model.time import NS_PER_US, to_ns
from smc.store.aggregates import Aggregates, coarser, concatenate
from smc.store.latest import Latest, latest
from smc.store.levels import Level, Source, pieces
from smc.store.meter_rollups import Meters
from smc.store.phasor_rollups import ALL_CHANNELS, SIGNALS, Phasors
from smc.store.runs import RUN_BY_RUN, Runs
from smc.store.unpack import CHANNEL_COLUMNS, PART_COLUMNS, Frames, array, assemble

__all__ = [
    "Counts",
    "Latest",
    "Series",
    "counts",
    "latest",
    "meter_envelope",
    "meter_series",
    "phasor_envelope",
    "phasor_series",
    "phasors",
    "readings",
]

PART_SPAN = timedelta(seconds=1)  # a part holds frames of one UTC second
LONGEST_ANGLES = timedelta(hours=1)
_META: dict[str, tuple[str, type[np.generic]]] = {
    "time_ns": ("time", np.int64),
    "received_ns": ("received", np.int64),
    "time_error_ns": ("time_error_ns", np.int64),
    "sequence": ("sequence", np.int64),
    "quality": ("quality", np.uint32),
    "provenance": ("provenance", np.int16),
}
_READINGS: dict[str, tuple[str, type[np.generic]]] = {**_META, **{name: (name, np.float64) for name in METER_COLUMNS}}
_WINDOW = "device_id = :device AND time >= :start AND time < :end"
# Parts that end before the window do not count against the limit; the first one may reach into it.
_PARTS = f"""
SELECT {PART_COLUMNS} FROM (
    SELECT *, sum(frames) OVER (ORDER BY time) - first_value(frames) OVER (ORDER BY time) AS before
    FROM phasor_seconds
    WHERE {_WINDOW} AND time + offset_ns[frames] / 1000 * INTERVAL '1 microsecond' >= :first
) AS s WHERE before - frames < :limit ORDER BY time
"""  # noqa: S608 (own names)
_CHANNELS = text(
    f"SELECT {CHANNEL_COLUMNS} FROM (SELECT CAST(:device AS integer) AS device) AS k "  # noqa: S608 (own names)
    f"CROSS JOIN LATERAL ({ALL_CHANNELS}) AS has (channel) CROSS JOIN LATERAL (SELECT * FROM phasors o "
    f"WHERE o.device_id = k.device AND o.channel = has.channel AND o.time BETWEEN :first AND :last {RUN_BY_RUN}) AS p"
)


@dataclass(frozen=True, slots=True)
class Series:
    """One signal for a plot, at most one point per bucket: bucket start, extremes, last value; shapes (n,).

    Buckets without a value are absent. NaN, a missing value, counts neither as extreme nor as last.
    """

    time_ns: I64
    minimum: F64
    maximum: F64
    last: F64


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows per device and minute of their own time: shapes (n,). A PMU's rows are its frames."""

    minute_ns: I64
    device: npt.NDArray[np.int32]
    rows: I64


def readings(
    conn: Connection, device: int, start: datetime, end: datetime, limit: int, *, newest: bool = False
) -> dict[str, npt.NDArray[Any]]:
    """Meter readings of start <= time < end in the order of time, the first `limit` of them, or the last if `newest`.

    Keys: time_ns, received_ns, time_error_ns, sequence, quality, provenance (number in `tuple(Provenance)`) and
    METER_COLUMNS; each shape (n,).
    """
    columns = ", ".join(f"array_send(array_agg({column})) AS {name}" for name, (column, _) in _READINGS.items())
    query = text(
        f"SELECT {columns} FROM (SELECT * FROM meter_readings WHERE {_WINDOW} "  # noqa: S608 (own names)
        f"ORDER BY time {'DESC' if newest else ''} LIMIT :limit) AS r"
    )
    row = conn.execute(query, _window(device, start, end) | {"limit": limit}).mappings().one()
    step = -1 if newest else 1
    return {name: array(row[name])[::step].astype(kind) for name, (_, kind) in _READINGS.items()}


def phasors(conn: Connection, device: int, start: datetime, end: datetime, limit: int) -> dict[str, npt.NDArray[Any]]:
    """Frames of a PMU with start <= time < end, the first `limit` by time.

    Keys: time_ns, received_ns, time_error_ns, quality, provenance, frequency_hz, rocof_hz_per_s, each (n,); magnitude
    and angle_rad (n, channels), in the order of the device's channels, analogs and digitals last with angle NaN.
    """
    window = _window(device, start - PART_SPAN, end) | {"limit": limit, "first": start}
    parts = conn.execute(text(_PARTS), window).all()
    if not parts:
        return _frame_columns(assemble([], []), slice(0, 0))
    first, last = parts[0].time, parts[-1].time
    lowest = first.replace(hour=0, minute=0, second=0, microsecond=0)
    bounds = {"device": device, "first": first, "last": last, "lowest": lowest, "highest": last + PART_SPAN}
    channels = conn.execute(_CHANNELS, bounds).all()
    found = assemble(parts, channels)
    low, high = np.searchsorted(found.time_ns, [to_ns(start), to_ns(end)])
    return _frame_columns(found, slice(low, min(high, low + limit)))


def counts(conn: Connection, start: datetime, end: datetime) -> Counts:
    """How many rows of start <= time < end each device has, by minute."""
    query = text("""
    SELECT array_send(array_agg(minute)), array_send(array_agg(device_id)), array_send(array_agg(rows)) FROM (
        SELECT date_bin('1 minute', time, TIMESTAMPTZ '2000-01-01 00:00Z') AS minute, device_id,
               sum(rows)::bigint AS rows
        FROM (SELECT time, device_id, 1 AS rows FROM meter_readings WHERE time >= :start AND time < :end
              UNION ALL SELECT time, device_id, frames FROM phasor_seconds WHERE time >= :start AND time < :end) AS s
        GROUP BY 1, 2 ORDER BY 1, 2) AS found
    """)
    minute, device, rows = conn.execute(query, {"start": start, "end": end}).one()
    return Counts(array(minute).astype(np.int64), array(device).astype(np.int32), array(rows).astype(np.int64))


def meter_series(conn: Connection, device: int, column: str, start: datetime, end: datetime, buckets: int) -> Series:
    """One of METER_COLUMNS of a meter, in at most `buckets` equal buckets of start <= time < end.

    Buckets of a minute and more come from rollups (see `_from_rollups`), up to the live edge.
    """
    if column not in METER_COLUMNS:
        raise ValueError(f"column is {column!r}, expected one of {', '.join(METER_COLUMNS)}")
    if (level := _level(start, end, buckets)) is not None:
        return _from_rollups(conn, Meters((column,)), level, device, start, end, buckets)
    source = f"SELECT time, {column}::float8 AS value FROM meter_readings WHERE {_WINDOW}"  # noqa: S608 (checked name)
    return _series(conn, source, _window(device, start, end), buckets)


def phasor_series(
    conn: Connection, device: int, signal: str, channel: int, start: datetime, end: datetime, buckets: int
) -> Series:
    """One signal of a PMU, in at most `buckets` equal buckets of start <= time < end, from rollups where they help.

    `signal` is frequency_hz or rocof_hz_per_s (`channel` is then ignored), or magnitude or angle_rad of a channel.
    Angles have no rollups (see phasor_rollups.py): ValueError for more than LONGEST_ANGLES of them.
    """
    if signal not in ("frequency_hz", "rocof_hz_per_s", "magnitude", "angle_rad"):
        raise ValueError(f"signal is {signal!r}, expected frequency_hz, rocof_hz_per_s, magnitude or angle_rad")
    if signal == "angle_rad" and end - start > LONGEST_ANGLES:
        raise ValueError(f"angles of {end - start} would be read frame by frame, expected at most {LONGEST_ANGLES}")
    if signal != "angle_rad" and (level := _level(start, end, buckets)) is not None:
        source = Phasors((channel,) if signal == "magnitude" else ())
        row = SIGNALS.index(signal) if signal in SIGNALS else len(SIGNALS)
        return _from_rollups(conn, source, level, device, start, end, buckets, row)
    bound = "s.device_id = :device AND s.time >= :before AND s.time < :end"
    table, join = "s", ""
    if signal in ("magnitude", "angle_rad"):
        table, join = "p", "JOIN phasors p USING (device_id, time)"
        # The bound once more: PostgreSQL does not conclude from one side of a join which partitions the other needs.
        bound += " AND p.channel = :channel AND p.device_id = :device AND p.time >= :before AND p.time < :end"
    query = f"""
        SELECT * FROM (
            SELECT time + f.offset_ns / 1000 * INTERVAL '1 microsecond' AS time, f.value::float8 AS value
            FROM phasor_seconds s {join}, unnest(s.offset_ns, {table}.{signal}) AS f (offset_ns, value)
            WHERE {bound}
        ) AS frames WHERE time >= :start AND time < :end
    """  # noqa: S608 (checked names)
    window = _window(device, start, end) | {"before": start - PART_SPAN}
    return _series(conn, query, window | ({"channel": channel} if join else {}), buckets)


def meter_envelope(conn: Connection, device: int, start: datetime, end: datetime, buckets: int) -> dict[str, Any]:
    """All signals of a meter for charts of a long time: time_ns and METER_COLUMNS, two points per bucket, the smaller
    value first; shapes (n,). As `readings`, but never more than 2 * `buckets` points, and up to the live edge."""
    found = _overview(conn, Meters(), _level(start, end, buckets), device, start, end, buckets)
    time_ns, values = _zigzag(found, _width(start, end, buckets))
    return {"time_ns": time_ns} | dict(zip(METER_COLUMNS, values, strict=True))


def phasor_envelope(conn: Connection, device: int, start: datetime, end: datetime, buckets: int) -> dict[str, Any]:
    """The same of a PMU: time_ns, frequency_hz, rocof_hz_per_s (n,), magnitude (n, channels); no angles."""
    found = _overview(conn, Phasors(), _level(start, end, buckets), device, start, end, buckets)
    time_ns, values = _zigzag(found, _width(start, end, buckets))
    return {"time_ns": time_ns, "magnitude": values[2:].T} | dict(zip(SIGNALS, values[:2], strict=True))


def _zigzag(found: Aggregates, width: timedelta) -> tuple[I64, F64]:
    """Smallest and largest value of each bucket at its beginning and its middle: shapes (2b,), (columns, 2b)."""
    half_ns = width // timedelta(microseconds=1) * NS_PER_US // 2
    time_ns = (found.time_ns[:, None] + np.array([0, half_ns])).ravel()
    return time_ns, np.stack([found.min, found.max], axis=2).reshape(len(found.min), -1)


def _width(start: datetime, end: datetime, buckets: int) -> timedelta:
    """Width of a bucket in whole microseconds, not less than one."""
    if buckets < 1:
        raise ValueError(f"buckets is {buckets}, expected at least 1")
    microsecond = timedelta(microseconds=1)
    return max(-(-(end - start) // (buckets * microsecond)) * microsecond, microsecond)


def _level(start: datetime, end: datetime, buckets: int) -> Level | None:
    """The coarsest level that still has a bucket for each one asked for; None where even minutes are too coarse."""
    width_ns = _width(start, end, buckets) // timedelta(microseconds=1) * NS_PER_US
    return max((level for level in Level if level.width_ns <= width_ns), default=None)


def _overview(
    conn: Connection, source: Source, level: Level | None, device: int, start: datetime, end: datetime, buckets: int
) -> Aggregates:
    """Every statistic of every column of the source, by bucket.

    A stored bucket counts where it begins, which is up to its width early; what is not stored counts where it belongs.
    A row that came late is seen with the next round of the roller.
    """
    window = Runs.of_window(device, start, end)
    found = [source.rows(conn, window)] if level is None else pieces(conn, source, level, window)
    width_ns = _width(start, end, buckets) // timedelta(microseconds=1) * NS_PER_US
    return coarser(concatenate(found), width_ns, to_ns(start))


def _from_rollups(
    conn: Connection,
    source: Source,
    level: Level,
    device: int,
    start: datetime,
    end: datetime,
    buckets: int,
    row: int = 0,
) -> Series:
    found = _overview(conn, source, level, device, start, end, buckets)
    if not len(found):
        return Series(found.time_ns, np.zeros(0), np.zeros(0), np.zeros(0))
    known = found.n[row] > 0
    return Series(found.time_ns[known], found.min[row, known], found.max[row, known], found.last[row, known])


def _series(conn: Connection, source: str, window: Mapping[str, Any], buckets: int) -> Series:
    """Shrink (time, value) rows of own SQL to extremes and last value per bucket."""
    width = _width(window["start"], window["end"], buckets)
    query = text(
        "SELECT array_send(array_agg(bucket)), array_send(array_agg(low)), array_send(array_agg(high)), "  # noqa: S608
        "array_send(array_agg(newest)) FROM ("
        "SELECT date_bin(:width, time, :start) AS bucket, min(value) AS low, max(value) AS high, "
        f"(array_agg(value ORDER BY time DESC))[1] AS newest FROM ({source}) AS raw "
        "WHERE value <> 'NaN' GROUP BY 1 ORDER BY 1) AS buckets"
    )
    bucket, low, high, newest = map(array, conn.execute(query, {**window, "width": width}).one())
    return Series(bucket.astype(np.int64), low, high, newest)


def _window(device: int, start: datetime, end: datetime) -> dict[str, Any]:
    return {"device": device, "start": start, "end": end}


def _frame_columns(frames: Frames, rows: slice) -> dict[str, npt.NDArray[Any]]:
    names = ("time_ns", "received_ns", "time_error_ns", "quality", "provenance", "frequency_hz", "rocof_hz_per_s")
    return {name: getattr(frames, name)[rows] for name in (*names, "magnitude", "angle_rad")}
