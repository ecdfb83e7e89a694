"""Information elements of IEC 60870-5-101/104: how a value and its quality lie in bytes, and the times beside them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from enum import IntFlag

from model.time import NS_PER_US, to_datetime, to_ns

CP56_BYTES = 7
_NORMAL = 1 << 15
_NS_PER_MS = 1_000 * NS_PER_US
_CENTURY = 70  # smaller years are of this century


class Quality(IntFlag):
    """Quality bits of what is measured (QDS, and the high bits of SIQ and DIQ)."""

    OVERFLOW = 0x01
    BLOCKED = 0x10
    SUBSTITUTED = 0x20
    NOT_TOPICAL = 0x40
    INVALID = 0x80


TRANSIENT = 0x100  # a step position on its way; beside the quality bits
SELECT = 0x80  # of a command's qualifier: select, do not execute


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of element: bytes it takes, (value, quality or qualifier) of them, and back."""

    size: int
    read: Callable[[bytes, int], tuple[float | None, int]]
    write: Callable[[float | None, int], bytes]


def _bits(mask: int, quality: int) -> Kind:
    """One byte: the value in the low bits, quality or qualifier in others."""

    def read(data: bytes, at: int) -> tuple[float | None, int]:
        return data[at] & mask, data[at] & quality

    def write(value: float | None, bits: int) -> bytes:
        return bytes([int(value or 0) & mask | bits & quality])

    return Kind(1, read, write)


def _number(code: str, scale: int = 1, qualified: bool = True) -> Kind:
    """A little-endian number, with a byte of quality or qualifier behind it."""
    layout = struct.Struct(f"<{code}B" if qualified else f"<{code}")

    def read(data: bytes, at: int) -> tuple[float | None, int]:
        fields = layout.unpack_from(data, at)
        return (fields[0] / scale if scale != 1 else fields[0]), fields[1] if qualified else 0

    def write(value: float | None, bits: int) -> bytes:
        number = value or 0 if code == "f" else round((value or 0) * scale)
        return layout.pack(number, bits) if qualified else layout.pack(number)

    return Kind(layout.size, read, write)


def _read_step(data: bytes, at: int) -> tuple[float | None, int]:
    step = data[at] & 0x7F
    return step - 0x80 if step & 0x40 else step, data[at + 1] | (data[at] & 0x80) << 1


def _write_step(value: float | None, bits: int) -> bytes:
    return bytes([int(value or 0) & 0x7F | (bits & TRANSIENT) >> 1, bits & 0xFF])


SINGLE = _bits(0x01, 0xF0)
DOUBLE = _bits(0x03, 0xF0)
STEP = Kind(2, _read_step, _write_step)
BITS32 = _number("I")
NORMAL = _number("h", _NORMAL)
SCALED = _number("h")
FLOAT = _number("f")
COUNTER = _number("i")  # its quality: number of the reading, carry 0x20, adjusted 0x40, invalid 0x80
BARE_NORMAL = _number("h", _NORMAL, qualified=False)
SINGLE_COMMAND = _bits(0x01, 0xFC)
DOUBLE_COMMAND = _bits(0x03, 0xFC)
BITS32_COMMAND = _number("I", qualified=False)
BYTE = _bits(0xFF, 0)
WORD = _number("H", qualified=False)
NOTHING = Kind(0, lambda _data, _at: (None, 0), lambda _value, _bits: b"")


@dataclass(frozen=True, slots=True)
class Stamp:
    """CP56Time2a as sent: ms u16, minute (bit 7 invalid, 6 substituted), hour (bit 7 summer), day, month, year."""

    raw: bytes

    @property
    def invalid(self) -> bool:
        """The sender does not stand for this time."""
        return bool(self.raw[2] & 0x80)

    @property
    def summer(self) -> bool:
        """Daylight saving was on where the clock is."""
        return bool(self.raw[3] & 0x80)

    def utc_ns(self, zone: tzinfo = UTC) -> int | None:
        """Nanoseconds since 1970 for a clock that shows the local time of `zone`; None if it shows no date."""
        milliseconds, year = int.from_bytes(self.raw[:2], "little"), self.raw[6] & 0x7F
        try:
            local = datetime(
                year + (2000 if year < _CENTURY else 1900),
                self.raw[5] & 0x0F,
                self.raw[4] & 0x1F,
                self.raw[3] & 0x1F,
                self.raw[2] & 0x3F,
                tzinfo=zone,
                fold=int(not self.summer),
            )
        except ValueError:
            return None
        return to_ns(local) + milliseconds * _NS_PER_MS if milliseconds < 60_000 else None


def encode_stamp(time_ns: int, zone: tzinfo = UTC, invalid: bool = False) -> Stamp:
    """Stamp of a clock that shows the local time of `zone`; cut to the millisecond."""
    local = to_datetime(time_ns).astimezone(zone)
    milliseconds = local.second * 1_000 + local.microsecond // 1_000
    return Stamp(
        milliseconds.to_bytes(2, "little")
        + bytes(
            [
                local.minute | invalid << 7,
                local.hour | bool(local.dst()) << 7,
                local.day | local.isoweekday() << 5,
                local.month,
                local.year % 100,
            ]
        )
    )
