"""STAT of a PMU and the time-quality byte of FRACSEC: every bit by its name, one word or whole arrays."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from model.block import I64, UNKNOWN_TIME_ERROR_NS
from wire.c37118.frames import U8, U16

STAT_ERROR_SHIFT = 14
STAT_NOT_IN_SYNC = 1 << 13
STAT_BY_ARRIVAL = 1 << 12
STAT_TRIGGERED = 1 << 11
STAT_CONFIGURATION_CHANGE = 1 << 10
STAT_MODIFIED = 1 << 9
_PMU_TQ_SHIFT = 6
_PMU_TQ_MASK = 7
_UNLOCKED_SHIFT = 4
_UNLOCKED_MASK = 3
_TRIGGER_MASK = 0xF
_LEAP_DELETE = 1 << 6
_LEAP_OCCURRED = 1 << 5
_LEAP_PENDING = 1 << 4
_MSG_TQ_MASK = 0xF
_FIRST_USER_TRIGGER = 8
# MSG_TQ: 0 locked (no bound stated), 1 to 0xB within 1 ns to 10 s in decades, else unknown.
_MSG_TQ_NS = np.array([0, *(10**k for k in range(11)), -1, -1, -1, -1], np.int64)
# PMU_TQ: 0 not used, 1 < 100 ns to 6 < 10 ms in decades, 7 more or unknown.
_PMU_TQ_NS = np.array([0, *(10**k for k in range(2, 8)), UNKNOWN_TIME_ERROR_NS], np.int64)


class DataError(IntEnum):
    """Bits 15-14 of STAT: only at NONE may the values be used."""

    NONE = 0
    PMU_ERROR = 1  # nothing known about the data
    ABSENT = 2  # test mode, or filled in because nothing came
    UNUSABLE = 3


class Unlocked(IntEnum):
    """Bits 5-4 of STAT: how long the clock has been without its source."""

    LOCKED = 0  # or for less than 10 s
    UP_TO_100_S = 1
    UP_TO_1000_S = 2
    OVER_1000_S = 3


class Trigger(IntEnum):
    """Bits 3-0 of STAT: why bit 11 is set; 6 is reserved, 8 to 15 are the user's."""

    MANUAL = 0
    MAGNITUDE_LOW = 1
    MAGNITUDE_HIGH = 2
    ANGLE_DIFFERENCE = 3
    FREQUENCY = 4
    ROCOF = 5
    RESERVED = 6
    DIGITAL = 7


@dataclass(frozen=True, slots=True)
class Status:
    """A STAT word. `time_quality` is PMU_TQ: 0 not used, 1 to 6 within 100 ns to 10 ms, 7 worse or unknown."""

    error: DataError = DataError.NONE
    in_sync: bool = True
    by_arrival: bool = False
    triggered: bool = False
    changing: bool = False
    modified: bool = False
    time_quality: int = 0
    unlocked: Unlocked = Unlocked.LOCKED
    trigger: int = Trigger.MANUAL

    @property
    def word(self) -> int:
        """The STAT word."""
        return (
            self.error << STAT_ERROR_SHIFT
            | (not self.in_sync) * STAT_NOT_IN_SYNC
            | self.by_arrival * STAT_BY_ARRIVAL
            | self.triggered * STAT_TRIGGERED
            | self.changing * STAT_CONFIGURATION_CHANGE
            | self.modified * STAT_MODIFIED
            | (self.time_quality & _PMU_TQ_MASK) << _PMU_TQ_SHIFT
            | self.unlocked << _UNLOCKED_SHIFT
            | self.trigger & _TRIGGER_MASK
        )

    @property
    def names(self) -> tuple[str, ...]:
        """What it says beyond "good, in sync, locked", by stable names."""
        trigger = Trigger(self.trigger).name if self.trigger < _FIRST_USER_TRIGGER else f"USER_{self.trigger}"
        said = (
            (self.error is not DataError.NONE, self.error.name),
            (not self.in_sync, "NOT_IN_SYNC"),
            (self.by_arrival, "SORTED_BY_ARRIVAL"),
            (self.triggered, f"TRIGGER_{trigger}"),
            (self.changing, "CONFIGURATION_CHANGE"),
            (self.modified, "MODIFIED"),
            (self.unlocked is not Unlocked.LOCKED, f"UNLOCKED_{self.unlocked.name}"),
        )
        return tuple(name.lower() for holds, name in said if holds)


