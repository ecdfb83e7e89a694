"""Phase drift: a PMU whose phasors turn against all its neighbours, though nothing flows differently.

The common rotation of the grid is taken out slot by slot (frames of one time): angle minus the PMU's own constant
offset, minus the direction of the sum of all, minus the median of what is left. Means over a second, their differences
as scores of a CUSUM (a ramp), and their distance from the learnt level (a step). A clock error of t turns all phasors
of a PMU by -2 pi f t and moves neither voltage nor power. A real change of angle in a distribution grid moves the
voltage by a similar ratio: what the voltage explains is no finding. Needs three PMUs of one provenance and nominal
frequency.

Limits: drifts below allowance x spread per second, steps below `step_s`, and an attack on half of the PMUs at once are
not seen. Cost: a few array operations per block and per second.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analytics.budget import cusum_threshold
from analytics.detectors import phasor_words
from analytics.detectors.consensus import Slots, pool
from analytics.detectors.cusum import Cusum
from analytics.detectors.state import Arrays, Bools, Index, Runs, load_arrays, save_arrays
from analytics.detectors.terminals import frame_sums
from analytics.fleet import PROVENANCES, Fleet
from model.block import F64, I32, I64, Block, Quality, Schema
from model.device import DeviceKind
from model.finding import Finding
from model.time import NS_PER_S

SECONDS_PER_DAY = 86_400.0
_STAT_BAD = 0xE000
_SUMS = ("cos", "sin", "voltage", "power", "frames")
_PENDING = ("pending_ns", "pending_device", "pending_values")


def _cusum() -> Cusum:
    return Cusum(threshold=cusum_threshold(1e-3, SECONDS_PER_DAY))


@dataclass(frozen=True)
class DriftParameters:
    """Angles in rad; at 50 Hz a microsecond turns by 0.314 mrad."""

    cusum: Cusum = field(default_factory=_cusum)
    hold_s: float = 1.0  # a slot waits so long for slow PMUs
    least_pmus: int = 3
    least_voltage_v: float = 0.1  # below, an angle is noise
    prior_rad: float = 2e-3  # spread of second means before it is learnt
    floor_rad: float = 5e-4
    learn_seconds: int = 20
    step_s: float = 100e-6
    step_seconds: int = 3
    level_rate: float = 0.02  # per second
    grid_ratio: float = 3.0  # a real turn by x comes with a voltage change of at least x / grid_ratio
    power_ratio: float = 0.05  # band of power shown as evidence


class PhaseDrift:
    """See the module."""

    name = "phase-drift"
    version = "1"

    def __init__(self, fleet: Fleet, parameters: DriftParameters | None = None) -> None:
        self.fleet = fleet
        self.parameters = parameters or DriftParameters()
        self._group = _groups(fleet)
        self._state = self._fresh()

    def _fresh(self) -> Arrays:
        n, p = self.fleet.size, self.parameters
        zeros = ("open_cos", "open_sin", "open_voltage", "open_power", "open_frames", "slope", "step_run")
        unknown = ("offset", "angle", "level", "voltage", "power", "from_angle", "from_voltage", "from_power")
        state: Arrays = {name: np.zeros(n) for name in zeros} | {name: np.full(n, np.nan) for name in unknown}
        state |= {
            "newest_ns": np.full(n, np.iinfo(np.int64).min // 2, np.int64),  # by group; groups are fewer than devices
            "open_s": np.full(n, -1, np.int64),
            "closed_s": np.full(n, -1, np.int64),
            "learnt": np.zeros((n, p.learn_seconds)),
            "count": np.zeros(n, np.int64),
            "spread": np.full(n, p.prior_rad),
            "off_since_ns": np.zeros(n, np.int64),
            "neighbours": np.zeros(n, np.int64),
            "active": np.zeros(n, bool),
        }
        buffers: Arrays = {
            "pending_ns": np.zeros(0, np.int64),
            "pending_device": np.zeros(0, np.int32),
            "pending_values": np.zeros((0, 3)),
        }
        return state | p.cusum.fresh("", (n,)) | buffers

    def save(self) -> bytes:
        """State without parameters."""
        return save_arrays(self._state, self.version)

    def restore(self, data: bytes) -> None:
        """Take up a saved state. Raises DecodeError."""
        self._state = load_arrays(data, self._fresh(), self.version)

    def update(self, block: Block) -> list[Finding]:
        """Judge one block of frames; meters are passed over."""
        if block.schema is not Schema.PHASOR or not self.fleet.size or not len(block):
            return []
        self._wait(self._usable(block), block)
        findings: list[Finding] = []
        for group in np.unique(self._group[self._state["pending_device"]]):
            findings += self._judge_group(int(group))
        return findings

    def _usable(self, block: Block) -> Index:
        """Rows that can be compared: a synchronised PMU's own data, of the provenance it is enrolled with."""
        mine = self.fleet.known(block.device)
        device = np.where(mine, block.device, 0)
        mine &= self.fleet.is_kind(DeviceKind.PMU)[device] & (self.fleet.voltages[device, 0] >= 0)
        mine &= self.fleet.provenance[device] == PROVENANCES.index(block.origin.provenance)
        mine &= (block.quality & np.uint32(_STAT_BAD & Quality.STAT_MASK)) == 0
        rows = np.flatnonzero(mine)
        column = 2 + 2 * self.fleet.voltages[block.device[rows], 0]
        magnitude = block.values[rows, np.minimum(column, len(block.columns) - 2)]
        return np.asarray(rows[magnitude > self.parameters.least_voltage_v])

    def _wait(self, rows: Index, block: Block) -> None:
        """Keep frames until their slot is complete; frames of slots already judged are too late."""
        state, block = self._state, block.take(rows)
        runs = Runs(self._group[block.device])
        block = block.take(runs.order)
        hold_ns = round(self.parameters.hold_s * NS_PER_S)
        newest = runs.running_max(block.time_ns, state["newest_ns"])
        before = runs.before(newest, state["newest_ns"])
        state["newest_ns"][runs.device[runs.last]] = newest[runs.last]
        keep = block.time_ns > before - hold_ns
        block = block.take(keep)
        column = 2 + 2 * self.fleet.voltages[block.device, 0]
        row = np.arange(len(block))
        power = frame_sums(self.fleet, block)[:, 0]
        values = np.column_stack([block.values[row, column + 1], block.values[row, column], power])
        for name, new in zip(_PENDING, (block.time_ns, block.device, values), strict=True):
            state[name] = np.concatenate([state[name], new])

    def _judge_group(self, group: int) -> list[Finding]:
        """Judge the complete slots of one group, second by second."""
        state = self._state
        hold_ns = round(self.parameters.hold_s * NS_PER_S)
        members = self._group[state["pending_device"]] == group
        done = members & (state["pending_ns"] <= state["newest_ns"][group] - hold_ns)
        if not done.any():
            return []
        time_ns, device, values = (state[name][done] for name in _PENDING)
        least = self.parameters.least_pmus
        for name in _PENDING:
            state[name] = state[name][~done]
        slots = pool(time_ns, device, values, np.flatnonzero(self._group == group), state["offset"], least)
        findings: list[Finding] = []
        for second in np.unique(slots.time_ns // NS_PER_S):
            findings += self._add(slots, int(second))
        return findings

    def _add(self, slots: Slots, second: int) -> list[Finding]:
        """Add the slots of one second; PMUs that had an earlier second open get it judged."""
        state = self._state
        rows = slots.time_ns // NS_PER_S == second
        angle = slots.angle_rad[rows]
        seen = np.isfinite(angle)
        present = seen.any(axis=0)
        device = slots.device[present]
        findings = self._judge(device[(state["open_s"][device] < second) & (state["open_frames"][device] > 0)])
        angle, seen = np.where(seen, angle, 0.0)[:, present], seen[:, present]
        parts = (np.cos(angle), np.sin(angle), slots.voltage_v[rows][:, present], slots.power_w[rows][:, present])
        for name, part in zip(_SUMS, (*parts, np.ones_like(angle)), strict=True):
            # One after the other: the sum must not depend on how many slots came together.
            np.add.at(state[f"open_{name}"], np.broadcast_to(device, seen.shape), np.where(seen, part, 0.0))
        state["open_s"][device] = second
        state["neighbours"][device] = present.sum() - 1
        return findings

    def _judge(self, device: Index) -> list[Finding]:
        """Close the open second of some PMUs and judge it."""
        state, p = self._state, self.parameters
        angle, voltage, power = self._close(device)
        second = state["open_s"][device]
        steady = state["closed_s"][device] == second - 1
        turn = np.where(steady, angle - state["angle"][device], 0.0)
        time_ns = second * NS_PER_S
        z = turn / np.maximum(state["spread"][device], p.floor_rad)
        statistic = p.cusum.step(state, "", device, z, steady, time_ns)
        for name, value in (("angle", angle), ("voltage", voltage), ("power", power), ("slope", turn)):
            state[name][device] = value
        state["closed_s"][device] = second
        quiet = (statistic == 0) | np.isnan(state["from_angle"][device])
        for name, value in (("angle", angle), ("voltage", voltage), ("power", power)):
            state[f"from_{name}"][device] = np.where(quiet, value, state[f"from_{name}"][device])
        off = self._follow_level(device, angle, time_ns)
        self._learn(device, turn, steady, statistic)
        return self._alarms(device, time_ns, statistic, off)

    def _close(self, device: Index) -> tuple[F64, F64, F64]:
        """Mean angle (continued from the last second), voltage and power of the open second; empties it."""
        state = self._state
        cosine, sine, voltage, power, frames = (state[f"open_{name}"][device] for name in _SUMS)
        for name in _SUMS:
            state[f"open_{name}"][device] = 0.0
        angle = np.arctan2(sine, cosine)
        last = np.where(np.isnan(state["angle"][device]), angle, state["angle"][device])
        angle += 2.0 * np.pi * np.rint((last - angle) / (2.0 * np.pi))
        return angle, voltage / frames, power / frames

    def _follow_level(self, device: Index, angle: F64, time_ns: I64) -> Bools:
        """Whether the angle has left its level for some seconds; the level follows slowly, and only what is near."""
        state, p = self._state, self.parameters
        level = np.where(np.isnan(state["level"][device]), angle, state["level"][device])
        distance = angle - level
        limit = self._step_rad(device)
        near = np.abs(distance) < limit / 4.0
        state["level"][device] = level + np.where(near, p.level_rate * distance, 0.0)
        far = np.abs(distance) > limit
        run = np.where(far, state["step_run"][device] + 1, 0)
        state["off_since_ns"][device] = np.where(run == 1, time_ns, state["off_since_ns"][device])
        state["step_run"][device] = run
        return np.asarray(run >= p.step_seconds)

    def _step_rad(self, device: Index) -> F64:
        return np.asarray(2.0 * np.pi * self.fleet.nominal_hz[device] * self.parameters.step_s)

    def _learn(self, device: Index, turn: F64, steady: Bools, statistic: F64) -> None:
        """The spread of the first calm seconds, once."""
        state, most = self._state, self.parameters.learn_seconds
        fine = steady & self.parameters.cusum.calm(statistic) & (state["count"][device] < most)
        chosen = device[fine]
        state["learnt"][chosen, state["count"][chosen]] = turn[fine]
        state["count"][chosen] += 1
        full = chosen[state["count"][chosen] == most]
        state["spread"][full] = np.maximum(
            1.4826 * np.median(np.abs(state["learnt"][full]), axis=1), self.parameters.floor_rad
        )

    def _alarms(self, device: Index, time_ns: I64, statistic: F64, off: Bools) -> list[Finding]:
        state, p = self._state, self.parameters
        ramp = (statistic > p.cusum.threshold) & ~self._explained(device, state["from_angle"][device])
        step = off & ~self._explained(device, state["level"][device])
        raised = (ramp | step) & ~state["active"][device]
        over = p.cusum.calm(statistic) & (state["step_run"][device] == 0)
        state["active"][device] = np.where(raised, True, state["active"][device] & ~over)
        return [
            self._finding(int(device[i]), int(time_ns[i]), float(statistic[i]), bool(ramp[i]))
            for i in np.flatnonzero(raised)
        ]

    def _explained(self, device: Index, from_angle: F64) -> Bools:
        """The voltage moved as far as a real change of angle would have moved it."""
        state, p = self._state, self.parameters
        turned = np.abs(state["angle"][device] - from_angle)
        moved = np.abs(state["voltage"][device] / state["from_voltage"][device] - 1.0)
        return np.asarray(turned <= p.grid_ratio * moved + 3.0 * state["spread"][device])

    def _finding(self, device: int, time_ns: int, statistic: float, ramp: bool) -> Finding:
        state, p = self._state, self.parameters
        origin = "from_angle" if ramp else "level"
        return phasor_words.finding(
            phasor_words.Turn(
                site=self.fleet.site,
                detector=self.name,
                version=self.version,
                device=device,
                name=self.fleet.names[device],
                start_ns=int(state["since_ns" if ramp else "off_since_ns"][device]),
                end_ns=time_ns + NS_PER_S,
                ramp=ramp,
                turned_rad=float(state["angle"][device] - state[origin][device]),
                spread_rad=float(state["spread"][device]),
                step_rad=float(self._step_rad(np.array([device]))[0]),
                off_level_rad=float(state["angle"][device] - state["level"][device]),
                statistic=statistic,
                threshold=p.cusum.threshold,
                frequency_hz=float(self.fleet.nominal_hz[device]),
                neighbours=int(state["neighbours"][device]),
                voltage_v=float(state["voltage"][device]),
                voltage_before_v=float(state["from_voltage"][device]),
                power_w=float(state["power"][device]),
                power_before_w=float(state["from_power"][device]),
                power_ratio=p.power_ratio,
                learnt=bool(state["count"][device] >= p.learn_seconds),
                provenance=PROVENANCES[int(self.fleet.provenance[device])],
            )
        )


def _groups(fleet: Fleet) -> I32:
    """PMUs that may be compared share a code: same provenance and nominal frequency."""
    key = np.column_stack([fleet.provenance, np.rint(fleet.nominal_hz)])
    return np.asarray(np.unique(key, axis=0, return_inverse=True)[1].reshape(-1), np.int32)
