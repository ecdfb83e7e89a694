"""Query results into numpy: arrays travel as `array_send(...)`, whose bytes are numpy's own; frames out of parts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Row, text

from model.block import F64, I64, U32
from model.time import NS_PER_US, to_ns
from smc.store.copy import POSTGRES_EPOCH_US, PgType

I16 = npt.NDArray[np.int16]
I32 = npt.NDArray[np.int32]
TIMESTAMPTZ_OID = PgType.TIMESTAMPTZ.oid

_HEADER = struct.Struct(">iiiii")  # dimensions, has nulls, element oid, length, first index
_ELEMENTS = {kind.oid: np.dtype([("n", ">i4"), ("v", kind.wire)]) for kind in PgType}

PART_COLUMNS = (
    "s.device_id, s.time, s.provenance, s.frames, s.received, array_send(s.offset_ns) AS offset_ns, "
    "array_send(s.time_error_ns) AS time_error_ns, array_send(s.quality) AS quality, "
    "array_send(s.frequency_hz) AS frequency_hz, array_send(s.rocof_hz_per_s) AS rocof_hz_per_s"
)
CHANNEL_COLUMNS = (
    "p.device_id, p.time, p.channel, array_send(p.magnitude) AS magnitude, array_send(p.angle_rad) AS angle_rad"
)


def array(sent: bytes | None) -> npt.NDArray[Any]:
    """A one-dimensional array without NULLs from the bytes of `array_send`; timestamps become ns since 1970.

    NULL, what array_agg makes of no rows, becomes an empty array.
    """
    if sent is None or len(sent) < _HEADER.size:
        return np.zeros(0)
    _, _, oid, length, _ = _HEADER.unpack_from(sent)
    values = np.frombuffer(sent, _ELEMENTS[oid], length, _HEADER.size)["v"]
    if oid == TIMESTAMPTZ_OID:
        return (values.astype(np.int64) + POSTGRES_EPOCH_US) * NS_PER_US
    return values.astype(values.dtype.newbyteorder("="))


def elements(sent: bytes | None, lengths: I64) -> npt.NDArray[Any]:
    """The elements of many arrays as one: `string_agg(array_send(...), '')` of real[] or integer[] of these lengths,
    none of them empty and without NULLs."""
    if sent is None:
        return np.zeros(0)
    header = _HEADER.unpack_from(sent)
    words = np.frombuffer(sent, _ELEMENTS[header[2]]["v"])
    before = _HEADER.size // 4
    if (lengths == lengths[0]).all():  # the usual case: a full second of one rate
        found = words.reshape(len(lengths), before + 2 * int(lengths[0]))[:, before + 1 :: 2].ravel()
    else:
        words_of = before + 2 * lengths
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        found = words[np.repeat(np.cumsum(words_of) - words_of + before + 1, lengths) + 2 * within]
    return found.astype(found.dtype.newbyteorder("="))


@dataclass(frozen=True, slots=True)
class Frames:
    """PMU frames in the order of device and time: shapes (n,), magnitude and angle (n, channels).

    Channels past a PMU's phasors are its analogs and digital words, whose angle is NaN (`has_angle` is False).
    """

    device: I32
    time_ns: I64
    received_ns: I64
    time_error_ns: I64
    provenance: I16
    quality: U32
    frequency_hz: F64
    rocof_hz_per_s: F64
    magnitude: F64
    angle_rad: F64
    has_angle: npt.NDArray[np.bool_]  # (channels,)

    def content(self) -> F64:
        """What the sender said, in the order of a block's columns, with its quality bits last."""
        phasors = np.stack([self.magnitude[:, self.has_angle], self.angle_rad[:, self.has_angle]], axis=2)
        others = self.magnitude[:, ~self.has_angle]
        pairs = phasors.reshape(len(self.device), -1) if phasors.size else np.zeros((len(self.device), 0))
        sent = self.quality & 0x00FF_FFFF
        return np.column_stack([self.frequency_hz, self.rocof_hz_per_s, pairs, others, sent])


