"""What our C37.118 decoder is measured against: plain Python, bare numpy, and pyc37.

All of them check the CRC and give the same values as ours; only pyc37 gives its own objects. The bare numpy limit knows
one layout by heart and checks nothing but the CRC: it is what the array library itself costs.
"""

from __future__ import annotations

import math
import struct
from binascii import crc_hqx
from collections.abc import Callable
from functools import cache
from types import ModuleType

import numpy as np
import numpy.typing as npt

from model.block import Block, Origin, Schema, phasor_columns
from wire.c37118.configuration import Configuration, Format, encode_cfg2

PHASORS = 6
NOMINAL_HZ = 50
TIME_BASE = 1_000_000
PHUNIT = 1_000
_HEAD = struct.Struct(">HHHII")
_CHUNK = 8_192  # frames


def plain_python(data: bytes, configuration: Configuration) -> list[tuple[object, ...]]:
    """The values by struct, frame by frame: the floor that any Python decoder without numpy stands on."""
    form = configuration.pmus[0].form
    polar, floats = bool(form & Format.POLAR), bool(form & Format.FLOAT_FREQUENCY)
    body = struct.Struct(f">H{'Hh' * PHASORS if polar else 'f' * (2 * PHASORS)}{'ff' if floats else 'hh'}")
    size = _HEAD.size + body.size + 2
    found: list[tuple[object, ...]] = []
    for at in range(0, len(data), size):
        frame = data[at : at + size]
        if crc_hqx(frame, 0xFFFF):
            raise ValueError("wrong CHK in the benchmark's own frames")
        _, _, _, soc, fracsec = _HEAD.unpack_from(frame)
        stat, *fields = body.unpack_from(frame, _HEAD.size)
        pairs = zip(fields[0:-2:2], fields[1:-2:2], strict=True)
        if polar:
            phasors = [(m * PHUNIT * 1e-5, a * 1e-4) for m, a in pairs]
        else:
            phasors = [(math.hypot(r, i), math.atan2(i, r)) for r, i in pairs]
        frequency, rocof = fields[-2:]
        if not floats:
            frequency, rocof = NOMINAL_HZ + frequency * 1e-3, rocof * 0.01
        time_ns = soc * 1_000_000_000 + (fracsec & 0xFFFFFF) * 1_000
        found.append((time_ns, stat | fracsec >> 24 << 16, frequency, rocof, phasors))
    return found


@cache
def _crc_table() -> npt.NDArray[np.uint16]:
    """CRC register after a 16-bit word, by (register xor word), in the byte order of the machine."""
    table: npt.NDArray[np.integer] = np.arange(0x1_0000, dtype=np.uint32)
    for _ in range(16):
        table = np.where(table & 0x8000, table << 1 ^ 0x1021, table << 1) & 0xFFFF
    return table.astype(np.uint16)


def _check(data: bytes, size: int) -> None:
    """The textbook way: one table look-up per 16-bit word, down the words of many frames."""
    table = _crc_table()
    words = np.frombuffer(data, ">u2").reshape(-1, size // 2)
    for start in range(0, len(words), _CHUNK):
        columns = words[start : start + _CHUNK].T.astype(np.uint16, order="C")
        register = np.full(columns.shape[1], 0xFFFF, np.uint16)
        for column in columns:
            np.bitwise_xor(register, column, out=register)
            register = table.take(register)
        if register.any():
            raise ValueError("wrong CHK in the benchmark's own frames")


def _frame_type(phasors: str, numbers: str) -> np.dtype[np.void]:
    head = [("sync", ">u2"), ("size", ">u2"), ("idcode", ">u2"), ("soc", ">u4"), ("fracsec", ">u4"), ("stat", ">u2")]
    return np.dtype([*head, ("phasors", phasors, (PHASORS, 2)), ("frequency", numbers, (2,)), ("chk", ">u2")])


_COLUMNS = phasor_columns(PHASORS)
_RECTANGULAR = _frame_type(">f4", ">f4")
_POLAR = _frame_type(">i2", ">i2")


def bare_rectangular(data: bytes, origin: Origin) -> Block:
    """Float rectangular frames of one PMU: CRC, then the block."""
    _check(data, _RECTANGULAR.itemsize)
    raw = np.frombuffer(data, _RECTANGULAR)
    values = np.empty((len(raw), len(_COLUMNS)))
    values[:, :2] = raw["frequency"]
    numbers = raw["phasors"].astype(np.float64)
    real, imaginary = numbers[..., 0], numbers[..., 1]
    values[:, 2::2] = np.sqrt(real * real + imaginary * imaginary)
    values[:, 3::2] = np.arctan2(imaginary, real)
    return _block(raw, values, origin)


def bare_polar(data: bytes, origin: Origin) -> Block:
    """Integer polar frames of one PMU: CRC, then the block."""
    _check(data, _POLAR.itemsize)
    raw = np.frombuffer(data, _POLAR)
    values = np.empty((len(raw), len(_COLUMNS)))
    numbers = raw["frequency"].astype(np.float64)
    values[:, 0] = numbers[:, 0] * 1e-3 + NOMINAL_HZ
    values[:, 1] = numbers[:, 1] * 0.01
    values[:, 2::2] = raw["phasors"][..., 0].astype(np.uint16) * (PHUNIT * 1e-5)
    values[:, 3::2] = raw["phasors"][..., 1] * 1e-4
    return _block(raw, values, origin)


def _block(raw: npt.NDArray[np.void], values: npt.NDArray[np.float64], origin: Origin) -> Block:
    rows = len(raw)
    fracsec = raw["fracsec"]
    time_ns = raw["soc"] * np.int64(1_000_000_000) + (fracsec & 0xFFFFFF) * np.int64(1_000)
    nothing = np.zeros(rows, np.int64)
    quality = raw["stat"] | fracsec >> 24 << 16
    return Block(
        Schema.PHASOR,
        _COLUMNS,
        origin,
        np.zeros(rows, np.int32),
        time_ns,
        nothing,
        nothing,
        np.full(rows, -1),
        quality.astype(np.uint32),
        values,
    )


def pyc37_decoder(pyc37: ModuleType, configuration: Configuration) -> Callable[[list[bytes]], list[object]]:
    """pyc37's way from frames to values. `pyc37` is its module `pyc37.frame`; it reads integer FREQ only."""
    theirs = pyc37.ConfigFrame2.convert2frame(encode_cfg2(configuration))

    def decode(frames: list[bytes]) -> list[object]:
        return [pyc37.DataFrame.convert2frame(frame, theirs).get_measurements() for frame in frames]

    return decode
