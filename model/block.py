"""The unit of flow: a block, one row per device and time in numpy columns; and its bytes on the bus.

Byte form, version 2, little-endian: magic "GSMC", version u8, schema u8, provenance u8, folded u8, rows u32,
columns u32, length of the text part u32, CRC-32 of all other bytes u32; then the text part (JSON:
column names, link, peer), zero bytes up to a multiple of 8, then the arrays one after the other: values f8[n, c],
time_ns i8[n], received_ns i8[n], time_error_ns i8[n], sequence i8[n], device i4[n], quality u4[n].

Most blocks have arrays of one value, e.g. when they were received. Such an array is folded: it is there once (length 1
instead of n) and has its bit in `folded`, bit 0 for time_ns to bit 5 for quality. Decoding copies nothing: arrays are
views of the bytes, folded ones with stride 0.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from operator import mul
from typing import Any

import numpy as np
import numpy.typing as npt

from model.device import Provenance
from model.errors import DecodeError

I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
U32 = npt.NDArray[np.uint32]
F64 = npt.NDArray[np.float64]

UNKNOWN_TIME_ERROR_NS = -1
NO_SEQUENCE = -1
MAX_ROWS = 200_000
MAX_COLUMNS = 1_024

METER_COLUMNS = (
    "energy_import_wh",
    "energy_export_wh",
    "power_w",
    "reactive_power_var",
    "voltage_l1_v",
    "voltage_l2_v",
    "voltage_l3_v",
    "current_l1_a",
    "current_l2_a",
    "current_l3_a",
    "frequency_hz",
)


class Schema(IntEnum):
    """What the columns of a block mean."""

    METER = 1  # METER_COLUMNS, one row per reading
    PHASOR = 2  # phasor_columns(...), one row per frame of a PMU


class Quality:
    """Bits of `Block.quality`. For phasors the low 16 bits are the STAT word of IEEE C37.118.2 as sent (15-14 data
    error, 13 not in sync, ...), bits 16-23 the time-quality byte of FRACSEC; the higher flags are ours."""

    STAT_MASK = 0x0000_FFFF
    TIME_QUALITY_SHIFT = 16
    OUT_OF_WINDOW = 1 << 24  # stamp too far from the receiver's clock (recorded times kept on purpose)
    SHIFTED_TIME = 1 << 25  # stamp moved to now by a replay


def phasor_columns(phasors: int, analogs: int = 0, digitals: int = 0) -> tuple[str, ...]:
    """Columns of a PHASOR block; magnitudes in V or A as the device's channel says, angles in rad, -pi..pi."""
    names = ["frequency_hz", "rocof_hz_per_s"]
    for i in range(phasors):
        names += [f"magnitude_{i}", f"angle_{i}_rad"]
    names += [f"analog_{i}" for i in range(analogs)]
    names += [f"digital_{i}" for i in range(digitals)]
    return tuple(names)


