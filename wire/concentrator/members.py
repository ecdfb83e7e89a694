"""Who is expected in a set, and how each of them does: rows by fate, completeness, latency."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from model.block import F64, I32, I64
from model.errors import DecodeError

Bools = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]
Arrays = dict[str, npt.NDArray[Any]]

_NEVER = np.iinfo(np.int64)


class Fate(IntEnum):
    """What became of a row."""

    ALIGNED = 0  # part of a set
    LATE = 1  # its set had left without it
    DUPLICATE = 2  # a second copy, or one that a sound copy took the place of
    CONFLICT = 3  # a second row of the PMU and instant with other values: replay, forgery, or two sources of one name
    AHEAD = 4  # stamped too far in the future
    BEHIND = 5  # stamped too long ago
    OFF_GRID = 6  # not an instant of this rate
    SHAPE = 7  # other channels than its device joined with
    UNKNOWN = 8  # nobody we expect
    PROVENANCE = 9  # simulated among measured, or the other way round


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """Counters of the members, one entry each. `rows` has shape (fates, n); latencies count from stamp to receipt and
    are NaN where no row came. A steady negative latency, or one far above its stream's, is a PMU's wrong clock."""

    device: I32
    stream: I32
    expected: I64
    rows: I64
    latency_mean_ns: F64
    latency_min_ns: F64
    latency_max_ns: F64

    @property
    def completeness(self) -> F64:
        """Share of the instants that passed for which the member's row was in the set; NaN before the first."""
        return _share(self.rows[Fate.ALIGNED], self.expected)

    def by_stream(self) -> dict[int, float]:
        """Completeness of each stream over all its members."""
        streams, of = np.unique(self.stream, return_inverse=True)
        aligned = np.bincount(of, self.rows[Fate.ALIGNED], len(streams))
        share = _share(aligned, np.bincount(of, self.expected, len(streams)))
        return dict(zip(streams.tolist(), share.tolist(), strict=True))


def _share(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> F64:
    share: F64 = np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
    return share


class Members:
    """Members in the order of their device index; a member's number is its place in these arrays."""

    def __init__(self) -> None:
        self._arrays = _fresh(np.zeros(0, np.int32))

    def __len__(self) -> int:
        return len(self.device)

    @property
    def device(self) -> I32:
        """Device index of each member, ascending."""
        return self._arrays["device"]

    @property
    def shape(self) -> Index:
        """Number of each member's buffer."""
        return self._arrays["shape"]

    @property
    def position(self) -> Index:
        """Place of each member in its buffer."""
        return self._arrays["position"]

    def find(self, device: I32) -> Index:
        """Number of each device, -1 where it is no member."""
        if not len(self):
            return np.full(len(device), -1, np.intp)
        number = np.minimum(np.searchsorted(self.device, device), len(self) - 1)
        return np.where(self.device[number] == device, number, -1)

    def add(self, device: I32, shape: int) -> None:
        """Take devices in that are no members yet."""
        new = _fresh(device)
        new["shape"][:] = shape
        order = np.argsort(np.concatenate([self.device, device]))
        self._arrays = {
            name: np.concatenate([array, new[name]], axis=-1)[..., order] for name, array in self._arrays.items()
        }

    def remove(self, device: I32) -> None:
        """Let devices go, and their counters."""
        stay = ~np.isin(self.device, device)
        self._arrays = {name: array[..., stay] for name, array in self._arrays.items()}

    def place(self, device: I32, shape: int) -> None:
        """Say where in a buffer devices are: in the order given."""
        number = self.find(device)
        self.shape[number] = shape
        self.position[number] = np.arange(len(device))

    def set_stream(self, device: I32, stream: int) -> None:
        """Say from which stream devices come."""
        self._arrays["stream"][self.find(device)] = stream

    def count(self, fate: Fate, number: Index) -> None:
        """Rows of members that met a fate; those of strangers (-1) are nobody's."""
        self._arrays["rows"][fate] += np.bincount(number[number >= 0], minlength=len(self))

    def align(self, device: I32, rows: I64) -> None:
        """Rows of devices that went into sets."""
        self._arrays["rows"][Fate.ALIGNED, self.find(device)] += rows

    def pass_by(self, instants: int) -> None:
        """So many instants passed in which everybody was expected."""
        self._arrays["expected"] += instants

    def measure(self, number: Index, latency_ns: I64) -> None:
        """Latencies of rows."""
        arrays = self._arrays
        arrays["latency_rows"] += np.bincount(number, minlength=len(self))
        arrays["latency_sum_ns"] += np.bincount(number, latency_ns, len(self))
        np.minimum.at(arrays["latency_min_ns"], number, latency_ns)
        np.maximum.at(arrays["latency_max_ns"], number, latency_ns)

    def tally(self) -> Tally:
        """The counters as they are now."""
        arrays = {name: array.copy() for name, array in self._arrays.items()}
        seen = arrays["latency_rows"] > 0
        return Tally(
            device=arrays["device"],
            stream=arrays["stream"],
            expected=arrays["expected"],
            rows=arrays["rows"],
            latency_mean_ns=_share(arrays["latency_sum_ns"], arrays["latency_rows"]),
            latency_min_ns=np.where(seen, arrays["latency_min_ns"], np.nan),
            latency_max_ns=np.where(seen, arrays["latency_max_ns"], np.nan),
        )

    def forget_latency(self) -> None:
        """Measure latency anew: a clock that went wrong an hour ago must not hide behind a good day."""
        fresh = _fresh(self.device)
        for name in ("latency_rows", "latency_sum_ns", "latency_min_ns", "latency_max_ns"):
            self._arrays[name] = fresh[name]

    def state(self) -> Arrays:
        """All arrays, by name."""
        return {name: array.copy() for name, array in self._arrays.items()}

    def restore(self, state: Arrays) -> None:
        """Take up the arrays of `state()`. Raises DecodeError, and nothing has changed."""
        self._arrays = taken_up(state, _fresh(np.ravel(state.get("device", np.zeros(0, np.int32)))))


def taken_up(state: Arrays, like: Arrays) -> Arrays:
    """Copies of saved arrays that have the names, types and shapes of others. Raises DecodeError."""
    if state.keys() != like.keys():
        raise DecodeError("state", "saved arrays", sorted(state), sorted(like))
    for name, array in state.items():
        if (array.dtype, array.shape) != (like[name].dtype, like[name].shape):
            found, expected = f"{array.dtype}{array.shape}", f"{like[name].dtype}{like[name].shape}"
            raise DecodeError("state", f"saved array {name}", found, expected)
    return {name: array.copy() for name, array in state.items()}


def _fresh(device: I32) -> Arrays:
    count = len(device)
    return {
        "device": device.astype(np.int32),
        "stream": np.zeros(count, np.int32),
        "shape": np.zeros(count, np.intp),
        "position": np.zeros(count, np.intp),
        "expected": np.zeros(count, np.int64),
        "rows": np.zeros((len(Fate), count), np.int64),
        "latency_rows": np.zeros(count, np.int64),
        "latency_sum_ns": np.zeros(count),
        "latency_min_ns": np.full(count, _NEVER.max),
        "latency_max_ns": np.full(count, _NEVER.min),
    }
