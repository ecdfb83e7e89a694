"""What is kept of many rows in few: count, sum, sum of squares, extremes and last value of each column and bucket.

NaN is a missing value and counts in nothing. A level is always made of the next finer one (rows, minutes, quarter
hours, days), in the order of time, whether the finer one was stored or just made. So the same rows give the same bits,
whatever came late or was at hand; only floating sums would differ in another order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.block import F64, I32, I64

STATISTICS = ("n", "sum", "square", "min", "max", "last")  # names of the matrices in the tables


@dataclass(frozen=True, slots=True, eq=False)
class Aggregates:
    """Buckets in the order of device and time. Shapes (b,) and, for the statistics, (columns, b).

    `rows` counts rows with or without values, `received_ns` is their newest receipt. Devices may have fewer columns
    than the widest: `columns` says how many a bucket has, and what lies behind has n = 0.
    """

    device: I32
    time_ns: I64
    received_ns: I64
    rows: I64
    columns: I64
    n: I64
    sum: F64
    square: F64
    min: F64
    max: F64
    last: F64

    def __len__(self) -> int:
        return len(self.device)

    def take(self, buckets: npt.NDArray[Any] | slice) -> Aggregates:
        """The chosen buckets."""
        return Aggregates(*(getattr(self, f.name)[..., buckets] for f in fields(self)))


def of_rows(device: I32, time_ns: I64, received_ns: I64, columns: I64, values: F64) -> Aggregates:
    """Each row as a bucket of its own; `values` has shape (columns, rows)."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    with np.errstate(over="ignore"):
        square = filled * filled
    ones = np.ones(len(device), np.int64)
    return in_order(
        Aggregates(
            device, time_ns, received_ns, ones, columns, known.astype(np.int64), filled, square, values, values, values
        )
    )


def in_order(found: Aggregates) -> Aggregates:
    """The same buckets by device and time."""
    step, later = np.diff(found.device), np.diff(found.time_ns)
    if ((step > 0) | ((step == 0) & (later >= 0))).all():
        return found
    return found.take(np.lexsort((found.time_ns, found.device)))


def concatenate(parts: Sequence[Aggregates]) -> Aggregates:
    """All buckets in order; narrower parts are filled up with empty columns."""
    filled = [part for part in parts if len(part)]
    if len(filled) < 2:
        return filled[0] if filled else parts[0]
    width = max(len(part.n) for part in filled)
    wide = [_widened(part, width) for part in filled]
    return in_order(
        Aggregates(*(np.concatenate([getattr(p, f.name) for p in wide], axis=-1) for f in fields(Aggregates)))
    )


def _widened(part: Aggregates, width: int) -> Aggregates:
    missing = width - len(part.n)
    if not missing:
        return part
    fill = {"n": 0.0, "sum": 0.0, "square": 0.0, "min": np.nan, "max": np.nan, "last": np.nan}
    made = {
        name: np.vstack([getattr(part, name), np.full((missing, len(part)), value, getattr(part, name).dtype)])
        for name, value in fill.items()
    }
    return replace(part, **made)


def coarser(found: Aggregates, width_ns: int, origin_ns: int = 0) -> Aggregates:
    """Merge into buckets of `width_ns` that are counted from `origin_ns`; `time_ns` becomes the bucket's start."""
    start_ns = (found.time_ns - origin_ns) // width_ns * width_ns + origin_ns
    if not len(found):
        return found
    edge = (found.device[1:] != found.device[:-1]) | (start_ns[1:] != start_ns[:-1])
    first = np.flatnonzero(np.append(True, edge))
    if len(first) == len(found):
        return replace(found, time_ns=start_ns)
    with np.errstate(over="ignore", invalid="ignore"):
        return Aggregates(
            device=found.device[first],
            time_ns=start_ns[first],
            received_ns=np.maximum.reduceat(found.received_ns, first),
            rows=np.add.reduceat(found.rows, first),
            columns=np.maximum.reduceat(found.columns, first),
            n=np.add.reduceat(found.n, first, axis=1),
            sum=np.add.reduceat(found.sum, first, axis=1),
            square=np.add.reduceat(found.square, first, axis=1),
            min=np.fmin.reduceat(found.min, first, axis=1),
            max=np.fmax.reduceat(found.max, first, axis=1),
            last=_last(found, first),
        )


def _last(found: Aggregates, first: npt.NDArray[np.intp]) -> F64:
    """Of each bucket and column the value of the newest part that has one."""
    newest = np.where(found.n > 0, np.arange(len(found)), -1)
    chosen = np.maximum.reduceat(newest, first, axis=1)
    values = np.take_along_axis(found.last, np.maximum(chosen, 0), axis=1)
    return np.where(chosen >= 0, values, np.nan)