@dataclass(frozen=True, slots=True)
class Origin:
    """How a block came in: link ("mqtt", "c37.118", "replay"), the peer's address or topic, and its provenance."""

    link: str
    peer: str
    provenance: Provenance


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A columnar batch. All arrays have one entry per row (shape (n,), values (n, columns)); missing values are NaN."""

    schema: Schema
    columns: tuple[str, ...]
    origin: Origin
    device: I32
    time_ns: I64
    received_ns: I64
    time_error_ns: I64
    sequence: I64
    quality: U32
    values: F64

    def __post_init__(self) -> None:
        rows = len(self.time_ns)
        shapes = {
            a.shape
            for a in (self.device, self.time_ns, self.received_ns, self.time_error_ns, self.sequence, self.quality)
        }
        if shapes != {(rows,)} or self.values.shape != (rows, len(self.columns)):
            raise ValueError(
                f"block arrays of {rows} rows and {len(self.columns)} columns disagree: {shapes}, {self.values.shape}"
            )

    def __len__(self) -> int:
        return len(self.time_ns)

    def column(self, name: str) -> F64:
        """One column by name, shape (n,)."""
        return self.values[:, self.columns.index(name)]

    def take(self, rows: npt.NDArray[np.intp] | npt.NDArray[np.bool_] | slice) -> Block:
        """The chosen rows as a new block."""
        if isinstance(rows, np.ndarray) and rows.dtype == np.bool_:
            return self.take(np.flatnonzero(rows))
        return replace(
            self,
            device=_chosen(self.device, rows),
            time_ns=_chosen(self.time_ns, rows),
            received_ns=_chosen(self.received_ns, rows),
            time_error_ns=_chosen(self.time_error_ns, rows),
            sequence=_chosen(self.sequence, rows),
            quality=_chosen(self.quality, rows),
            values=_chosen(self.values, rows),
        )


def _chosen(array: npt.NDArray[Any], rows: npt.NDArray[Any] | slice) -> npt.NDArray[Any]:
    """Rows of an array; `take` does it several times faster than an index, and what is folded stays so."""
    if isinstance(rows, slice):
        return array[rows]
    if array.ndim == 1 and array.strides == (0,) and len(array):
        return np.broadcast_to(array[0], len(rows))
    return array.take(rows, axis=0)


def concatenate(blocks: Sequence[Block]) -> Block:
    """One block of several with the same schema, columns and origin, in the order given."""
    first = blocks[0]
    if any(b.columns != first.columns or b.schema != first.schema or b.origin != first.origin for b in blocks):
        raise ValueError("blocks of different schema, columns or origin do not concatenate")
    return replace(
        first,
        device=np.concatenate([b.device for b in blocks]),
        time_ns=np.concatenate([b.time_ns for b in blocks]),
        received_ns=np.concatenate([b.received_ns for b in blocks]),
        time_error_ns=np.concatenate([b.time_error_ns for b in blocks]),
        sequence=np.concatenate([b.sequence for b in blocks]),
        quality=np.concatenate([b.quality for b in blocks]),
        values=np.concatenate([b.values for b in blocks]),
    )


MAGIC = b"GSMC"
VERSION = 2
_HEADER = struct.Struct("<4sBBBBIII")
_CRC = struct.Struct("<I")
_PREFIX = _HEADER.size + _CRC.size
_SCHEMAS = frozenset(int(schema) for schema in Schema)
_PROVENANCES = tuple(Provenance)
_ROW_ARRAYS = tuple(
    (name, np.dtype(kind))
    for name, kind in (
        ("time_ns", "<i8"),
        ("received_ns", "<i8"),
        ("time_error_ns", "<i8"),
        ("sequence", "<i8"),
        ("device", "<i4"),
        ("quality", "<u4"),
    )
)
_ALL_FOLDED = (1 << len(_ROW_ARRAYS)) - 1


def encode_block(block: Block) -> bytes:
    """Bytes of a block (module docstring has the layout)."""
    text = json.dumps({"columns": block.columns, "link": block.origin.link, "peer": block.origin.peer}).encode()
    text += b" " * (-(_PREFIX + len(text)) % 8)
    arrays: list[npt.NDArray[Any]] = [block.values.astype("<f8", order="C", copy=False)]
    folded = 0
    for bit, (name, kind) in enumerate(_ROW_ARRAYS):
        array = getattr(block, name)
        if is_folded(array):
            folded |= 1 << bit
            array = array[:1]
        arrays.append(array.astype(kind, order="C", copy=False))
    provenance = _PROVENANCES.index(block.origin.provenance)
    header = _HEADER.pack(MAGIC, VERSION, block.schema, provenance, folded, len(block), len(block.columns), len(text))
    crc = zlib.crc32(text, zlib.crc32(header))
    for array in arrays:
        crc = zlib.crc32(array.data, crc)
    return b"".join((header, _CRC.pack(crc), text, *(array.data for array in arrays)))


def is_folded(array: npt.NDArray[Any]) -> bool:
    """Whether an array has at least two rows and all are equal, so that the first one says it all."""
    if len(array) < 2 or array.strides[0] == 0:
        return len(array) >= 2
    return bool((array[-1] == array[0]).all()) and bool((array == array[0]).all())


def decode_block(data: bytes) -> Block:
    """Block of bytes; the arrays are read-only views of `data`. Raises DecodeError, never anything else."""
    if len(data) < _PREFIX:
        raise DecodeError("truncated", "length of a block", len(data), f">= {_PREFIX} bytes")
    magic, version, schema, provenance, folded, rows, columns, text_length = _HEADER.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise DecodeError("version", "magic and version of a block", f"{magic!r} {version}", f"{MAGIC!r} {VERSION}")
    if rows > MAX_ROWS or columns > MAX_COLUMNS or provenance >= len(_PROVENANCES) or schema not in _SCHEMAS:
        found = (rows, columns, provenance, schema)
        raise DecodeError("header", "rows, columns, provenance and schema of a block", found, "values within bounds")
    if folded and (rows < 2 or folded > _ALL_FOLDED):
        raise DecodeError("header", "folded arrays of a block", (folded, rows), f"0..{_ALL_FOLDED} of >= 2 rows")
    lengths = [1 if folded >> bit & 1 else rows for bit in range(len(_ROW_ARRAYS))]
    kinds = [kind.itemsize for _, kind in _ROW_ARRAYS]
    size = _PREFIX + text_length + 8 * rows * columns + sum(map(mul, lengths, kinds))
    if len(data) != size:
        raise DecodeError("size", "length of a block", len(data), f"{size} bytes")
    _check_crc(data)
    names, origin = _decode_text(data[_PREFIX : _PREFIX + text_length], columns, _PROVENANCES[provenance])
    return _decode_arrays(data, _PREFIX + text_length, Schema(schema), names, origin, rows, lengths)


def _check_crc(data: bytes) -> None:
    (expected,) = _CRC.unpack_from(data, _HEADER.size)
    found = zlib.crc32(memoryview(data)[_PREFIX:], zlib.crc32(data[: _HEADER.size]))
    if found != expected:
        raise DecodeError("crc", "CRC-32 of a block", f"{found:#010x}", f"{expected:#010x}")


def _decode_text(text: bytes, columns: int, provenance: Provenance) -> tuple[tuple[str, ...], Origin]:
    try:
        fields = json.loads(text)
        names = tuple(str(name) for name in fields["columns"])
        origin = Origin(str(fields["link"]), str(fields["peer"]), provenance)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DecodeError("text", "text part of a block", text[:40], "JSON with columns, link, peer") from error
    if len(names) != columns:
        raise DecodeError("text", "number of column names", len(names), columns)
    return names, origin


def _decode_arrays(
    data: bytes,
    offset: int,
    schema: Schema,
    names: tuple[str, ...],
    origin: Origin,
    rows: int,
    lengths: Sequence[int],
) -> Block:
    values = np.frombuffer(data, "<f8", rows * len(names), offset).reshape(rows, len(names))
    offset += values.nbytes
    arrays: dict[str, npt.NDArray[Any]] = {}
    for (name, kind), length in zip(_ROW_ARRAYS, lengths, strict=True):
        array = np.frombuffer(data, kind, length, offset)
        offset += array.nbytes
        arrays[name] = array if length == rows else np.broadcast_to(array, rows)
    return Block(schema, names, origin, values=values, **arrays)
