"""Time: aware UTC datetimes at the edges, int64 nanoseconds since 1970 in arrays, one injectable clock.

Nanoseconds count POSIX time (no leap seconds). Two times go with everything: when it happened by the device
(`time_ns`) and when we received it (`received_ns`).
"""

from __future__ import annotations

import time as _time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

NS_PER_S = 1_000_000_000
NS_PER_US = 1_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What the time is. Stages take one, so that tests and exercises can turn it."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970-01-01 UTC; may jump when the host's clock is set."""

    def monotonic_s(self) -> float:
        """Seconds that never go back; for intervals only."""


class SystemClock:
    """The host's clock."""

    def now_ns(self) -> int:
        return _time.time_ns()

    def monotonic_s(self) -> float:
        return _time.monotonic()


@dataclass
class FixedClock:
    """A clock that stands until it is moved; for tests and for resolving recorded messages."""

    time_ns: int
    elapsed_s: float = 0.0

    def now_ns(self) -> int:
        return self.time_ns

    def monotonic_s(self) -> float:
        return self.elapsed_s

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self.time_ns += round(seconds * NS_PER_S)
        self.elapsed_s += seconds


def to_ns(moment: datetime) -> int:
    """Nanoseconds since 1970 of an aware datetime, exact to its microsecond. Naive datetimes raise ValueError."""
    if moment.tzinfo is None:
        raise ValueError(f"time {moment.isoformat()} has no zone, expected an aware datetime")
    return (moment - EPOCH) // timedelta(microseconds=1) * NS_PER_US


def to_datetime(time_ns: int) -> datetime:
    """Aware UTC datetime of nanoseconds since 1970, cut to the microsecond. Years past 9999 raise OverflowError."""
    return EPOCH + timedelta(microseconds=int(time_ns) // NS_PER_US)


def require_aware(name: str, moment: datetime | None) -> None:
    """Refuse naive datetimes in constructors."""
    if moment is not None and moment.utcoffset() is None:
        raise ValueError(f"{name} is {moment.isoformat()} without a zone, expected an aware datetime")


def iso_utc(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, the form of STIX: 2026-11-01T10:00:00.000Z."""
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def utc_words(moment: datetime) -> str:
    """A time for people: 2026-11-23 11:42:07 UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
