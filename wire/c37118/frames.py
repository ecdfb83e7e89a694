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
_CRC_CHUNK = 8_192  # frames whose running CRCs stay in the cache


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


@cache
def _word_table() -> U16:
    """CRC register after one 16-bit word, by (register xor word)."""
    table = np.arange(0x1_0000, dtype=np.uint16)
    for _ in range(16):
        polynomial = np.where(table & 0x8000, CRC_POLYNOMIAL, 0).astype(np.uint16)
        table = (table << np.uint16(1)) ^ polynomial
    return table


def crc_of_many(frames: U8) -> U16:
    """CHK over each row of frames, shape (n, size) with an even size; 0 where a whole frame with its CHK is right.

    Runs down the 16-bit words of all frames at once, in chunks that stay in the cache.
    """
    count, size = frames.shape
    if size % 2:
        raise ValueError(f"frames of {size} bytes, expected an even size")
    table = _word_table()
    result = np.empty(count, np.uint16)
    for start in range(0, count, _CRC_CHUNK):
        chunk = np.ascontiguousarray(frames[start : start + _CRC_CHUNK])
        words = np.ascontiguousarray(chunk.view(">u2").T.astype(np.uint16))
        register = np.full(len(chunk), CRC_INITIAL, np.uint16)
        for word in words:
            register = table[register ^ word]
        result[start : start + len(chunk)] = register
    return result


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
    kind: FrameKind, idcode: int, body: bytes, *, time_ns: int = 0, time_base: int = 1_000_000, version: int = 2
) -> bytes:
    """Bytes of a frame around a body. The time is rounded to the time base. Raises ValueError if it grows too large."""
    size = MIN_SIZE + len(body)
    if size > MAX_SIZE:
        raise ValueError(f"frame of {size} bytes, expected <= {MAX_SIZE}")
    soc, count = split_time(time_ns, time_base)
    data = HEADER.pack(SYNC_BYTE, kind << 4 | version, size, idcode, soc, count) + body
    return data + CHK.pack(crc(data))


def split_time(time_ns: int, time_base: int) -> tuple[int, int]:
    """SOC (s) and count of the nearest tick of the time base, carrying into the next second."""
    soc, rest = divmod(time_ns, NS_PER_S)
    count = (rest * time_base + NS_PER_S // 2) // NS_PER_S
    return (soc + 1, 0) if count >= time_base else (soc, count)


def join_time(soc: int, count: int, time_base: int) -> int:
    """Nanoseconds since 1970 of SOC and count, rounded to the nearest in integers."""
    return soc * NS_PER_S + (count * NS_PER_S + time_base // 2) // time_base
