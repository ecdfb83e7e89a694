"""Detector 3: meter against PMU behind the same terminals. The ratio of two metrologies is constant; a change is not.

Per comparable reading and quantity (power, energy, voltage): g = meter / PMU - 1, z = (g - g0) / s with s from the
learnt spread, both instruments' accuracy, the register's step, and how much the load moved around the stamp. CUSUM on
z. g0 is the median of the first readings and stays: an attacker who is patient cannot teach it. Until it is learnt,
g0 is 0 within both accuracy classes (EN 50470-3, IEC/IEEE 60255-118-1), so a meter that lies from the start is seen.
A real change of load moves both sides and leaves g alone. Cost: a few array operations per second of frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analytics.budget import cusum_threshold
from analytics.detectors import integrity_words, terminals
from analytics.detectors.cusum import Cusum
from analytics.detectors.state import Arrays, Bools, Index, Runs, load_arrays, save_arrays
from analytics.fleet import PROVENANCES, Fleet
from model.block import F64, I64, Block, Schema
from model.device import DeviceKind
from model.finding import Finding
from model.time import NS_PER_S

QUANTITIES = ("power_w", "energy_wh", "voltage_v")
READINGS_PER_DAY = 43_200.0  # at a period of 2 s, the fastest meters; slower ones alarm less often by chance


def _cusum() -> Cusum:
    return Cusum(threshold=cusum_threshold(1e-3 / len(QUANTITIES), READINGS_PER_DAY))


@dataclass(frozen=True)
class IntegrityParameters:
    """Ratios are per unit. One chance alarm per 1,000 meter-days is the aim of the threshold."""

    cusum: Cusum = field(default_factory=_cusum)
    prior_ratio: tuple[float, float, float] = (0.025, 0.025, 0.015)  # both accuracy classes together
    floor_ratio: tuple[float, float, float] = (0.008, 0.008, 0.004)  # angle errors shift with the power factor
    learn_ratio: tuple[float, float, float] = (0.008, 0.03, 0.008)  # only readings as steady as this are learnt from
    learn_readings: int = 20
    least_power_w: float = 50.0
    least_power_factor: float = 0.1  # below, the angle errors say more than the meter
    register_step_wh: float = 0.1
    register_steps: float = 50.0  # an energy interval holds at least so many steps
    edge_s: float = 0.1  # error of the meter's stamp
    longest_s: float = 3600.0
    waiting_s: float = 60.0  # a reading waits so long, by its meter's own time, for the PMU's frames


class MeterIntegrity:
    """See the module."""

    name = "meter-integrity"
    version = "1"

    def __init__(self, fleet: Fleet, parameters: IntegrityParameters | None = None) -> None:
        self.fleet = fleet
        self.parameters = parameters or IntegrityParameters()
        self._state = self._fresh()

    def _fresh(self) -> Arrays:
        n, q = self.fleet.size, len(QUANTITIES)
        state: Arrays = {
            "learnt": np.zeros((n, q, self.parameters.learn_readings)),
            "count": np.zeros((n, q), np.int64),
            "center": np.zeros((n, q)),
            "spread": np.tile(np.array(self.parameters.prior_ratio), (n, 1)),
            "observed": np.full((n, q), np.nan),
            "expected": np.full((n, q), np.nan),
            "sigma": np.full((n, q), np.nan),
            "active": np.zeros(n, bool),
            "anchor": np.full((n, 4), np.nan),  # meter Wh, PMU Wh, covered s, time s of the energy interval's start
            "meter_ns": np.full(n, np.iinfo(np.int64).min, np.int64),
            "origin": self.fleet.provenance.astype(np.int64),
        }
        buffers: Arrays = {
            "wait_device": np.zeros(0, np.int64),
            "wait_ns": np.zeros(0, np.int64),
            "wait_values": np.zeros((0, 3)),
        }
        return state | terminals.fresh(n) | self.parameters.cusum.fresh("", (n, q)) | buffers

    def save(self) -> bytes:
        """State without parameters."""
        return save_arrays(self._state, self.version)

    def restore(self, data: bytes) -> None:
        """Take up a saved state. Raises DecodeError."""
        self._state = load_arrays(data, self._fresh(), self.version)

    def update(self, block: Block) -> list[Finding]:
        """Judge one block of meters, or of PMUs (then for the readings that have waited for it)."""
        if not self.fleet.size or not len(block):
            return []
        if block.schema is Schema.METER:
            self._wait(block)
            return self._judge_ready()
        findings: list[Finding] = []
        for _ in terminals.take_in(self._state, self.fleet, block):
            findings += self._judge_ready()
        return findings

    def _wait(self, block: Block) -> None:
        """Put readings of comparable meters into the waiting room, and let go who waits too long."""
        state, fleet = self._state, self.fleet
        mine = fleet.known(block.device)
        mine[mine] = fleet.is_kind(DeviceKind.METER)[block.device[mine]] & (fleet.partner[block.device[mine]] >= 0)
        block = block.take(mine)
        runs = Runs(block.device)
        block = block.take(runs.order)
        newest = runs.running_max(block.time_ns, state["meter_ns"])
        fresh = block.time_ns > runs.before(newest, state["meter_ns"])
        device = block.device[runs.last]
        state["meter_ns"][device] = newest[runs.last]
        state["origin"][device] = PROVENANCES.index(block.origin.provenance)
        voltages = np.column_stack([block.column(f"voltage_l{i}_v") for i in (1, 2, 3)])
        there = np.isfinite(voltages)
        mean_v = np.where(there, voltages, 0.0).sum(axis=1) / np.where(there.any(axis=1), there.sum(axis=1), np.nan)
        exported = np.nan_to_num(block.column("energy_export_wh"))
        values = np.column_stack([block.column("power_w"), block.column("energy_import_wh") - exported, mean_v])
        state["wait_device"] = np.concatenate([state["wait_device"], block.device[fresh].astype(np.int64)])
        state["wait_ns"] = np.concatenate([state["wait_ns"], block.time_ns[fresh]])
        state["wait_values"] = np.concatenate([state["wait_values"], values[fresh]])
        late_ns = round(self.parameters.waiting_s * NS_PER_S)
        self._drop(state["wait_ns"] < state["meter_ns"][state["wait_device"]] - late_ns)

    def _drop(self, gone: Bools) -> None:
        for name in ("wait_device", "wait_ns", "wait_values"):
            self._state[name] = self._state[name][~gone]

    def _judge_ready(self) -> list[Finding]:
        """Judge waiting readings whose seconds have closed, the oldest of each meter first."""
        state, findings = self._state, []
        while len(state["wait_ns"]):
            open_s = state["open_s"][self.fleet.partner[state["wait_device"]]]
            edge = (state["wait_ns"] + NS_PER_S // 2) // NS_PER_S
            ready = np.flatnonzero(open_s > edge)
            if not len(ready):
                break
            _, first = np.unique(state["wait_device"][ready], return_index=True)
            chosen = ready[first]  # waiting readings of one meter stand in the order of their times
            gone = np.zeros(len(edge), bool)
            gone[chosen] = True
            device, time_ns, values = (state[f"wait_{n}"][chosen] for n in ("device", "ns", "values"))
            self._drop(gone)
            findings += self._judge(device.astype(np.intp), time_ns, values)
        return findings

    def _judge(self, meter: Index, time_ns: I64, values: F64) -> list[Finding]:
        """One reading of each of some distinct meters; values (n, 3): W, Wh, V."""
        state, p = self._state, self.parameters
        seen = terminals.window(state, self.fleet.partner[meter].astype(np.intp), time_ns)
        expected, sync, usable, observed = self._compare(meter, time_ns, values, seen)
        with np.errstate(invalid="ignore", divide="ignore"):
            g = observed / expected - 1.0
        usable &= np.isfinite(g) & np.isfinite(sync)
        strain = np.column_stack([_strain(seen), _strain(seen), np.ones(len(meter))])
        sigma = np.hypot(np.maximum(state["spread"][meter], np.array(p.floor_ratio) * strain), sync)
        z = np.where(usable, (g - state["center"][meter]) / np.where(usable, sigma, 1.0), 0.0)
        statistic = p.cusum.step(state, "", meter, z, usable, time_ns)
        self._learn(meter, g, usable & (sync < np.array(p.learn_ratio)), statistic)
        for name, value in (("observed", observed), ("expected", expected * (1.0 + state["center"][meter]))):
            state[name][meter] = np.where(usable, value, state[name][meter])
        band = np.where(usable, sigma, 0.0) * np.where(usable, np.abs(expected), 0.0)
        state["sigma"][meter] = np.where(usable, band, state["sigma"][meter])
        return self._alarms(meter, time_ns, statistic)

    def _compare(self, meter: Index, time_ns: I64, values: F64, seen: terminals.Window) -> tuple[F64, F64, Bools, F64]:
        """Expected by the PMU, relative error of the comparison, usable, observed; each (n, 3)."""
        p = self.parameters
        wh, pmu_wh, energy_usable = self._energy(meter, time_ns, values[:, 1], seen)
        loaded = seen.usable & (np.abs(seen.power_w) >= p.least_power_w)
        loaded &= np.abs(seen.power_w) >= p.least_power_factor * seen.apparent_va
        with np.errstate(invalid="ignore", divide="ignore"):
            edge_wh = 2.0 * p.edge_s * seen.power_swing_w * terminals.WH_PER_WS
            sync = np.column_stack(
                [
                    seen.power_swing_w / np.abs(seen.power_w),
                    (p.register_step_wh + edge_wh) / np.abs(pmu_wh),
                    seen.voltage_swing_v / seen.voltage_v,
                ]
            )
        usable = np.column_stack([loaded, energy_usable, seen.usable & (seen.voltage_v > 0)])
        observed = np.column_stack([values[:, 0], wh, values[:, 2]])
        return np.column_stack([seen.power_w, pmu_wh, seen.voltage_v]), sync, usable, observed

    def _energy(self, meter: Index, time_ns: I64, register_wh: F64, seen: terminals.Window) -> tuple[F64, F64, Bools]:
        """Energy since the interval's start by meter and by PMU, and whether the interval is complete and covered."""
        p, anchor = self.parameters, self._state["anchor"][meter]
        now = np.column_stack([register_wh, seen.energy_wh, seen.covered_s, np.rint(time_ns / NS_PER_S)])
        wh, pmu_wh, covered_s, elapsed_s = (now - anchor).T
        covered = covered_s >= 0.9 * elapsed_s
        done = seen.usable & covered & (np.abs(pmu_wh) >= p.register_steps * p.register_step_wh)
        begin = seen.usable & (done | ~covered | ~(elapsed_s < p.longest_s) | np.isnan(wh))
        self._state["anchor"][meter] = np.where(begin[:, None], now, anchor)
        return wh, pmu_wh, done & np.isfinite(wh)

    def _learn(self, meter: Index, g: F64, usable: Bools, statistic: F64) -> None:
        """Fill the first readings; when full, fix centre and spread. Nothing is learnt while a CUSUM is high."""
        state, most = self._state, self.parameters.learn_readings
        count = state["count"][meter]
        row, column = np.nonzero(usable & (count < most) & self.parameters.cusum.calm(statistic))
        state["learnt"][meter[row], column, count[row, column]] = g[row, column]
        state["count"][meter[row], column] += 1
        full = state["count"][meter[row], column] == most
        device, column = meter[row[full]], column[full]
        sample = state["learnt"][device, column]
        center = np.median(sample, axis=1)
        spread = 1.4826 * np.median(np.abs(sample - center[:, None]), axis=1)
        floor = np.array(self.parameters.floor_ratio)[column]
        state["center"][device, column] = center
        state["spread"][device, column] = np.maximum(spread, floor)

    def _alarms(self, meter: Index, time_ns: I64, statistic: F64) -> list[Finding]:
        active, limit = self._state["active"], self.parameters.cusum.threshold
        largest = statistic.max(axis=1)
        raised = (largest > limit) & ~active[meter]
        calm = self.parameters.cusum.calm(largest)
        active[meter] = np.where(raised, True, active[meter] & ~calm)
        return [self._finding(int(meter[i]), int(time_ns[i]), statistic[i]) for i in np.flatnonzero(raised)]

    def _finding(self, meter: int, time_ns: int, statistic: F64) -> Finding:
        state = self._state
        main = int(np.argmax(statistic))
        return integrity_words.finding(
            integrity_words.Comparison(
                site=self.fleet.site,
                detector=self.name,
                version=self.version,
                meter=meter,
                pmu=int(self.fleet.partner[meter]),
                meter_name=self.fleet.names[meter],
                pmu_name=self.fleet.names[int(self.fleet.partner[meter])],
                start_ns=int(state["since_ns"][meter, main]),
                end_ns=time_ns,
                quantities=QUANTITIES,
                statistic=statistic,
                threshold=self.parameters.cusum.threshold,
                scores_per_day=READINGS_PER_DAY,
                observed=state["observed"][meter],
                expected=state["expected"][meter],
                sigma=state["sigma"][meter],
                learnt=state["count"][meter] >= self.parameters.learn_readings,
                provenance=PROVENANCES[int(state["origin"][meter])],
            )
        )


def _strain(seen: terminals.Window) -> F64:
    """How much an angle error weighs: apparent over real power, at least 1."""
    return np.asarray(
        np.maximum(seen.apparent_va, 1.0) / np.maximum(np.minimum(np.abs(seen.power_w), seen.apparent_va), 1.0)
    )
