"""A fleet of software NORMs at one site: one true waveform, and what meters and PMUs make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.block import F64, I64
from model.time import NS_PER_S
from norm.area import Area
from norm.chance import between, stream_key
from norm.clock import meter_clock, pmu_clock
from norm.energy import COMMISSIONED_DAY, Energies
from norm.feeder import BASE_VOLTAGE_V, FEEDERS, Line
from norm.grid import C128, ROTATION, Grid, connect, currents
from norm.load import SLOT_S, Ints, Population, slot_ticks
from norm.metrology import Metrology, cut_register, round_momentary
from norm.pmu import PhasorUnits, PmuFrames
from norm.scenario import Injection, clock_error_s, load_scale, reported_scale, source_angle_rad

_SERVICE_M = (10.0, 40.0)
_STAMP_STEP_NS = 1_000_000  # meters stamp in whole milliseconds


@dataclass(frozen=True, slots=True, eq=False)
class MeterSamples:
    """One reading of every meter: its own stamp (u,), a sequence number (u,), and values (u, 11) as METER_COLUMNS."""

    time_ns: I64
    sequence: I64
    values: F64


@dataclass(frozen=True, slots=True, eq=False)
class Terminals:
    """The truth at the terminals in some ticks: phasors (t, u, 3) in V and A, without the area's phase."""

    voltage_v: C128
    current_a: C128


