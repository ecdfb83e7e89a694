"""Phasor frames into their series: one row per PMU and UTC second (or the part of it that a block brought).

A redelivered block may be cut elsewhere than the first time, so the unit of "known already" is the frame: where stored
parts overlap a new one, they are read back, compared frame by frame, and only new frames are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import F64, Block
from model.time import NS_PER_S, NS_PER_US, to_datetime
from smc.store import arrays
from smc.store.arrays import Array
from smc.store.copy import Batch, Column, PgType, copy_batches
from smc.store.latest import PROVENANCES
from smc.store.meters import SENT_QUALITY, Stored
from smc.store.unpack import Frames, frames_of_parts

I32 = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]

# Two writers of one PMU would not see each other's uncommitted frames; so one waits for the other. Always in the
# order of the index, so that they cannot wait for each other.
_LOCK = """
SELECT count(pg_advisory_xact_lock(hashtext('phasor_seconds'), d))
FROM (SELECT d FROM unnest(%(devices)s::int4[]) AS d ORDER BY d) AS ordered
"""
_OVERLAPPING = """
SELECT DISTINCT s.device_id, s.time
FROM unnest(%(devices)s::int4[], %(firsts)s::timestamptz[], %(lasts)s::timestamptz[]) AS c (device_id, first, last)
CROSS JOIN LATERAL (
    SELECT p.device_id, p.time FROM phasor_seconds p
    WHERE p.device_id = c.device_id AND p.time BETWEEN date_trunc('second', c.first) AND c.last
      AND p.time BETWEEN %(lowest)s AND %(highest)s
      AND p.time + p.offset_ns[p.frames] / 1000 * INTERVAL '1 microsecond' >= c.first
) AS s
"""
_KEEP_CONFLICT = text("""
INSERT INTO reading_conflicts (device_id, time, received, columns, stored, offered, stored_quality, offered_quality,
                               stored_sequence, offered_sequence, digest)
VALUES (:device, :time, :received, :columns, :stored, :offered, :stored_quality, :offered_quality, -1, :sequence,
        :digest) ON CONFLICT DO NOTHING
