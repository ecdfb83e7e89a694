"""Numbers behind the signal charts: power of phasors, angles against neighbours, thinning. Arrays in, arrays out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tsdownsample import MinMaxDownsampler

from model.device import Channel, ChannelKind

F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]

POINTS = 1_000  # of one line: three lines stay within 60 kB, and no pixel of a chart is without its extremes
GAP_FACTOR = 4.0  # a silence longer than this many usual intervals is drawn as a gap


def thin(x: F64, y: F64, points: int = POINTS) -> tuple[F64, F64]:
    """At most `points` points that keep every peak and every gap; shorter series come back as they are.

    Each bin gives its smallest and its largest value: prettier methods drop peaks, and a peak may be the evidence.
    """
    if len(x) <= points:
        return x, y
    gaps = np.flatnonzero(np.isnan(y))[: points // 4]
    filled = np.where(np.isnan(y), np.nanmean(y) if np.isfinite(y).any() else 0.0, y)
    room = (points - len(gaps)) // 2 * 2
    peaks = MinMaxDownsampler().downsample(np.ascontiguousarray(x), np.ascontiguousarray(filled), n_out=room)
    kept = np.union1d(peaks.astype(np.intp), gaps)
    return x[kept], y[kept]


def gapped(time_ns: I64, y: F64) -> tuple[F64, F64]:
    """(epoch ms, y) with a NaN after each silence, so that no line is drawn where nothing was observed."""
    x = time_ns / 1e6
    if len(x) < 3:
        return x, y
    step = np.diff(x)
    holes = np.flatnonzero(step > GAP_FACTOR * np.median(step)) + 1
    return np.insert(x, holes, x[holes - 1] + 1.0), np.insert(y, holes, np.nan)


def line_of(time_ns: I64, y: F64, points: int = POINTS) -> tuple[F64, F64]:
    """A series ready to draw: in epoch ms, with its gaps, thinned."""
    return thin(*gapped(np.asarray(time_ns, dtype=np.int64), np.asarray(y, dtype=np.float64)), points)


def three_phase_power_w(magnitude: F64, angle_rad: F64, channels: Sequence[Channel]) -> F64 | None:
    """Active power in W, shape (n,): Re of the sum of U · conj(I) over the first three voltage and current phasors.

    `magnitude` (V or A) and `angle_rad` have shape (n, channels). None where the device has no three of each.
    """
    volts = [i for i, c in enumerate(channels) if c.kind is ChannelKind.VOLTAGE][:3]
    amperes = [i for i, c in enumerate(channels) if c.kind is ChannelKind.CURRENT][:3]
    if len(volts) < 3 or len(amperes) < 3 or magnitude.shape[1] <= max(*volts, *amperes):
        return None
    turn = angle_rad[:, volts] - angle_rad[:, amperes]
    return np.asarray((magnitude[:, volts] * magnitude[:, amperes] * np.cos(turn)).sum(axis=1))


def means_before(at_ns: I64, time_ns: I64, values: F64) -> F64:
    """Mean of `values` in each interval (at[k-1], at[k]]; NaN for the first and for empty intervals. Shape of `at`."""
    made = np.full(len(at_ns), np.nan)
    edges = np.searchsorted(time_ns, at_ns, side="right")
    for k in range(1, len(at_ns)):
        part = values[edges[k - 1] : edges[k]]
        part = part[np.isfinite(part)]
        if len(part):
            made[k] = part.mean()
    return made


def against_neighbours(
    time_ns: I64, angle_rad: F64, neighbours: Sequence[tuple[I64, F64]], tolerance_ns: int = 20_000_000
) -> F64:
    """Angle minus the median angle of the neighbours at the same moment, in rad, from 0 at the first, unwrapped.

    `neighbours`: (time_ns, angle_rad) each. NaN where no neighbour has a frame within `tolerance_ns`.
    """
    if not neighbours or not len(time_ns):
        return np.full(len(time_ns), np.nan)
    turned = np.stack([np.exp(1j * (angle_rad - _nearest(time_ns, *n, tolerance_ns))) for n in neighbours])
    usable = np.isfinite(turned.real).any(axis=0)
    made = np.full(len(time_ns), np.nan)
    if not usable.any():
        return made
    # Medians of angles only after each difference is turned to start at 0: otherwise +pi and -pi average to 0.
    differences = np.full(turned.shape, np.nan)
    for row, one in enumerate(turned):
        good = np.isfinite(one.real)
        if good.any():
            unwrapped = np.unwrap(np.angle(one[good]))
            differences[row, good] = unwrapped - unwrapped[0]
    made[usable] = np.nanmedian(differences[:, usable], axis=0)
    return made


def _nearest(at_ns: I64, time_ns: I64, values: F64, tolerance_ns: int) -> F64:
    """Value of the nearest moment, NaN where none is within the tolerance."""
    if not len(time_ns):
        return np.full(len(at_ns), np.nan)
    right = np.clip(np.searchsorted(time_ns, at_ns), 1, max(len(time_ns) - 1, 1))
    left = right - 1
    right = np.minimum(right, len(time_ns) - 1)
    chosen = np.where(np.abs(time_ns[right] - at_ns) < np.abs(at_ns - time_ns[left]), right, left)
    near = np.abs(time_ns[chosen] - at_ns) <= tolerance_ns
    return np.where(near, values[chosen], np.nan)
