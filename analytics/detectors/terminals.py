"""What the PMU saw at the terminals, second by second: the side of the meter comparison that is kept in rings.

Power is the sum over phases of Re(V I*), its integral a virtual energy register. A second is closed for a device when
a frame of a later second arrives from it; frames of closed seconds are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from analytics.detectors.state import Arrays, Bools, Index, Runs
from analytics.fleet import Fleet
from model.block import F64, I64, Block, Quality, Schema
from model.device import DeviceKind
from model.time import NS_PER_S

RING_S = 64
WH_PER_WS = 1.0 / 3600.0
_STAT_BAD = 0xE000  # data error or not in sync: not comparable
_SUMS = ("power", "apparent", "voltage", "frames")


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """The two seconds around each of n moments: mean power, half its change, apparent power, voltage, coverage."""

    usable: Bools
    power_w: F64
    power_swing_w: F64
    apparent_va: F64
    voltage_v: F64
    voltage_swing_v: F64
    energy_wh: F64  # virtual register at the moment
    covered_s: I64


def fresh(size: int) -> Arrays:
    """State arrays, first axis devices."""
    state: Arrays = {f"open_{name}": np.zeros(size) for name in _SUMS}
    state |= {f"ring_{name}": np.zeros((size, RING_S)) for name in (*_SUMS, "energy_wh")}
    state |= {"ring_covered": np.zeros((size, RING_S), np.int64), "ring_s": np.full((size, RING_S), -1, np.int64)}
    state |= {"open_s": np.full(size, -1, np.int64), "newest_s": np.full(size, -1, np.int64)}
    return state | {"energy_wh": np.zeros(size), "covered": np.zeros(size, np.int64), "rate": np.zeros(size)}


def take_in(state: Arrays, fleet: Fleet, block: Block) -> Iterator[None]:
    """Add the frames of a block, yielding after each second of them so that the caller can use what has closed."""
    known = fleet.known(block.device)
    mine = np.flatnonzero(known)[fleet.is_kind(DeviceKind.PMU)[block.device[known]]]
    mine = mine[fleet.partner[block.device[mine]] >= 0]
    block = block.take(mine)
    runs = Runs(block.device)
    block = block.take(runs.order)
    seconds = block.time_ns // NS_PER_S
    newest = runs.running_max(seconds, state["newest_s"])
    in_order = seconds == newest
    state["newest_s"][runs.device[runs.last]] = newest[runs.last]
    sums = frame_sums(fleet, block) if len(block) else np.zeros((0, len(_SUMS)))
    for second in np.unique(seconds[in_order]):
        rows = np.flatnonzero(in_order & (seconds == second))
        devices = np.unique(block.device[rows]).astype(np.intp)
        _close(state, devices[state["open_s"][devices] < second])
        state["open_s"][devices] = second
        for column, name in enumerate(_SUMS):
            np.add.at(state[f"open_{name}"], block.device[rows], sums[rows, column])
        yield


def frame_sums(fleet: Fleet, block: Block) -> F64:
    """Power in W, apparent power in VA, mean voltage in V and 1 of each frame, (n, 4); zeros where it is not usable."""
    voltage = _phasors(block, fleet.voltages[block.device])
    current = _phasors(block, fleet.currents[block.device])
    product = voltage * np.conj(current)
    pairs = np.isfinite(product)
    stat_good = (block.quality & np.uint32(_STAT_BAD & Quality.STAT_MASK)) == 0
    usable = stat_good & pairs.any(axis=1)
    count = np.maximum(pairs.sum(axis=1), 1)
    summed = np.column_stack(
        [
            np.where(pairs, product.real, 0.0).sum(axis=1),
            np.where(pairs, np.abs(product), 0.0).sum(axis=1),
            np.where(pairs, np.abs(voltage), 0.0).sum(axis=1) / count,
            np.ones(len(block)),
        ]
    )
    return np.where(usable[:, None], summed, 0.0)


def _phasors(block: Block, places: np.typing.NDArray[np.int32]) -> np.typing.NDArray[np.complex128]:
    """Complex phasors at the given positions, (n, 3); NaN where there is none."""
    if block.schema is not Schema.PHASOR:
        raise ValueError(f"block of schema {block.schema.name}, expected PHASOR")
    column = 2 + 2 * places
    there = (places >= 0) & (column + 1 < len(block.columns))
    column = np.where(there, column, 0)
    rows = np.arange(len(block))[:, None]
    phasor = block.values[rows, column] * np.exp(1j * block.values[rows, np.where(there, column + 1, 0)])
    return np.asarray(np.where(there, phasor, complex(np.nan, np.nan)))


def _close(state: Arrays, devices: Index) -> None:
    """Move the open second of each device into its ring and its virtual register."""
    second = state["open_s"][devices]
    slot = second % RING_S
    frames = state["open_frames"][devices]
    state["rate"][devices] = np.maximum(state["rate"][devices], frames)
    covered = (frames > 0) & (frames >= 0.9 * state["rate"][devices])
    count = np.maximum(frames, 1.0)
    for name in _SUMS:
        value = state[f"open_{name}"][devices]
        state[f"ring_{name}"][devices, slot] = value if name == "frames" else value / count
        state[f"open_{name}"][devices] = 0.0
    mean_w = state["ring_power"][devices, slot]
    state["energy_wh"][devices] += np.where(covered, mean_w * WH_PER_WS, 0.0)
    state["covered"][devices] += covered
    state["ring_energy_wh"][devices, slot] = state["energy_wh"][devices]
    state["ring_covered"][devices, slot] = state["covered"][devices]
    state["ring_s"][devices, slot] = np.where(second >= 0, second, -1)


def window(state: Arrays, pmu: Index, time_ns: I64) -> Window:
    """What the given PMUs saw in the second before and the second after the full second nearest to each moment."""
    edge = np.asarray((time_ns + NS_PER_S // 2) // NS_PER_S)
    sides = ((edge - 1) % RING_S, edge % RING_S)
    enough = 0.9 * state["rate"][pmu]
    usable = np.ones(len(pmu), bool)
    for second, slot in zip((edge - 1, edge), sides, strict=True):
        frames = state["ring_frames"][pmu, slot]
        usable &= (state["ring_s"][pmu, slot] == second) & (frames > 0) & (frames >= enough)
    before, after = (state["ring_power"][pmu, slot] for slot in sides)
    low, high = (state["ring_voltage"][pmu, slot] for slot in sides)
    off_s = (time_ns - edge * NS_PER_S) / NS_PER_S
    correction = off_s * np.where(off_s > 0, after, before) * WH_PER_WS
    return Window(
        usable=usable,
        power_w=(before + after) / 2.0,
        power_swing_w=np.abs(after - before) / 2.0,
        apparent_va=(state["ring_apparent"][pmu, sides[0]] + state["ring_apparent"][pmu, sides[1]]) / 2.0,
        voltage_v=(low + high) / 2.0,
        voltage_swing_v=np.abs(high - low) / 2.0,
        energy_wh=state["ring_energy_wh"][pmu, sides[0]] + correction,
        covered_s=state["ring_covered"][pmu, sides[0]],
    )
