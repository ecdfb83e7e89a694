"""Date-times of DLMS/COSEM: 12 bytes, local time with a deviation to UTC that meters understand differently.

Year u16, month, day, weekday, hour, minute, second, hundredths, deviation i16 in min, status. The Blue Book: UTC is
local time plus deviation, so Central European Time is -60. Some meters send it with the other sign, some send local
time with 0: which of these a meter does is a setting of the one who reads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum

from model.errors import DecodeError
from model.time import NS_PER_S, to_datetime, to_ns

UNKNOWN_DEVIATION = -0x8000
MAX_DEVIATION_MIN = 840
SUMMER = 0x80  # status bit: daylight saving is on
UNKNOWN_STATUS = 0xFF
_LAYOUT = struct.Struct(">HBBBBBBBhB")
_YEARS = range(1970, 2262)  # what int64 nanoseconds hold
_UNSPECIFIED = 0xFF
_NS_PER_HUNDREDTH = NS_PER_S // 100


class Deviation(StrEnum):
    """What a meter means by its deviation."""

    STANDARD = "standard"  # UTC = local + deviation
    REVERSED = "reversed"  # UTC = local - deviation
    IGNORED = "ignored"  # whatever is sent, the time is local


@dataclass(frozen=True, slots=True)
class ClockRule:
    """How to read a meter's clock; `zone` is where local time is local (also where no deviation is sent)."""

    deviation: Deviation = Deviation.STANDARD
    zone: tzinfo = UTC


def decode_time_ns(raw: bytes, rule: ClockRule) -> int:
    """Nanoseconds since 1970 of a date-time. Raises DecodeError (time) where a part is missing or out of range."""
    if len(raw) != _LAYOUT.size:
        raise DecodeError("time", "length of a date-time", len(raw), f"{_LAYOUT.size} bytes")
    year, month, day, _, hour, minute, second, hundredths, deviation_min, status = _LAYOUT.unpack(raw)
    try:
        if year not in _YEARS:
            raise ValueError("year")
        second = 0 if second == _UNSPECIFIED else second
        local = datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 (the zone comes below)
        whole_ns = to_ns(_aware(local, deviation_min, status, rule))
    except (ValueError, OverflowError) as error:
        raise DecodeError("time", "date-time of a meter", raw.hex(), "a date and time of 1970..2261") from error
    return whole_ns + (hundredths * _NS_PER_HUNDREDTH if hundredths < 100 else 0)


def _aware(local: datetime, deviation_min: int, status: int, rule: ClockRule) -> datetime:
    if rule.deviation is Deviation.IGNORED or deviation_min == UNKNOWN_DEVIATION:
        winter = status != UNKNOWN_STATUS and not status & SUMMER  # tells the hour that comes twice apart
        return local.replace(tzinfo=rule.zone, fold=int(winter))
    if abs(deviation_min) > MAX_DEVIATION_MIN:
        raise ValueError("deviation")
    offset = timedelta(minutes=deviation_min)
    return (local + offset if rule.deviation is Deviation.STANDARD else local - offset).replace(tzinfo=UTC)


def encode_time(time_ns: int, rule: ClockRule) -> bytes:
    """Date-time of a meter that follows the rule; cut to hundredths. IGNORED sends local time with deviation 0."""
    local = to_datetime(time_ns).astimezone(rule.zone)
    offset_min = round((local.utcoffset() or timedelta()).total_seconds() / 60)
    deviation_min = {Deviation.STANDARD: -offset_min, Deviation.REVERSED: offset_min, Deviation.IGNORED: 0}
    return _LAYOUT.pack(
        local.year,
        local.month,
        local.day,
        local.isoweekday(),
        local.hour,
        local.minute,
        local.second,
        local.microsecond // 10_000,
        deviation_min[rule.deviation],
        SUMMER if local.dst() else 0,
    )
