"""Written times to nanoseconds, all rows at once: a format like that of strftime, local times of a zone to UTC."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo

import numpy as np

from model.block import I64
from model.time import NS_PER_S, NS_PER_US, to_datetime
from wire.texts import Bools, good_texts

_PARTS = {
    "%Y": r"(?P<Y>[0-9]{4})",
    "%m": r"(?P<m>[0-9]{2})",
    "%d": r"(?P<d>[0-9]{2})",
    "%H": r"(?P<H>[0-9]{2})",
    "%M": r"(?P<M>[0-9]{2})",
    "%S": r"(?P<S>[0-9]{2})",
    "%f": r"(?P<f>[0-9]{1,6})",
    "%z": r"(?P<z>Z|[+\-][0-9]{2}:?[0-9]{2})",
}
_NEEDED = ("%Y", "%m", "%d", "%H", "%M")
_DIRECTIVE = re.compile(r"%.")
_LATEST_US = 9_214_646_400_000_000  # 2262-01-01: within int64 nanoseconds
_STEP_NS = 900 * NS_PER_S  # offsets of zones change at whole quarters of an hour


class StampFormat:
    """A format of written times: %Y %m %d %H %M, and %S, %f (up to 6 digits), %z where they are."""

    def __init__(self, form: str) -> None:
        found = _DIRECTIVE.findall(form)
        if any(part not in _PARTS for part in found) or len(set(found)) < len(found) or not set(_NEEDED) <= set(found):
            raise ValueError(f"time format {form!r}, expected %Y %m %d %H %M once each, and %S %f %z at most once")
        literals = [re.escape(part) for part in _DIRECTIVE.split(form)]
        self.zoned = "%z" in found
        self._form = form
        self._pattern = "".join(a + b for a, b in zip(literals, [*(_PARTS[part] for part in found), ""], strict=True))
        self._line = re.compile(rf"(?m:^{self._pattern}$)")
        self._iso = r"\g<Y>-\g<m>-\g<d>T\g<H>:\g<M>"
        self._iso += (r":\g<S>" if "%S" in found else ":00") + (r".\g<f>" if "%f" in found else "")

    def read_ns(self, texts: Sequence[str]) -> tuple[I64, Bools]:
        """Nanoseconds since 1970, with an offset in UTC, else as the wall clock shows; and which texts are times.

        Exports repeat their times for every meter: each text is read once.
        """
        places = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        time_ns, good = self._read_ns(list(places))
        rows = np.array([places[text] for text in texts], np.intp)
        return time_ns[rows], good[rows]

    def _read_ns(self, texts: Sequence[str]) -> tuple[I64, Bools]:
        good = good_texts(texts, self._pattern)
        written = "\n".join(text if fine else "" for text, fine in zip(texts, good.tolist(), strict=True))
        lines = self._line.sub(self._iso, written).split("\n") if texts else []
        stamps = _microseconds(lines)
        if self.zoned:
            stamps -= self._offsets_us(written)
        good &= (stamps >= 0) & (stamps < _LATEST_US)
        return np.where(good, stamps, 0) * NS_PER_US, good

    def _offsets_us(self, written: str) -> I64:
        """Offsets of texts that lie on lines; 0 where a line is empty."""
        offsets = self._line.sub(r"\g<z>", written).split("\n")
        known = {text: _offset_us(text) for text in set(offsets)}
        return np.array([known[text] for text in offsets], np.int64)

    def write(self, time_ns: I64, zone: tzinfo) -> list[str]:
        """Times as this format writes them, in the local time of a zone."""
        return [to_datetime(stamp).astimezone(zone).strftime(self._form) for stamp in time_ns.tolist()]


def _microseconds(lines: Sequence[str]) -> I64:
    """Microseconds of ISO times; -1 - 10^18 for empty ones and for days and hours that do not exist."""
    nowhere = -(10**18) - 1
    try:
        if all(lines):
            return np.array(lines, "datetime64[us]").astype(np.int64)
    except ValueError:
        pass  # some of them do not exist: find out which
    found = np.full(len(lines), nowhere, np.int64)
    for i, line in enumerate(lines):
        try:
            found[i] = np.datetime64(line, "us").astype(np.int64) if line else nowhere
        except ValueError:
            found[i] = nowhere
    return found


def _offset_us(text: str) -> int:
    """Microseconds of Z, +hh:mm or +hhmm."""
    if text in ("", "Z"):
        return 0
    seconds = int(text[1:3]) * 3_600 + int(text[-2:]) * 60
    return (seconds if text[0] == "+" else -seconds) * 1_000_000


def wall_to_utc_ns(wall_ns: I64, zone: tzinfo, fold: int | None = None) -> tuple[I64, Bools]:
    """UTC of times that a wall clock of a zone shows; which of them are there once.

    Times that never are (clocks put forward) are not good; those that come twice are good only if `fold` says which.
    """
    quarters, inverse = np.unique(wall_ns // _STEP_NS, return_inverse=True)
    offsets = np.zeros(len(quarters), np.int64)
    once = np.ones(len(quarters), bool)
    for i, quarter in enumerate(quarters.tolist()):
        local = to_datetime(quarter * _STEP_NS).replace(tzinfo=zone)
        first, second = (_offset_ns(local.replace(fold=which)) for which in (0, 1))
        once[i] = first == second or (first > second and fold is not None)
        offsets[i] = second if fold else first
    return wall_ns - offsets[inverse], once[inverse]


def _offset_ns(local: datetime) -> int:
    return (local.utcoffset() or timedelta()) // timedelta(microseconds=1) * NS_PER_US