def frames_of_parts(conn: Connection, devices: Sequence[int], times: Sequence[datetime]) -> Frames:
    """All frames of the named parts (device, time of the first frame)."""
    if not devices:
        return assemble([], [])
    keys = "unnest(CAST(:devices AS integer[]), CAST(:times AS timestamptz[])) AS k (device_id, time)"
    bounds = {"devices": list(devices), "times": list(times), "lowest": min(times), "highest": max(times)}
    parts = conn.execute(
        text(
            f"SELECT {PART_COLUMNS} FROM {keys} JOIN phasor_seconds s USING (device_id, time) "  # noqa: S608 (own names)
            "WHERE s.time BETWEEN :lowest AND :highest"
        ),
        bounds,
    )
    channels = conn.execute(
        text(
            f"SELECT {CHANNEL_COLUMNS} FROM {keys} JOIN phasors p USING (device_id, time) "  # noqa: S608 (own names)
            "WHERE p.time BETWEEN :lowest AND :highest"
        ),
        bounds,
    )
    return assemble(parts.all(), channels.all())


def assemble(parts: Sequence[Row[Any]], channels: Sequence[Row[Any]]) -> Frames:
    """Frames from rows of PART_COLUMNS and CHANNEL_COLUMNS, in any order."""
    counts = np.array([part.frames for part in parts], np.int64)
    magnitude, angle, has_angle = _channels(parts, counts, channels)

    def joined(name: str, kind: type[np.generic]) -> npt.NDArray[Any]:
        return np.concatenate([np.zeros(0, kind), *(array(getattr(part, name)).astype(kind) for part in parts)])

    def repeated(name: str) -> npt.NDArray[Any]:
        return np.repeat(np.array([getattr(part, name) for part in parts], np.int64), counts)

    device = repeated("device_id").astype(np.int32)
    time_ns = np.repeat(_ns([part.time for part in parts]), counts) + joined("offset_ns", np.int64)
    order = np.lexsort((time_ns, device))
    return Frames(
        device=device[order],
        time_ns=time_ns[order],
        received_ns=np.repeat(_ns([part.received for part in parts]), counts)[order],
        time_error_ns=joined("time_error_ns", np.int64)[order],
        provenance=repeated("provenance").astype(np.int16)[order],
        quality=joined("quality", np.uint32)[order],
        frequency_hz=joined("frequency_hz", np.float64)[order],
        rocof_hz_per_s=joined("rocof_hz_per_s", np.float64)[order],
        magnitude=magnitude[order],
        angle_rad=angle[order],
        has_angle=has_angle,
    )


def _channels(
    parts: Sequence[Row[Any]], counts: I64, channels: Sequence[Row[Any]]
) -> tuple[F64, F64, npt.NDArray[np.bool_]]:
    starts = np.cumsum(counts) - counts
    place = {(part.device_id, part.time): int(start) for part, start in zip(parts, starts, strict=True)}
    width = max((row.channel for row in channels), default=-1) + 1
    magnitude = np.full((int(counts.sum()), width), np.nan)
    angle = np.full_like(magnitude, np.nan)
    has_angle = np.zeros(width, np.bool_)
    for row in channels:
        start = place.get((row.device_id, row.time))
        if start is None:  # its part lies outside the range that was asked for
            continue
        values = array(row.magnitude)
        magnitude[start : start + len(values), row.channel] = values
        if row.angle_rad is not None:
            angle[start : start + len(values), row.channel] = array(row.angle_rad)
            has_angle[row.channel] = True
    return magnitude, angle, has_angle


def _ns(moments: Sequence[datetime]) -> I64:
    """Nanoseconds since 1970 of aware datetimes."""
    return np.array([to_ns(moment) for moment in moments], np.int64)
