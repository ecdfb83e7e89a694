"""Detector 1: data quality. Frozen, near zero, implausible, backwards, repeated, missing, marked bad by the sender.

A condition on enough rows in a row raises one finding per device and cause; the cause is armed again after a run of
good rows. Cost: some array operations per block, none per reading in Python; state per device: some 50 numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from analytics.detectors.quality_words import WORDS, Sight
from analytics.detectors.state import Arrays, Bools, Index, Runs, load_arrays, save_arrays
from analytics.fleet import Fleet
from model.block import F64, I64, Block, Quality, Schema
from model.device import Provenance
from model.finding import Finding, FindingKind
from model.ids import stable_id
from model.time import NS_PER_S, to_datetime

CAUSES = tuple(WORDS)
_DATA_ERROR, _NOT_IN_SYNC = 0xC000, 0x2000
_FIRST_INTERVALS = 8
_SURE = 0.99  # these are facts of the data, not guesses
_MIX = np.uint64(0x9E3779B97F4A7C15)


# In the order of CAUSES: freeze, near-zero, idle, frequency, register, data-error, not-in-sync, gap, stamp, duplicate.
_METER_ROWS = dict(zip(CAUSES, (10, 3, 3, 3, 1, 3, 3, 1, 3, 3), strict=True))
_PMU_ROWS = dict(zip(CAUSES, (50, 10, 10, 10, 1, 10, 50, 1, 10, 10), strict=True))


@dataclass(frozen=True)
class QualityParameters:
    """Limits, and how many rows in a row make (and unmake) a finding."""

    meter_rows: Mapping[str, int] = field(default_factory=_METER_ROWS.copy)
    pmu_rows: Mapping[str, int] = field(default_factory=_PMU_ROWS.copy)
    meter_good_rows: int = 10
    pmu_good_rows: int = 50
    frequency_ratio: float = 0.1
    meter_voltage_ratio: float = 0.1
    pmu_voltage_ratio: float = 0.01
    gap_intervals: float = 5.0
    gap_least_s: float = 10.0
    register_step_wh: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class _Rows:
    """Rows sorted by device, with what the words need."""

    runs: Runs
    block: Block  # sorted like `runs`
    frequency_hz: F64
    voltage_v: F64
    register_wh: F64
    register_before_wh: F64
    gap_s: F64


class DataQuality:
    """See the module."""

    name = "data-quality"
    version = "1"

    def __init__(self, fleet: Fleet, parameters: QualityParameters | None = None) -> None:
        self.fleet = fleet
        self.parameters = parameters or QualityParameters()
        self._state = self._fresh()

    def _fresh(self) -> Arrays:
        n, c = self.fleet.size, len(CAUSES)
        return {
            "last_ns": np.full(n, np.iinfo(np.int64).min, np.int64),
            "last_hash": np.zeros(n, np.uint64),
            "register_wh": np.full((n, 2), np.nan),
            "interval_ns": np.full(n, np.iinfo(np.int64).max, np.int64),
            "intervals": np.zeros(n, np.int64),
            "bad_run": np.zeros((n, c), np.int64),
            "good_run": np.zeros((n, c), np.int64),
            "since_ns": np.zeros((n, c), np.int64),
            "active": np.zeros((n, c), bool),
        }

    def save(self) -> bytes:
        """State without parameters."""
        return save_arrays(self._state, self.version)

    def restore(self, data: bytes) -> None:
        """Take up a saved state. Raises DecodeError."""
        self._state = load_arrays(data, self._fresh(), self.version)

    def update(self, block: Block) -> list[Finding]:
        """Judge one block."""
        known = self.fleet.known(block.device)
        block = block if known.all() else block.take(known)
        if not len(block):
            return []
        runs = Runs(block.device)
        ordered = block.take(runs.order)
        newest = runs.running_max(ordered.time_ns, self._state["last_ns"])
        before = runs.before(newest, self._state["last_ns"])
        findings = self._judge(self._rows(runs, ordered), {"duplicate": np.asarray(ordered.time_ns == before)})
        fresh: Bools = np.asarray(ordered.time_ns > before)
        if fresh.any():
            chosen = ordered.take(fresh)
            rows = self._rows(Runs(chosen.device), chosen)
            findings += self._judge(rows, self._conditions(rows))
            self._remember(rows)
        return findings

    def _rows(self, runs: Runs, block: Block) -> _Rows:
        nan = np.full(len(block), np.nan)
        energy = _register(block)
        before = runs.before(energy, self._state["register_wh"])
        change = energy - before
        worst = np.where(np.isnan(change[:, 0]) | (change[:, 1] < change[:, 0]), 1, 0)[:, None]
        last = runs.before(block.time_ns, self._state["last_ns"])
        seen = last != np.iinfo(np.int64).min
        return _Rows(
            runs,
            block,
            block.column("frequency_hz") if "frequency_hz" in block.columns else nan,
            self._voltage(block),
            np.take_along_axis(energy, worst, 1)[:, 0],
            np.take_along_axis(before, worst, 1)[:, 0],
            np.where(seen, (block.time_ns - np.where(seen, last, block.time_ns)) / NS_PER_S, np.nan),
        )

    def _voltage(self, block: Block) -> F64:
        """Lowest phase of a meter, highest voltage phasor of a PMU; NaN where there is none."""
        if block.schema is Schema.METER:
            columns = [c for c in block.columns if c.startswith("voltage_")]
            found = np.column_stack([block.column(c) for c in columns]) if columns else np.full((len(block), 1), np.nan)
            return np.asarray(np.min(np.where(np.isnan(found), np.inf, found), axis=1))
        magnitudes = [i for i, c in enumerate(block.columns) if c.startswith("magnitude_")]
        if not magnitudes:
            return np.full(len(block), np.nan)
        found = np.abs(block.values[:, magnitudes])
        places = self.fleet.voltages[block.device]
        told = np.asarray((places >= 0).any(axis=1), np.bool_)
        named = (np.arange(len(magnitudes)) == places[:, :, None]).any(axis=1)
        chosen = np.where(told[:, None], named, True)
        largest = np.max(np.where(chosen & ~np.isnan(found), found, -np.inf), axis=1)
        return np.asarray(np.where(np.isinf(largest), np.nan, largest))

    def _conditions(self, rows: _Rows) -> dict[str, Bools]:
        """What is wrong with each row, by cause."""
        p, block, device = self.parameters, rows.block, rows.block.device
        is_pmu = block.schema is Schema.PHASOR
        nominal_hz = self.fleet.nominal_hz[device]
        off = np.abs(rows.frequency_hz - nominal_hz) > p.frequency_ratio * nominal_hz
        ratio = p.pmu_voltage_ratio if is_pmu else p.meter_voltage_ratio
        dark = rows.voltage_v < ratio * self.fleet.nominal_voltage_v[device]
        stat = block.quality & Quality.STAT_MASK
        never = np.zeros(len(block), bool)
        replayed = block.origin.provenance is Provenance.REPLAYED
        return {
            "freeze": self._frozen(rows),
            "near-zero": dark & ~(off & is_pmu),
            "idle": dark & off & is_pmu,
            "frequency": off & ~(dark & is_pmu),
            "register": rows.register_wh < rows.register_before_wh - p.register_step_wh,
            "data-error": (stat & _DATA_ERROR) != 0 if is_pmu else never,
            "not-in-sync": (stat & _NOT_IN_SYNC) != 0 if is_pmu else never,
            "gap": self._missing(rows),
            "stamp": never if replayed else (block.quality & Quality.OUT_OF_WINDOW) != 0,
        }

    def _frozen(self, rows: _Rows) -> Bools:
        hashes, nonzero = _hashes(rows.block)
        return np.asarray((hashes == rows.runs.before(hashes, self._state["last_hash"])) & nonzero)

    def _missing(self, rows: _Rows) -> Bools:
        """Longer than usual without data; the usual interval is the shortest of the device's first ones."""
        p, runs, state = self.parameters, rows.runs, self._state
        step = np.where(np.isnan(rows.gap_s), np.inf, rows.gap_s * NS_PER_S)
        position = np.arange(len(step)) - np.flatnonzero(runs.first)[np.cumsum(runs.first) - 1]
        count = state["intervals"][rows.block.device] + position
        early = np.isfinite(step) & (count < _FIRST_INTERVALS + 1)
        np.minimum.at(state["interval_ns"], rows.block.device[early], step[early].astype(np.int64))
        limit = np.maximum(p.gap_intervals * state["interval_ns"][rows.block.device], p.gap_least_s * NS_PER_S)
        return np.asarray(np.isfinite(step) & (count > _FIRST_INTERVALS) & (step > limit))

    def _judge(self, rows: _Rows, conditions: Mapping[str, Bools]) -> list[Finding]:
        findings = []
        is_pmu = rows.block.schema is Schema.PHASOR
        needed = self.parameters.pmu_rows if is_pmu else self.parameters.meter_rows
        good_needed = self.parameters.pmu_good_rows if is_pmu else self.parameters.meter_good_rows
        for cause, bad in conditions.items():
            c = CAUSES.index(cause)
            bad_run = rows.runs.lengths(bad, self._state["bad_run"][:, c])
            good_run = rows.runs.lengths(~bad, self._state["good_run"][:, c])
            since = self._since(rows, bad_run, c)
            for row in self._raised(rows.runs, bad_run == needed[cause], good_run == good_needed, c):
                findings.append(self._finding(rows, row, cause, int(bad_run[row]), int(since[row])))
            self._keep_runs(rows.runs, c, bad_run, good_run, since)
        return findings

    def _since(self, rows: _Rows, bad_run: I64, c: int) -> I64:
        """Time of the first row of each row's bad run."""
        place = np.arange(len(bad_run))
        start = place - bad_run + 1
        group = np.flatnonzero(rows.runs.first)[np.cumsum(rows.runs.first) - 1]
        here = rows.block.time_ns[np.clip(start, 0, len(bad_run) - 1)]
        return np.asarray(np.where(start >= group, here, self._state["since_ns"][rows.block.device, c]), np.int64)

    def _raised(self, runs: Runs, on: Bools, off: Bools, c: int) -> Iterator[int]:
        """Rows at which a cause becomes active; walks over the few changes only."""
        active = self._state["active"]
        for row in np.flatnonzero(on | off):
            device = runs.device[row]
            if on[row] and not active[device, c]:
                yield int(row)
            active[device, c] = on[row]

    def _keep_runs(self, runs: Runs, c: int, bad_run: I64, good_run: I64, since: I64) -> None:
        device = runs.device[runs.last]
        self._state["bad_run"][device, c] = bad_run[runs.last]
        self._state["good_run"][device, c] = good_run[runs.last]
        self._state["since_ns"][device, c] = since[runs.last]

    def _remember(self, rows: _Rows) -> None:
        state, last = self._state, rows.runs.last
        device = rows.runs.device[last]
        state["last_ns"][device] = rows.block.time_ns[last]
        state["last_hash"][device] = _hashes(rows.block)[0][last]
        state["register_wh"][device] = _register(rows.block)[last]
        np.add.at(state["intervals"], rows.runs.device, 1)

    def _finding(self, rows: _Rows, row: int, cause: str, run: int, since_ns: int) -> Finding:
        sight = self._sight(rows, row, run)
        said = WORDS[cause](sight)
        device, site = int(rows.runs.device[row]), self.fleet.site
        return Finding(
            finding_id=stable_id("finding", site, self.name, device, cause, since_ns),
            site=site,
            kind=FindingKind.DATA_QUALITY,
            detector=self.name,
            detector_version=self.version,
            devices=(device,),
            start=to_datetime(since_ns),
            end=to_datetime(int(rows.block.time_ns[row])),
            severity=said.severity,
            score=said.score,
            probability=_SURE,
            title=said.title,
            explanation=said.explanation,
            evidence=said.evidence,
            missing=(),
            causes=said.causes,
            technique=said.technique,
            provenance=rows.block.origin.provenance,
        )

    def _sight(self, rows: _Rows, row: int, run: int) -> Sight:
        block, device = rows.block, int(rows.runs.device[row])
        return Sight(
            device=self.fleet.names[device],
            is_pmu=block.schema is Schema.PHASOR,
            rows=run,
            frequency_hz=float(rows.frequency_hz[row]),
            nominal_hz=float(self.fleet.nominal_hz[device]),
            voltage_v=float(rows.voltage_v[row]),
            nominal_voltage_v=float(self.fleet.nominal_voltage_v[device]),
            register_wh=float(rows.register_wh[row]),
            register_before_wh=float(rows.register_before_wh[row]),
            gap_s=float(rows.gap_s[row]),
            interval_s=float(self._state["interval_ns"][device]) / NS_PER_S,
            stat=int(block.quality[row]) & Quality.STAT_MASK,
            delay_s=float(block.received_ns[row] - block.time_ns[row]) / NS_PER_S,
        )


def _register(block: Block) -> F64:
    """Import and export register in Wh, (n, 2); NaN for phasors."""
    if block.schema is not Schema.METER:
        return np.full((len(block), 2), np.nan)
    return np.column_stack([block.column("energy_import_wh"), block.column("energy_export_wh")])


def _hashes(block: Block) -> tuple[np.typing.NDArray[np.uint64], Bools]:
    """One number per row for all momentary measurements, and whether any of them is non-zero.

    Registers may stand still and frequency is common to all, so both stay out.
    """
    out = ("energy", "frequency", "rocof", "analog", "digital")
    chosen: Index = np.array([i for i, c in enumerate(block.columns) if not c.startswith(out)], np.intp)
    values = np.ascontiguousarray(block.values[:, chosen], np.float64)
    keys = _MIX * np.arange(1, 2 * len(chosen), 2, dtype=np.uint64)
    bits = values.view(np.uint64)
    mixed = (bits ^ (bits >> np.uint64(29))) * keys
    return np.asarray(mixed.sum(axis=1, dtype=np.uint64)), np.asarray((np.nan_to_num(values) != 0).any(axis=1))
