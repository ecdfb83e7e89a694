"""DATA frames of one stream, many at once: bytes to blocks and back.

A DATA frame does not describe itself: `DataLayout` is built from the configuration of the same connection and IDCODE.
Neighbouring PMUs of one shape form a run and become one block, frame after frame, PMU after PMU.
"""

from __future__ import annotations

import struct
from itertools import accumulate

import numpy as np

from model.block import (
    F64,
    I32,
    I64,
    NO_SEQUENCE,
    Block,
    Origin,
    Quality,
    Schema,
)
from model.errors import DecodeError
from model.time import NS_PER_S
from wire.c37118.configuration import Configuration
from wire.c37118.fields import (
    Complex,
    Raw,
    Run,
    find_runs,
    native,
    pmu_type,
    read_analogs,
    read_frequencies,
    read_phasors,
    write_frequency,
    write_phasors,
    write_rest,
)
from wire.c37118.frames import COUNT_MASK, HEADER, MAX_SIZE, SYNC_BYTE, U8, U16, crc_of_many
from wire.c37118.status import STAT_CONFIGURATION_CHANGE, time_errors_ns

_SIZE_AND_IDCODE = struct.Struct(">HH")
_CALM = bytes(byte for byte in range(256) if not byte & STAT_CONFIGURATION_CHANGE >> 8)  # first bytes of STAT words
_CHUNK_VALUES = 16_384  # whose temporary arrays stay in the cache, and in memory that was used before


