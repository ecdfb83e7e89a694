"""What SenML packs become: records, or columns of them, with absolute times."""

from __future__ import annotations

import msgspec

from model.errors import DecodeError
from model.time import NS_PER_S, NS_PER_US

RELATIVE_BELOW_US = 2**28 * 1_000_000  # a smaller time is relative to now
_MAX_TIME_S = 9_000_000_000  # 2255: within int64 nanoseconds
_US_PER_S = 1_000_000


class Record(msgspec.Struct, frozen=True, gc=False):
    """One resolved measurement: full name, unit ("" if none), absolute time; of the values one, or only the sum."""

    name: str
    unit: str
    time_ns: int
    value: float | None = None
    text: str | None = None
    flag: bool | None = None
    data: bytes | None = None
    sum: float | None = None
    update_s: float | None = None


class Pack(msgspec.Struct, frozen=True, gc=False):
    """Resolved records as columns, in order of time. `values` has None where a record holds something else than a
    number; those records are in `others`, by row."""

    names: list[str]
    units: list[str]
    time_ns: list[int]
    values: list[float | None]
    others: dict[int, Record]

    def records(self) -> list[Record]:
        """The same, record by record."""
        found = list(map(Record, self.names, self.units, self.time_ns, self.values))
        for row, record in self.others.items():
            found[row] = record
        return found


def microseconds(seconds: float) -> int:
    """Whole microseconds: a double tells no more of an absolute time."""
    if abs(seconds) > _MAX_TIME_S:
        raise DecodeError("time", "time of a SenML record", seconds, "a time before the year 2255")
    return round(seconds * _US_PER_S)


def absolute_ns(time_us: int, now_ns: int) -> int:
    """Nanoseconds since 1970 of a resolved time: small ones count from now. Raises DecodeError (time)."""
    found_ns = time_us * NS_PER_US + (now_ns if time_us < RELATIVE_BELOW_US else 0)
    if abs(found_ns) > _MAX_TIME_S * NS_PER_S:
        raise DecodeError("time", "time of a SenML record", found_ns // NS_PER_S, "a time before the year 2255")
    return found_ns
