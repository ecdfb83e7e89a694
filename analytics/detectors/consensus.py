"""Angles of many PMUs at one time, with the rotation of the grid taken out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.block import F64, I32, I64


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """Times (t,), devices (d,), and (t, d): angle against the neighbours, voltage, power; angle NaN where unknown."""

    time_ns: I64
    device: npt.NDArray[np.intp]
    angle_rad: F64
    voltage_v: F64
    power_w: F64


def pool(time_ns: I64, device: I32, values: F64, members: npt.NDArray[np.intp], offset: F64, least: int) -> Slots:
    """Slots of frames (n,) with values (n, 3) angle, voltage, power; angles are relative to all others' consensus.

    `members` are all comparable devices in order, also those without a frame here: sums must not depend on who is.

    `offset` (devices,) is each PMU's constant angle to the consensus, NaN until its first slot with `least` PMUs, which
    sets it here, in place.
    """
    times, row = np.unique(time_ns, return_inverse=True)
    column = np.searchsorted(members, device)
    grid = np.full((3, len(times), len(members)), np.nan)
    grid[:, row, column] = values.T
    angle = np.full(grid.shape[1:], np.nan)
    begin = 0
    for start in _first_slots(grid[0], offset[members], least):
        angle[begin:start] = _relative(grid[0, begin:start], offset[members], least)
        _introduce(grid[0, start], offset, members)
        begin = start
    angle[begin:] = _relative(grid[0, begin:], offset[members], least)
    return Slots(times, members, angle, grid[1], grid[2])


def _first_slots(angle: F64, offset: F64, least: int) -> list[int]:
    """Slots, in order, in which a PMU without offset meets enough others."""
    seen = np.isfinite(angle) & (np.isfinite(angle).sum(axis=1) >= least)[:, None]
    new = np.isnan(offset) & seen.any(axis=0)
    return sorted(set(np.argmax(seen[:, new], axis=0).tolist()))


def _introduce(angle: F64, offset: F64, index: npt.NDArray[np.intp]) -> None:
    """Give the PMUs of one slot that have no offset yet one, against those that have (or against the first of all)."""
    seen = np.isfinite(angle)
    known = seen & np.isfinite(offset[index])
    if known.any():
        common = np.angle(np.exp(1j * (angle[known] - offset[index[known]])).sum())
        common += np.median(_wrap(angle[known] - offset[index[known]] - common))
    else:
        common = angle[np.flatnonzero(seen)[0]]
    new = seen & np.isnan(offset[index])
    offset[index[new]] = _wrap(angle[new] - common)


def _relative(angle: F64, offset: F64, least: int) -> F64:
    """Angle minus own offset minus consensus, (t, d); NaN in slots of fewer than `least` PMUs."""
    own = angle - offset
    enough = np.isfinite(own).sum(axis=1) >= least
    own = np.where(enough[:, None], own, np.nan)
    if not enough.any():
        return own
    turned = np.where(np.isfinite(own), np.exp(1j * np.nan_to_num(own)), 0.0)
    rest = _wrap(own - np.angle(turned.sum(axis=1))[:, None])
    rest[enough] -= np.nanmedian(rest[enough], axis=1)[:, None]
    return np.asarray(_wrap(rest))


def _wrap(angle: F64) -> F64:
    """Into -pi..pi."""
    return np.asarray((angle + np.pi) % (2.0 * np.pi) - np.pi)