""")


@dataclass(frozen=True, slots=True)
class _Parts:
    """Runs of rows with one device and one UTC second: rows start..start+frames of a sorted block."""

    start: Rows
    frames: Rows


def store(conn: Connection, block: Block) -> Stored:
    """Store a PHASOR block that is sorted by device and time."""
    parts = _parts(block)
    arrays.run(conn, _LOCK, {"devices": Array(PgType.INT4, np.unique(block.device[parts.start]))})
    known = _overlapping(conn, block, parts)
    new, conflicting, winner = judge(known, block)
    if conflicting.size:
        _keep_conflicts(conn, known, block, conflicting, winner)
    fresh = block if new.all() else block.take(new)
    if len(fresh):
        for table, batches in batches_of(fresh):
            if batches:
                copy_batches(conn, table, batches)
    count = int(new.sum())
    return Stored(count, len(block) - count - len(conflicting), len(conflicting))


def judge(known: Frames, block: Block) -> tuple[Bools, Rows, Rows]:
    """Which rows of a sorted block are new (mask), which contradict an earlier frame of their device and microsecond
    (row numbers), and which frame that is: a row of `known`, or len(known) + a row of the block."""
    stored = len(known.device)
    if not stored and not _has_equal_keys(block):
        return np.ones(len(block), np.bool_), np.zeros(0, np.intp), np.zeros(0, np.intp)
    device = np.concatenate([known.device, block.device])
    time_us = np.concatenate([known.time_ns, block.time_ns]) // NS_PER_US
    order = np.lexsort((np.arange(len(device)), time_us, device))  # of equal keys the stored one is first
    same_key = (np.diff(device[order]) == 0) & (np.diff(time_us[order]) == 0)
    starts = np.flatnonzero(np.append(True, ~same_key)) if len(order) else np.zeros(0, np.intp)
    first = np.empty(len(device), np.intp)
    first[order] = np.repeat(order[starts], np.diff(np.append(starts, len(order))))
    offered = np.arange(stored, len(device))
    new: Bools = first[offered] == offered
    again = np.flatnonzero(~new)
    if not again.size:
        return new, again, again
    content = np.concatenate(_same_width(known.content(), _content(block)))
    mine, theirs = content[stored + again], content[first[stored + again]]
    differs = ~((mine == theirs) | (np.isnan(mine) & np.isnan(theirs))).all(axis=1)
    return new, again[differs], first[stored + again[differs]]


def _has_equal_keys(block: Block) -> bool:
    time_us = block.time_ns // NS_PER_US
    return bool(((np.diff(block.device) == 0) & (np.diff(time_us) == 0)).any())


def _content(block: Block) -> F64:
    """What the sender said, in the precision that is stored: shape (n, columns + 1), the last one its quality bits."""
    with np.errstate(over="ignore"):
        values = block.values.astype(np.float32).astype(np.float64)
    return np.column_stack([values, block.quality & SENT_QUALITY])


def _same_width(left: F64, right: F64) -> tuple[F64, F64]:
    """Fill up with NaN before the last column: a PMU may have got channels between two frames."""
    width = max(left.shape[1], right.shape[1])

    def widened(content: F64) -> F64:
        filler = np.full((len(content), width - content.shape[1]), np.nan)
        return np.hstack([content[:, :-1], filler, content[:, -1:]])

    return widened(left), widened(right)


def _parts(block: Block) -> _Parts:
    second = block.time_ns // NS_PER_S
    edge = (np.diff(block.device) != 0) | (np.diff(second) != 0)
    start = np.flatnonzero(np.append(True, edge))
    return _Parts(start, np.diff(np.append(start, len(block))))


def _overlapping(conn: Connection, block: Block, parts: _Parts) -> Frames:
    firsts, lasts = block.time_ns[parts.start], block.time_ns[parts.start + parts.frames - 1]
    found = arrays.run(
        conn,
        _OVERLAPPING,
        {
            "devices": Array(PgType.INT4, block.device[parts.start]),
            "firsts": Array(PgType.TIMESTAMPTZ, firsts),
            "lasts": Array(PgType.TIMESTAMPTZ, lasts),
            "lowest": to_datetime(int(firsts.min()) // NS_PER_S * NS_PER_S),
            "highest": to_datetime(int(lasts.max())),
        },
    )
    return frames_of_parts(conn, [device for device, _ in found], [time for _, time in found])


def _keep_conflicts(conn: Connection, known: Frames, block: Block, rows: Rows, winner: Rows) -> None:
    stored = len(known.device)
    offered_content, known_content = _content(block), known.content()
    records: list[dict[str, Any]] = []
    for row, other in zip(rows.tolist(), winner.tolist(), strict=True):
        offered = offered_content[row]
        before = known_content[other] if other < stored else offered_content[other - stored]
        quality = int(known.quality[other]) if other < stored else int(block.quality[other - stored])
        records.append(
            {
                "device": int(block.device[row]),
                "time": to_datetime(int(block.time_ns[row])),
                "received": to_datetime(int(block.received_ns[row])),
                "columns": list(block.columns),
                "stored": before[:-1].tolist(),
                "offered": offered[:-1].tolist(),
                "stored_quality": quality,
                "offered_quality": int(block.quality[row]),
                "sequence": int(block.sequence[row]),
                "digest": sha256(offered.tobytes()).digest(),
            }
        )
    conn.execute(_KEEP_CONFLICT, records)


def batches_of(block: Block) -> list[tuple[str, list[Batch]]]:
    """Which rows of a block sorted by device and time go to which series."""
    parts = _parts(block)
    seconds: list[Batch] = []
    channels: list[Batch] = []
    for frames in np.unique(parts.frames).tolist():
        start = parts.start[parts.frames == frames]
        rows = start[:, None] + np.arange(frames)
        alike = block if rows.size == len(block) else block.take(rows.ravel())
        seconds.append(_seconds(alike, frames))
        channels.extend(_channels(alike, frames))
    return [("phasor_seconds", seconds), ("phasors", channels)]


def _seconds(block: Block, frames: int) -> Batch:
    """One row per part of a block whose parts have so many frames each."""
    time_ns = block.time_ns.reshape(-1, frames)
    parts = len(time_ns)
    columns = (
        Column("device_id", PgType.INT4, block.device[::frames]),
        Column("time", PgType.TIMESTAMPTZ, time_ns[:, 0]),
        Column("received", PgType.TIMESTAMPTZ, block.received_ns[frames - 1 :: frames]),
        Column("provenance", PgType.INT2, np.broadcast_to(PROVENANCES.index(block.origin.provenance), parts)),
        Column("frames", PgType.INT2, np.broadcast_to(frames, parts)),
        Column("offset_ns", PgType.INT4, time_ns - time_ns[:, :1] // NS_PER_US * NS_PER_US),
        Column("time_error_ns", PgType.INT8, block.time_error_ns.reshape(parts, frames)),
        Column("quality", PgType.INT8, block.quality.reshape(parts, frames)),
        Column("frequency_hz", PgType.FLOAT4, block.column("frequency_hz").reshape(parts, frames)),
        Column("rocof_hz_per_s", PgType.FLOAT4, block.column("rocof_hz_per_s").reshape(parts, frames)),
    )
    return Batch(parts, columns)


def _channels(block: Block, frames: int) -> list[Batch]:
    """One row per part and channel: phasors first, then analogs and digitals, which have no angle."""
    names = block.columns[2:]
    phasors = sum(name.startswith("magnitude_") for name in names)
    magnitudes, angles = block.values[:, 2 : 2 + 2 * phasors : 2], block.values[:, 3 : 3 + 2 * phasors : 2]
    others = block.values[:, 2 + 2 * phasors :]
    found = [_channel_rows(block, frames, 0, magnitudes, angles)] if phasors else []
    if others.shape[1]:
        found.append(_channel_rows(block, frames, phasors, others, None))
    return found


def _channel_rows(block: Block, frames: int, first_channel: int, magnitude: F64, angle: F64 | None) -> Batch:
    count = magnitude.shape[1]
    device, time_ns = block.device[::frames], block.time_ns[::frames]
    parts = len(device)

    def by_channel(values: F64) -> npt.NDArray[Any]:
        """(parts * frames, channels) to (parts * channels, frames), in the server's own form: one pass for both."""
        with np.errstate(over="ignore"):
            turned = values.reshape(parts, frames, count).transpose(0, 2, 1).astype(PgType.FLOAT4.wire, order="C")
        return turned.reshape(parts * count, frames)

    columns = (
        Column("device_id", PgType.INT4, np.repeat(device, count)),
        Column("channel", PgType.INT2, np.tile(np.arange(first_channel, first_channel + count), parts)),
        Column("time", PgType.TIMESTAMPTZ, np.repeat(time_ns, count)),
        Column("magnitude", PgType.FLOAT4, by_channel(magnitude)),
        Column("angle_rad", PgType.FLOAT4, None if angle is None else by_channel(angle)),
    )
    return Batch(parts * count, columns)
