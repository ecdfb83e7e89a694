"""Stretches of devices' time: what a question asks for, and what is left of it once some buckets were found."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from model.block import I32, I64
from model.time import NS_PER_US, to_datetime, to_ns

# Runs as rows of a statement: n (position), device, start, stop. Integers travel fast; Python datetimes do not.
RUNS = (
    "(SELECT n, device, TIMESTAMPTZ 'epoch' + start_us * INTERVAL '1 microsecond' AS start, "
    "TIMESTAMPTZ 'epoch' + stop_us * INTERVAL '1 microsecond' AS stop "
    "FROM unnest(CAST(:devices AS integer[]), CAST(:starts_us AS bigint[]), CAST(:stops_us AS bigint[])) "
    "WITH ORDINALITY AS r (device, start_us, stop_us, n)) AS k"
)


# At the end of a LATERAL subquery: read run by run, through the index. Taken apart, the planner joins in other orders,
# and on a day that has no statistics yet it chooses badly.
RUN_BY_RUN = "OFFSET 0"


def inside(alias: str) -> str:
    """Condition on the rows of `alias` that they lie in run k. The outer bounds are said once more, because a database
    rules out partitions by values that it knows when it plans."""
    return (
        f"{alias}.device_id = k.device AND {alias}.time >= k.start AND {alias}.time < k.stop "
        f"AND {alias}.time >= :lowest AND {alias}.time < :highest"
    )


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """start_ns <= time < stop_ns of a device; shapes (n,), disjoint, sorted by device and start, whole microseconds."""

    device: I32
    start_ns: I64
    stop_ns: I64

    def __len__(self) -> int:
        return len(self.device)

    @classmethod
    def of(cls, devices: npt.ArrayLike, start_ns: npt.ArrayLike, stop_ns: npt.ArrayLike) -> Runs:
        """Runs of some devices; one start or stop stands for all. Empty runs are left out."""
        device, start, stop = np.broadcast_arrays(
            np.asarray(devices, np.int32), np.asarray(start_ns, np.int64), np.asarray(stop_ns, np.int64)
        )
        filled = start < stop
        return cls(device[filled], start[filled], stop[filled])

    @classmethod
    def of_window(cls, device: int, start: datetime, end: datetime) -> Runs:
        """One device from start to before end."""
        return cls.of([device], [to_ns(start)], [to_ns(end)])

    def take(self, rows: npt.NDArray[Any] | slice) -> Runs:
        """The chosen runs."""
        return Runs(self.device[rows], self.start_ns[rows], self.stop_ns[rows])

    def whole(self, width_ns: int) -> Runs:
        """The part of each run that consists of whole buckets."""
        return Runs.of(self.device, -(-self.start_ns // width_ns) * width_ns, self.stop_ns // width_ns * width_ns)

    def widened(self, width_ns: int) -> Runs:
        """The buckets that the runs touch, each bucket once."""
        start, stop = self.start_ns // width_ns * width_ns, -(-self.stop_ns // width_ns) * width_ns
        return Runs(self.device, start, stop).merged()

    def merged(self) -> Runs:
        """The same stretches with those that touch or overlap as one."""
        if not len(self):
            return self
        begins = np.append(True, (self.device[1:] != self.device[:-1]) | (self.start_ns[1:] > self.stop_ns[:-1]))
        first = np.flatnonzero(begins)
        return Runs(self.device[first], self.start_ns[first], np.maximum.reduceat(self.stop_ns, first))

    def cut(self, width_ns: int) -> Runs:
        """The same stretches in pieces that no boundary of `width_ns` lies in."""
        pieces = -(-self.stop_ns // width_ns) - self.start_ns // width_ns
        number = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        edge = np.repeat(self.start_ns // width_ns, pieces) + number
        start = np.maximum(edge * width_ns, np.repeat(self.start_ns, pieces))
        stop = np.minimum((edge + 1) * width_ns, np.repeat(self.stop_ns, pieces))
        return Runs.of(np.repeat(self.device, pieces), start, stop)

    def without(self, device: I32, start_ns: I64, width_ns: int) -> Runs:
        """What is left of the runs without these buckets, each of which lies wholly in a run.

        A piece begins where a run begins or a bucket ends, and ends where a bucket begins or a run ends. Pieces are
        disjoint, so that the i-th beginning and the i-th end belong together.
        """
        if not len(device):
            return self
        devices = np.concatenate([self.device, device])
        begins = np.concatenate([self.start_ns, start_ns + width_ns])
        ends = np.concatenate([self.stop_ns, start_ns])
        by_begin, by_end = np.lexsort((begins, devices)), np.lexsort((ends, devices))
        return Runs.of(devices[by_begin], begins[by_begin], ends[by_end])

    def bound(self) -> dict[str, Any]:
        """Values of RUNS and `inside`."""
        return {
            "devices": self.device.tolist(),
            "starts_us": (self.start_ns // NS_PER_US).tolist(),
            "stops_us": (self.stop_ns // NS_PER_US).tolist(),
            "lowest": to_datetime(int(self.start_ns.min())),
            "highest": to_datetime(int(self.stop_ns.max())),
        }