class Fleet:
    """Units 1 to `units` of a site, spread over its feeders.

    A value at a time depends on seed, site, unit, time and the injections only: another fleet made alike continues it.
    The area's frequency depends on the seed alone, so sites of one seed share it.
    """

    def __init__(
        self,
        seed: int,
        site: str,
        units: int,
        injections: Sequence[Injection] = (),
        commissioned_day: int = COMMISSIONED_DAY,
    ) -> None:
        self.seed, self.site, self.injections = seed, site, tuple(injections)
        self.numbers: Ints = np.arange(1, units + 1)
        self.names = tuple(f"norm-{number:04d}" for number in self.numbers)
        self.area = Area(seed)
        self.population = Population(seed, site, self.numbers)
        self.energies = Energies(self.population, commissioned_day)
        self.metrology = Metrology(seed, site, self.numbers)
        self.phasor_units = PhasorUnits(seed, site, self.numbers)
        self.feeder_of = tuple(FEEDERS[i % len(FEEDERS)] for i in range(units))
        self._grids = self._connect()
        self._pmu_clock = pmu_clock(seed, site, self.numbers)
        self._meter_clock = meter_clock(seed, site, self.numbers)
        self._site_angle_rad = float(between(-0.5, 0.5, stream_key(seed, f"{site}.angle"), 0))
        self._edge_wh: dict[int, tuple[F64, F64]] = {}

    def _connect(self) -> list[tuple[Ints, Grid]]:
        """Per feeder: positions of its units in the fleet, and its grid."""
        length_m = between(*_SERVICE_M, stream_key(self.seed, f"{self.site}.service"), self.numbers)
        grids = []
        for f, feeder in enumerate(FEEDERS):
            chosen = np.arange(f, len(self.numbers), len(FEEDERS))
            if not len(chosen):
                continue
            buses = feeder.load_buses
            services = [
                Line(buses[i % len(buses)], self.names[u], "SERVICE", float(length_m[u])) for i, u in enumerate(chosen)
            ]
            grids.append((chosen, connect(feeder, services)))
        return grids

    def power_va(self, second: int) -> C128:
        """Complex power taken from the grid in the tick of `second` (since 1970), (u, 3) VA; negative: fed in."""
        slot, tick = divmod(second, SLOT_S)
        ticks = slot_ticks(self.population, slot)
        scale = load_scale(self.injections, self.numbers, second * NS_PER_S)[:, None]
        load = (ticks.load_w[:, tick] + 1j * ticks.load_var[:, tick]) * scale
        return np.asarray(load - ticks.generation_w[:, tick])

    def terminals(self, seconds: Ints) -> Terminals:
        """The truth at the terminals in the ticks of `seconds`."""
        power = np.stack([self.power_va(int(second)) for second in seconds])
        magnitude = self.area.source_pu(seconds * NS_PER_S) * BASE_VOLTAGE_V
        source = magnitude[:, None] * ROTATION
        voltage = np.empty_like(power)
        for chosen, grid in self._grids:
            voltage[:, chosen] = grid.voltages(source, power[:, chosen])
        return Terminals(voltage, currents(power, voltage))

    def pmu_frames(self, time_ns: I64) -> PmuFrames:
        """Frames of all PMUs stamped with the given times, (n,) ns since 1970."""
        seconds, place = np.unique(time_ns // NS_PER_S, return_inverse=True)
        truth = self.terminals(seconds)
        phase = self.area.phase_rad(time_ns) + self._site_angle_rad + source_angle_rad(self.injections, time_ns)
        phasors = np.concatenate([truth.voltage_v, truth.current_a], axis=2)[place] * np.exp(1j * phase)[:, None, None]
        spoof_s, spoof_rate = clock_error_s(self.injections, self.numbers, time_ns)
        return self.phasor_units.measure(
            time_ns,
            phasors,
            self.area.frequency_hz(time_ns),
            self.area.rocof_hz_per_s(time_ns),
            self._pmu_clock.offset_s(time_ns) + spoof_s,
            spoof_rate,
        )

    def meter_samples(self, time_ns: int) -> MeterSamples:
        """What the smart parts report of the moment `time_ns`."""
        second = time_ns // NS_PER_S
        truth = self.terminals(np.array([second]))
        frequency = float(self.area.frequency_hz(np.array(time_ns)))
        momentary = self.metrology.momentary(second, truth.voltage_v[0], truth.current_a[0], frequency)
        momentary[:, 0] *= reported_scale(self.injections, self.numbers, time_ns)
        consistent = reported_scale(self.injections, self.numbers, time_ns, consistent=True)[:, None]
        momentary[:, [1, 5, 6, 7]] *= consistent
        energies = [cut_register(register) for register in self._reported_wh(time_ns)]
        stamps = time_ns + np.rint(self._meter_clock.offset_s(np.array([time_ns]))[0] * NS_PER_S).astype(np.int64)
        return MeterSamples(
            time_ns=stamps // _STAMP_STEP_NS * _STAMP_STEP_NS,
            sequence=np.full(len(self.numbers), time_ns // 1_000_000, np.int64),
            values=np.column_stack([*energies, round_momentary(momentary)]),
        )

    def true_energies_wh(self, time_ns: int) -> tuple[F64, F64]:
        """Energy consumed and generated behind the terminals since commissioning, each (u,).

        Consumption and generation are two branches, each with its own register (gross metering), so that import
        minus export is the integral of power in every case.
        """
        consumed, generated = self._untouched_wh(time_ns)
        for injection in self._begun("twin-load-drop", time_ns):
            begin = self._untouched_wh(injection.start_ns)[0]
            until = self._untouched_wh(min(time_ns, injection.end_ns))[0]
            consumed = consumed + injection.hits(self.numbers) * (injection.strength - 1.0) * (until - begin)
        return consumed, generated

    def _reported_wh(self, time_ns: int) -> list[F64]:
        """Registers as the smart parts report them: from the start of a tampering on they grow by its factor."""
        registers = self._sealed_wh(time_ns)
        for injection in self._begun("s01", time_ns):
            begin = self._sealed_wh(injection.start_ns)
            until = self._sealed_wh(min(time_ns, injection.end_ns))
            lost = injection.hits(self.numbers) * (injection.strength - 1.0)
            registers = [r + lost * (u - b) for r, u, b in zip(registers, until, begin, strict=True)]
        return registers

    def _sealed_wh(self, time_ns: int) -> list[F64]:
        return [self.metrology.register_wh(energy) for energy in self.true_energies_wh(time_ns)]

    def _begun(self, name: str, time_ns: int) -> list[Injection]:
        return [x for x in self.injections if x.kind.name.startswith(name) and time_ns > x.start_ns]

    def _untouched_wh(self, time_ns: int) -> tuple[F64, F64]:
        """Energies without any injection; those at injections' edges are remembered."""
        if time_ns in self._edge_wh:
            return self._edge_wh[time_ns]
        energies = self.energies.at(time_ns)
        if any(time_ns in (x.start_ns, x.end_ns) for x in self.injections):
            self._edge_wh[time_ns] = energies
        return energies