def read_status(word: int) -> Status:
    """STAT by its parts; every word of 16 bits has a meaning.

    >>> read_status(0x21F0).names
    ('not_in_sync', 'unlocked_over_1000_s')
    """
    return Status(
        error=DataError(word >> STAT_ERROR_SHIFT & 3),
        in_sync=not word & STAT_NOT_IN_SYNC,
        by_arrival=bool(word & STAT_BY_ARRIVAL),
        triggered=bool(word & STAT_TRIGGERED),
        changing=bool(word & STAT_CONFIGURATION_CHANGE),
        modified=bool(word & STAT_MODIFIED),
        time_quality=word >> _PMU_TQ_SHIFT & _PMU_TQ_MASK,
        unlocked=Unlocked(word >> _UNLOCKED_SHIFT & _UNLOCKED_MASK),
        trigger=word & _TRIGGER_MASK,
    )


@dataclass(frozen=True, slots=True)
class TimeQuality:
    """The top byte of FRACSEC. `code` is MSG_TQ: 0 locked, 1 to 11 within 1 ns to 10 s, 15 fault.

    A leap second is pending up to a minute before it and occurred for a day after it. The second that is inserted has
    the SOC of the one behind it: stamps come twice.
    """

    code: int = 0
    leap_pending: bool = False
    leap_occurred: bool = False
    leap_deletes: bool = False

    @property
    def byte(self) -> int:
        """The byte as sent."""
        flags = (
            self.leap_deletes * _LEAP_DELETE | self.leap_occurred * _LEAP_OCCURRED | self.leap_pending * _LEAP_PENDING
        )
        return flags | self.code & _MSG_TQ_MASK

    @property
    def error_ns(self) -> int:
        """Bound of the stamp's error, 0 locked, -1 unknown."""
        return int(_MSG_TQ_NS[self.code & _MSG_TQ_MASK])


def read_time_quality(byte: int) -> TimeQuality:
    """The time-quality byte by its parts."""
    return TimeQuality(
        byte & _MSG_TQ_MASK, bool(byte & _LEAP_PENDING), bool(byte & _LEAP_OCCURRED), bool(byte & _LEAP_DELETE)
    )


def _error_table() -> I64:
    """Bound of a stamp's error by MSG_TQ (4 bits), not in sync (1 bit) and PMU_TQ (3 bits)."""
    message, silent, code = np.meshgrid(np.arange(16), [False, True], np.arange(8), indexing="ij")
    error = np.where(code == 0, _MSG_TQ_NS[message], _PMU_TQ_NS[code])
    return np.where(silent & (error == 0), UNKNOWN_TIME_ERROR_NS, error).ravel()


_ERRORS_NS = _error_table()
_STATS = np.arange(0x1_0000)
_OWN_WORD = ((_STATS >> _PMU_TQ_SHIFT & _PMU_TQ_MASK) | (_STATS & STAT_NOT_IN_SYNC) >> 10).astype(np.uint8)


def time_errors_ns(stat: U16, time_quality: U8) -> I64:
    """Bound of the stamp's error in ns, -1 unknown: the PMU's own word where it gives one, else the message's.

    A PMU that says it is not in sync and gives no bound is unknown, whatever the message says.
    """
    return _ERRORS_NS.take(_OWN_WORD.take(stat) | time_quality << np.uint8(4))  # eight bits: the flags fall out