class DataLayout:
    """How the DATA frames of one configuration lie in memory. `size` is the length of each in bytes."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.runs = find_runs(configuration.pmus)
        fields = [("sync", ">u2"), ("size", ">u2"), ("idcode", ">u2"), ("soc", ">u4"), ("fracsec", ">u4")]
        kinds = [pmu_type(run) for run in self.runs]
        bodies = [(f"run_{i}", kinds[i], (len(run.pmus),)) for i, run in enumerate(self.runs)]
        self._type = np.dtype([*fields, *bodies, ("chk", ">u2")])
        self.size = self._type.itemsize
        sizes = [kind.itemsize for kind, run in zip(kinds, self.runs, strict=True) for _ in run.pmus]
        self._stat_at = [HEADER.size + before for before in accumulate(sizes[:-1], initial=0)]
        # All that the numbers of a frame depend on: equal for streams whose frames may be laid end to end.
        self.meaning = (configuration.time_base, tuple(run.meaning for run in self.runs))
        if self.size > MAX_SIZE:
            raise DecodeError("size", "DATA frame of this configuration", self.size, f"<= {MAX_SIZE} bytes")

    def decode(self, frames: bytes, devices: I32, received_ns: I64 | int, origin: Origin) -> list[Block]:
        """Blocks of DATA frames laid end to end, one block per run.

        frames: n frames of `size` bytes each, whose CHK is right; devices: index per PMU of the configuration, shape
        (pmus,), or (n, pmus) where the frames are those of several streams that `decodes_like` this one; received_ns:
        one for all or one per frame. Frequencies in Hz, ROCOF in Hz/s, magnitudes in V or A, angles in rad, absent
        values NaN. Arrays may be read-only and of stride 0. Raises DecodeError (size) when a frame is not of this
        stream.
        """
        raw = self._view(frames, one_stream=devices.ndim == 1)
        time_ns = _times(raw, self.configuration.time_base)
        time_quality = (raw["fracsec"] >> 24).astype(np.uint8)
        received = np.asarray(received_ns, np.int64)
        return [
            _block(raw[f"run_{i}"], run, time_ns, time_quality, received, devices, origin)
            for i, run in enumerate(self.runs)
        ]

    def decodes_like(self, other: DataLayout) -> bool:
        """Whether the frames of both streams may be laid end to end and decoded at once: the same but for IDCODEs,
        names, counts of changes and whatever else does not touch a number."""
        return self.meaning == other.meaning

    def announces_change(self, frames: bytes) -> bool:
        """Whether any PMU says in any of the frames that its configuration changes within a minute: a look before
        decoding, cheap for a single frame."""
        return any(frames[at :: self.size].translate(None, _CALM) for at in self._stat_at)

    def stats(self, frames: bytes) -> U16:
        """STAT words, shape (frames, pmus): a look before decoding."""
        raw = self._view(frames)
        return np.concatenate([raw[f"run_{i}"]["stat"] for i in range(len(self.runs))], axis=1).astype(np.uint16)

    def times_ns(self, frames: bytes) -> I64:
        """Stamps of the frames, shape (n,)."""
        return _times(self._view(frames), self.configuration.time_base)

    def _view(self, frames: bytes, *, one_stream: bool = True) -> Raw:
        count, rest = divmod(len(frames), self.size)
        if rest:
            raise DecodeError("size", "length of DATA frames", len(frames), f"a multiple of {self.size} bytes")
        expected = _SIZE_AND_IDCODE.pack(self.size, self.configuration.idcode)[: 4 if one_stream else 2]
        if any(frames[2 + i :: self.size] != expected[i : i + 1] * count for i in range(len(expected))):
            found = {frames[at + 2 : at + 6].hex(" ") for at in range(0, len(frames), self.size)}
            raise DecodeError("size", "FRAMESIZE and IDCODE of DATA frames", sorted(found)[:4], expected.hex(" "))
        return np.frombuffer(frames, self._type)

    def encode(
        self,
        time_ns: I64,
        stat: U16,
        phasors: Complex,
        frequency_hz: F64,
        rocof_hz_per_s: F64,
        *,
        analogs: F64 | None = None,
        digitals: U16 | None = None,
        time_quality: int | U8 = 0,
    ) -> list[bytes]:
        """DATA frames. Shapes: time (n,), stat, frequency and ROCOF (n, pmus), phasors (n, pmus, channels) complex rms
        in V or A, analogs and digitals (n, pmus, channels), time quality one byte for all or (n,). PMUs with fewer
        channels use the first ones; NaN: absent.
        """
        base = self.configuration.time_base
        raw: Raw = np.zeros(len(time_ns), self._type)
        soc, rest = np.divmod(np.asarray(time_ns, np.int64), NS_PER_S)
        count = (rest * base + NS_PER_S // 2) // NS_PER_S
        carry = count >= base
        raw["sync"] = SYNC_BYTE << 8 | self.configuration.version
        raw["size"] = self.size
        raw["idcode"] = self.configuration.idcode
        raw["soc"] = soc + carry
        raw["fracsec"] = np.where(carry, 0, count) | np.asarray(time_quality, np.int64) << 24
        for i, run in enumerate(self.runs):
            chosen = slice(run.first, run.first + len(run.pmus))
            target = raw[f"run_{i}"]
            target["stat"] = stat[:, chosen]
            write_phasors(target, run, phasors[:, chosen])
            write_frequency(target, run, frequency_hz[:, chosen], rocof_hz_per_s[:, chosen])
            write_rest(target, run, analogs, digitals, chosen)
        rows: U8 = raw.view(np.uint8).reshape(len(raw), self.size)
        raw["chk"] = crc_of_many(rows[:, :-2])
        data = raw.tobytes()
        return [data[start : start + self.size] for start in range(0, len(data), self.size)]


def encode_data(
    configuration: Configuration, time_ns: I64, stat: U16, phasors: Complex, frequency_hz: F64, rocof_hz_per_s: F64
) -> list[bytes]:
    """DATA frames of one configuration; `DataLayout.encode` has the shapes. Keep a DataLayout when encoding often."""
    return DataLayout(configuration).encode(time_ns, stat, phasors, frequency_hz, rocof_hz_per_s)


def _times(raw: Raw, time_base: int) -> I64:
    count = (raw["fracsec"] & COUNT_MASK).astype(np.int64)
    return raw["soc"].astype(np.int64) * NS_PER_S + (count * NS_PER_S + time_base // 2) // time_base


def _block(raw: Raw, run: Run, time_ns: I64, time_quality: U8, received_ns: I64, devices: I32, origin: Origin) -> Block:
    frames, pmus = len(time_ns), len(run.pmus)
    rows = frames * pmus
    values = np.empty((frames, pmus, len(run.columns)))
    step = max(1, _CHUNK_VALUES // (pmus * len(run.columns)))
    with np.errstate(invalid="ignore", over="ignore"):
        for start in range(0, frames, step):
            _fill(values[start : start + step], raw[start : start + step], run)
    stat = native(raw["stat"])
    quality = stat | time_quality.astype(np.uint32)[:, None] << np.uint32(Quality.TIME_QUALITY_SHIFT)
    device = np.empty((frames, pmus), np.int32)
    device[...] = devices[..., run.first : run.first + pmus]
    return Block(
        schema=Schema.PHASOR,
        columns=run.columns,
        origin=origin,
        device=device.reshape(rows),
        time_ns=_per_row(time_ns, pmus),
        received_ns=_per_row(received_ns, pmus) if received_ns.ndim else _folded(int(received_ns), rows),
        time_error_ns=time_errors_ns(stat, time_quality[:, None]).reshape(rows),
        sequence=_folded(NO_SEQUENCE, rows),
        quality=quality.reshape(rows),
        values=values.reshape(rows, len(run.columns)),
    )


def _fill(values: F64, raw: Raw, run: Run) -> None:
    """Numbers of a run into its columns, shape (frames, pmus, columns). What is not finite is no measurement."""
    phasors, analogs, digitals = run.counts
    first_analog, first_digital = 2 + 2 * phasors, 2 + 2 * phasors + analogs
    read_frequencies(raw["frequency"], run, values[..., :2])
    if phasors:
        pairs = values[..., 2:first_analog].reshape(*values.shape[:2], phasors, 2)
        read_phasors(raw["phasors"], run, pairs)
    if analogs:
        read_analogs(raw["analogs"], run, values[..., first_analog:first_digital])
    if digitals:
        values[..., first_digital:] = native(raw["digitals"])
    finite = np.isfinite(values)
    if not finite.all():
        np.copyto(values, np.nan, where=~finite)


def _per_row(per_frame: I64, pmus: int) -> I64:
    return per_frame if pmus == 1 else np.repeat(per_frame, pmus)


def _folded(value: int, rows: int) -> I64:
    """One value for all rows, kept once (stride 0) and read-only."""
    array: I64 = np.ndarray(rows, np.int64, np.array([value], np.int64), strides=(0,))
    array.flags.writeable = False
    return array
