"""The common part of every frame: SYNC, size, stream, time, body, CHK. All numbers big-endian.

CHK is CRC-CCITT (polynomial 0x1021, initial 0xFFFF, not reflected, no final XOR) over everything before it.
"""

from __future__ import annotations

import binascii
import struct
from enum import IntEnum
from functools import cache

import msgspec
import numpy as np
import numpy.typing as npt

from model.errors import DecodeError
from model.time import NS_PER_S

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]

SYNC_BYTE = 0xAA
HEADER = struct.Struct(">BBHHII")  # 0xAA, kind and version, FRAMESIZE, IDCODE, SOC, FRACSEC
CHK = struct.Struct(">H")
MIN_SIZE = HEADER.size + CHK.size
MAX_SIZE = 0xFFFF
COUNT_MASK = 0x00FF_FFFF  # low 24 bits of FRACSEC and of TIME_BASE
CRC_INITIAL = 0xFFFF
CRC_POLYNOMIAL = 0x1021
VERSION_2005 = 1
VERSION_2011 = 2
_CRC_CHUNK = 2_048  # frames whose words stay in the cache
_FOLDED_WORDS = 16
_FOLD_TAPS = (4, 11, 16)  # words; a group of four does not add to itself


class FrameKind(IntEnum):
    """Bits 6-4 of the second SYNC byte."""

    DATA = 0
    HEADER = 1
    CFG1 = 2
    CFG2 = 3
    COMMAND = 4
    CFG3 = 5


class Frame(msgspec.Struct, frozen=True, gc=False):
    """One frame whose size and CHK are right. `idcode` is the stream's, `time_quality` the top byte of FRACSEC."""

    kind: FrameKind
    version: int
    idcode: int
    soc: int
    count: int
    time_quality: int
    data: bytes

    @property
    def body(self) -> bytes:
        """What stands between FRACSEC and CHK."""
        return self.data[HEADER.size : -CHK.size]


def crc(data: bytes | memoryview) -> int:
    """CHK of some bytes; over a whole right frame with its CHK it is 0.

    >>> hex(crc(b"123456789"))
    '0x29b1'
    """
    return binascii.crc_hqx(data, CRC_INITIAL)


def crc_of_many(frames: U8) -> U16:
    """CHK over each row of frames, shape (n, size) with an even size; 0 where a whole frame with its CHK is right.

    Works on the 16-bit words of all frames at once, in chunks that stay in the cache: a linear fold first, then halves
    of what is left, each moved behind by one table.
    """
    count, size = frames.shape
    if size % 2 or not size:
        raise ValueError(f"frames of {size} bytes, expected an even size")
    result = np.empty(count, np.uint16)
    for start in range(0, count, _CRC_CHUNK):
        chunk = np.ascontiguousarray(frames[start : start + _CRC_CHUNK])
        words = chunk.view("<u2").T.copy(order="C")
        words[0] ^= CRC_INITIAL
        words = _fold(words)
        while (rows := len(words)) > 1:
            half = rows // 2
            target = words[rows - half :]
            np.bitwise_xor(target, _moved(rows - half).take(words[:half]), out=target)
            words = words[half:]
        result[start : start + len(chunk)] = _moved(1).take(words[0])
    return result.byteswap(inplace=True)


def _fold(words: U16) -> U16:
    """The last 16 rows, shape (words, n), with all others added to them (in place) so that the CRC stays the same.

    The polynomial makes x^16 = x^12 + x^5 + 1, and squaring is linear: x^256 = x^192 + x^80 + 1. So a word may be added
    to the words 4, 11 and 16 behind it instead of where it stands: three exclusive ors, and no table.
    """
    first, last = 0, len(words) - _FOLDED_WORDS
    while first < last:
        step = min(_FOLD_TAPS[0], last - first)
        group = words[first : first + step]
        for tap in _FOLD_TAPS:
            target = words[first + tap : first + tap + step]
            np.bitwise_xor(target, group, out=target)
        first += step
    return words[first:]


@cache
def _moved(words: int) -> U16:
    """A word's remainder so many words further on, by the word; both in the byte order of the wire."""
    if words == 1:
        table: npt.NDArray[np.integer] = np.arange(0x1_0000, dtype=np.uint32)
        for _ in range(16):
            table = np.where(table & 0x8000, table << 1 ^ CRC_POLYNOMIAL, table << 1) & 0xFFFF
        order = np.arange(0x1_0000, dtype=np.uint16).byteswap()
        return table.astype(np.uint16).byteswap()[order]
    return _moved(1)[_moved(words - 1)]


def parse_frame(data: bytes) -> Frame:
    """Frame of exactly its bytes. Raises DecodeError with reason truncated, sync, size or crc."""
    if len(data) < MIN_SIZE:
        raise DecodeError("truncated", "length of a C37.118 frame", len(data), f">= {MIN_SIZE} bytes")
    sync, kind, size, idcode, soc, fracsec = HEADER.unpack_from(data)
    if not is_sync(sync, kind):
        raise DecodeError("sync", "SYNC of a C37.118 frame", f"{sync:#04x} {kind:#04x}", "0xaa and a known type")
    if size != len(data):
        raise DecodeError("size", "FRAMESIZE of a C37.118 frame", size, f"{len(data)} bytes")
    expected = crc(memoryview(data)[: -CHK.size])
    (found,) = CHK.unpack_from(data, size - CHK.size)
    if found != expected:
        raise DecodeError("crc", "CHK of a C37.118 frame", f"{found:#06x}", f"{expected:#06x}")
    return Frame(_KINDS[kind >> 4], kind & 0xF, idcode, soc, fracsec & COUNT_MASK, fracsec >> 24, data)


def is_sync(first: int, second: int) -> bool:
    """Whether two bytes can start a frame: 0xAA, then a known kind of a known version (bit 7 is 0)."""
    return first == SYNC_BYTE and second >> 4 in _KINDS and second & 0xF in _VERSIONS


_KINDS = {int(kind): kind for kind in FrameKind}
_VERSIONS = frozenset({VERSION_2005, VERSION_2011})


def build_frame(
    kind: FrameKind,
    idcode: int,
    body: bytes,
    *,
    time_ns: int = 0,
    time_base: int = 1_000_000,
    version: int = VERSION_2011,
    time_quality: int = 0,
) -> bytes:
    """Bytes of a frame around a body. The time is rounded to the time base. Raises ValueError if it grows too large."""
    size = MIN_SIZE + len(body)
    if size > MAX_SIZE:
        raise ValueError(f"frame of {size} bytes, expected <= {MAX_SIZE}")
    soc, count = split_time(time_ns, time_base)
    data = HEADER.pack(SYNC_BYTE, kind << 4 | version, size, idcode, soc, time_quality << 24 | count) + body
    return data + CHK.pack(crc(data))


def split_time(time_ns: int, time_base: int) -> tuple[int, int]:
    """SOC (s) and count of the nearest tick of the time base, carrying into the next second."""
    soc, rest = divmod(time_ns, NS_PER_S)
    count = (rest * time_base + NS_PER_S // 2) // NS_PER_S
    return (soc + 1, 0) if count >= time_base else (soc, count)


def join_time(soc: int, count: int, time_base: int) -> int:
    """Nanoseconds since 1970 of SOC and count, rounded to the nearest in integers."""
    return soc * NS_PER_S + (count * NS_PER_S + time_base // 2) // time_base
