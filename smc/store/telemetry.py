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
from model.time import to_ns
from smc.store.latest import Latest, latest
from smc.store.unpack import CHANNEL_COLUMNS, PART_COLUMNS, Frames, array, assemble

__all__ = ["Counts", "Latest", "Series", "counts", "latest", "meter_series", "phasor_series", "phasors", "readings"]

PART_SPAN = timedelta(seconds=1)  # a part holds frames of one UTC second
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


def readings(conn: Connection, device: int, start: datetime, end: datetime, limit: int) -> dict[str, npt.NDArray[Any]]:
    """Meter readings of start <= time < end, the first `limit` by time.

    Keys: time_ns, received_ns, time_error_ns, sequence, quality, provenance (number in `tuple(Provenance)`) and
    METER_COLUMNS; each shape (n,).
    """
    columns = ", ".join(f"array_send(array_agg({column})) AS {name}" for name, (column, _) in _READINGS.items())
    query = text(
        f"SELECT {columns} FROM (SELECT * FROM meter_readings WHERE {_WINDOW} ORDER BY time LIMIT :limit) AS r"  # noqa: S608 (own names)
    )
    row = conn.execute(query, _window(device, start, end) | {"limit": limit}).mappings().one()
    return {name: array(row[name]).astype(kind) for name, (_, kind) in _READINGS.items()}


def phasors(conn: Connection, device: int, start: datetime, end: datetime, limit: int) -> dict[str, npt.NDArray[Any]]:
    """Frames of a PMU with start <= time < end, the first `limit` by time.

    Keys: time_ns, received_ns, time_error_ns, quality, provenance, frequency_hz, rocof_hz_per_s, each (n,); magnitude
    and angle_rad (n, channels), in the order of the device's channels, analogs and digitals last with angle NaN.
    """
    window = _window(device, start - PART_SPAN, end) | {"limit": limit, "first": start}
    parts = conn.execute(text(_PARTS), window).all()
    if not parts:
        return _frame_columns(assemble([], []), slice(0, 0))
    channels = conn.execute(
        text(f"SELECT {CHANNEL_COLUMNS} FROM phasors p WHERE device_id = :device AND time BETWEEN :first AND :last"),  # noqa: S608
        {"device": device, "first": parts[0].time, "last": parts[-1].time},
    ).all()
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
    """One of METER_COLUMNS of a meter, in at most `buckets` equal buckets of start <= time < end."""
    if column not in METER_COLUMNS:
        raise ValueError(f"column is {column!r}, expected one of {', '.join(METER_COLUMNS)}")
    source = f"SELECT time, {column}::float8 AS value FROM meter_readings WHERE {_WINDOW}"  # noqa: S608 (checked name)
    return _series(conn, source, _window(device, start, end), buckets)


def phasor_series(
    conn: Connection, device: int, signal: str, channel: int, start: datetime, end: datetime, buckets: int
) -> Series:
    """One signal of a PMU, in at most `buckets` equal buckets of start <= time < end.

    `signal` is frequency_hz or rocof_hz_per_s (`channel` is then ignored), or magnitude or angle_rad of a channel.
    """
    if signal not in ("frequency_hz", "rocof_hz_per_s", "magnitude", "angle_rad"):
        raise ValueError(f"signal is {signal!r}, expected frequency_hz, rocof_hz_per_s, magnitude or angle_rad")
    bound = "s.device_id = :device AND s.time >= :before AND s.time < :end"
    table, join = "s", ""
    if signal in ("magnitude", "angle_rad"):
        table, join = "p", "JOIN phasors p USING (device_id, time)"
        # The bound once more: PostgreSQL does not conclude from one side of a join which partitions the other needs.
        bound += " AND p.channel = :channel AND p.device_id = :device AND p.time >= :before AND p.time < :end"
    source = f"""
        SELECT * FROM (
            SELECT time + f.offset_ns / 1000 * INTERVAL '1 microsecond' AS time, f.value::float8 AS value
            FROM phasor_seconds s {join}, unnest(s.offset_ns, {table}.{signal}) AS f (offset_ns, value)
            WHERE {bound}
        ) AS frames WHERE time >= :start AND time < :end
    """  # noqa: S608 (checked names)
    window = _window(device, start, end) | {"before": start - PART_SPAN}
    return _series(conn, source, window | ({"channel": channel} if join else {}), buckets)


def _series(conn: Connection, source: str, window: Mapping[str, Any], buckets: int) -> Series:
    """Shrink (time, value) rows of own SQL to extremes and last value per bucket."""
    if buckets < 1:
        raise ValueError(f"buckets is {buckets}, expected at least 1")
    width = max((window["end"] - window["start"]) / buckets, timedelta(microseconds=1))
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
