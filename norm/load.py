"""What customers consume and generate: every unit its own mixture, reproducible for any moment on its own.

Power is held for one second (a tick). A unit consumes a base load (slow noise of several octaves, given at the slots'
edges and linear between them), rectangles (fridge, appliances, heat pump, electric vehicle) and fast AR(1) noise whose
sum over a slot of 15 minutes is zero; it may generate by PV. Energy over slots and days is therefore a closed form,
equal to the sum over the ticks. Times are UTC; each unit has its own habit shift, so no civil time and no DST enters.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from model.block import F64
from norm.chance import bell, between, stream_key, uniform

TICK_S = 1
SLOT_S = 900
SLOTS = 96
DAY_S = 86_400
WH_PER_WS = 1.0 / 3600.0

_AR = 0.8  # correlation of the fast noise from tick to tick
_TAPS = 24  # 0.8^24 = 0.5 %: what is cut off
_AR_NORM = (1.0 - _AR**2) ** 0.5
_NOISE_SHARE = 0.03  # standard deviation of the fast noise over the unit's mean base load
_OCTAVES = ((1, 0.20), (4, 0.15), (24, 0.10))  # length in slots, share of the base load
_LATITUDE_RAD = np.deg2rad(50.0)

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Appliance:
    """One family of rectangles: `count` windows of `window_s` from `first_s`, at most one run in each."""

    name: str
    count: int
    first_s: int
    window_s: int
    latest_s: int  # latest start in its window
    duration_s: tuple[int, int]  # a run always ends inside its day
    power_w: tuple[float, float]
    chance: float  # that a window has a run
    tan_phi: float
    owners: float  # share of units that have it
    three_phase: float  # share of its owners fed by three phases


_APPLIANCES = (
    _Appliance("fridge", 24, 0, 3_600, 1_500, (600, 1_500), (80.0, 140.0), 1.0, 0.5, 1.0, 0.0),
    _Appliance("appliance", 16, 14_400, 4_200, 3_000, (60, 1_200), (300.0, 2_500.0), 0.6, 0.08, 1.0, 0.2),
    _Appliance("heatpump", 32, 0, 2_700, 900, (600, 1_700), (1_500.0, 3_200.0), 0.9, 0.35, 0.35, 1.0),
    _Appliance("vehicle", 1, 54_000, 32_400, 18_000, (3_600, 14_400), (3_300.0, 3_700.0), 0.6, 0.05, 0.25, 0.0),
)


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Rectangles of a day: start and end in ticks of the day, (u, k); power and reactive power by phase, (u, k, 3)."""

    start: Ints
    end: Ints
    power_w: F64
    reactive_var: F64


@dataclass(frozen=True, slots=True, eq=False)
class Ticks:
    """One slot tick by tick, shapes (u, 900, 3): consumed power and reactive power, generated power."""

    load_w: F64
    load_var: F64
    generation_w: F64


@dataclass(frozen=True, eq=False)
class Population:
    """Loads of the units with these numbers; each is the same whoever else is in the fleet."""

    seed: int
    site: str
    numbers: Ints  # (u,) number of each unit at its site
    base_w: F64 = field(init=False, repr=False)
    pv_w: F64 = field(init=False, repr=False)
    split: F64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = self.numbers
        raw = between(0.15, 1.0, self._key("split"), n[:, None], np.arange(3))
        has_pv = uniform(self._key("pv.owner"), n) < 0.3
        object.__setattr__(self, "base_w", 180.0 * np.exp(0.4 * bell(self._key("base"), n)))
        object.__setattr__(self, "pv_w", np.where(has_pv, between(3_000.0, 9_000.0, self._key("pv.size"), n), 0.0))
        object.__setattr__(self, "split", raw / raw.sum(axis=1, keepdims=True))

    def _key(self, name: str) -> np.uint64:
        return stream_key(self.seed, f"{self.site}.load.{name}")

    def base_nodes_w(self, slots: Ints) -> F64:
        """Base load at the beginnings of slots (counted since 1970), shape (u, len(slots)), W over all phases."""
        n = self.numbers[:, None]
        shift = between(-6.0, 6.0, self._key("habit"), n)
        hour = 2.0 * np.pi * (slots + shift) / SLOTS
        habit = 1.0 - 0.25 * np.cos(hour) - 0.15 * np.cos(2.0 * hour + 0.8)
        noise = np.zeros((len(self.numbers), len(slots)))
        for length, share in _OCTAVES:
            index, place = slots // length, (slots % length) / length
            left = 2.0 * uniform(self._key(f"octave{length}"), n, index) - 1.0
            right = 2.0 * uniform(self._key(f"octave{length}"), n, index + 1) - 1.0
            noise += share * (left * (1.0 - place) + right * place)
        return np.asarray(self.base_w[:, None] * habit * (1.0 + noise))

    def pv_nodes_w(self, slots: Ints) -> F64:
        """PV power at the beginnings of slots, shape (u, len(slots)), W on the unit's first phase."""
        day, of_day = slots // SLOTS, slots % SLOTS
        declination = -0.4091 * np.cos(2.0 * np.pi * (day % 365.25 + 10.0) / 365.25)
        hour_angle = 2.0 * np.pi * (of_day - SLOTS / 2) / SLOTS
        height = np.sin(_LATITUDE_RAD) * np.sin(declination) + np.cos(_LATITUDE_RAD) * np.cos(declination) * np.cos(
            hour_angle
        )
        sky = between(0.25, 1.0, self._key("sky"), slots // 4)  # one sky over the site, by the hour
        cloud = between(0.8, 1.0, self._key("cloud"), self.numbers[:, None], slots)
        return np.asarray(self.pv_w[:, None] * 0.85 * np.maximum(height, 0.0) * sky * cloud)

    def runs(self, day: int) -> Runs:
        """All rectangles of one day (counted since 1970)."""
        parts = [self._runs_of(appliance, day) for appliance in _APPLIANCES]
        return Runs(*(np.concatenate(columns, axis=1) for columns in zip(*parts, strict=True)))

    def _runs_of(self, kind: _Appliance, day: int) -> tuple[Ints, Ints, F64, F64]:
        n, window = self.numbers[:, None], np.arange(kind.count)
        key = self._key(kind.name)
        owns = uniform(key, n, -1, 0) < kind.owners
        happens = owns & (uniform(key, n, day, window, 0) < kind.chance)
        offset = between(0.0, kind.latest_s + 1.0, key, n, day, window, 1).astype(np.int64)
        low, high = kind.duration_s
        duration = between(low, high + 1.0, key, n, day, window, 2).astype(np.int64)
        start = kind.first_s + window * kind.window_s + offset
        power = happens * between(*kind.power_w, key, n, day, window, 3)
        phases = self._phases(kind, key)[:, None, :]
        return start, start + duration, power[..., None] * phases, power[..., None] * phases * kind.tan_phi

    def _phases(self, kind: _Appliance, key: np.uint64) -> F64:
        """Share of each phase in an appliance's power, (u, 3)."""
        n = self.numbers
        phase = between(0.0, 3.0, key, n, -1, 1).astype(np.int64)
        single = np.eye(3)[phase]
        three = (uniform(key, n, -1, 2) < kind.three_phase)[:, None]
        return np.where(three, np.full(3, 1.0 / 3.0), single)

    def ticks(self, slot: int) -> Ticks:
        """One slot (counted since 1970), second by second."""
        middle = (np.arange(SLOT_S) + 0.5) / SLOT_S
        edges = np.array([slot, slot + 1])
        base = self.base_nodes_w(edges)
        level = base[:, :1] * (1.0 - middle) + base[:, 1:] * middle + self._noise_w(slot)
        pv = self.pv_nodes_w(edges)
        sun = pv[:, :1] * (1.0 - middle) + pv[:, 1:] * middle
        runs = self.runs(slot // SLOTS)
        load_w = level[..., None] * self.split[:, None, :]
        load_var = load_w * between(0.15, 0.35, self._key("tanphi"), self.numbers)[:, None, None]
        first = slot % SLOTS * SLOT_S
        here = np.nonzero((runs.end > first) & (runs.start < first + SLOT_S) & (runs.power_w.sum(axis=2) > 0.0))
        for u, k in zip(*here, strict=True):
            span = slice(max(int(runs.start[u, k]) - first, 0), min(int(runs.end[u, k]) - first, SLOT_S))
            load_w[u, span] += runs.power_w[u, k]
            load_var[u, span] += runs.reactive_var[u, k]
        return Ticks(load_w, load_var, sun[..., None] * np.array([1.0, 0.0, 0.0]))

    def _noise_w(self, slot: int) -> F64:
        """AR(1) noise of sum zero over the slot, (u, 900) W over all phases."""
        tick = np.arange(-_TAPS, SLOT_S) + slot * SLOT_S
        shock = bell(self._key("noise"), self.numbers[:, None], tick)
        noise = np.zeros((len(self.numbers), SLOT_S))
        for lag in range(_TAPS + 1):
            noise += _AR**lag * shock[:, _TAPS - lag : _TAPS - lag + SLOT_S]
        noise *= _AR_NORM * _NOISE_SHARE * self.base_w[:, None]
        return np.asarray(noise - noise.mean(axis=1, keepdims=True))

    def slot_energy_wh(self, day: int) -> tuple[F64, F64]:
        """Consumed and generated energy in the 96 slots of a day, each (u, 96), in closed form."""
        edges = day * SLOTS + np.arange(SLOTS + 1)
        base, pv = self.base_nodes_w(edges), self.pv_nodes_w(edges)
        consumed = (base[:, :-1] + base[:, 1:]) * (SLOT_S / 2.0)
        generated = (pv[:, :-1] + pv[:, 1:]) * (SLOT_S / 2.0)
        runs = self.runs(day)
        power = runs.power_w.sum(axis=2)
        consumed += _overlap_ws(runs.start, runs.end, power)
        return consumed * WH_PER_WS, generated * WH_PER_WS

    def day_energy_wh(self, day: int) -> tuple[F64, F64]:
        """Consumed and generated energy of a day, each (u,), without cutting the rectangles at slots."""
        edges = day * SLOTS + np.arange(SLOTS + 1)
        weight = np.full(SLOTS + 1, float(SLOT_S))
        weight[[0, -1]] = SLOT_S / 2.0
        runs = self.runs(day)
        boxes = (runs.power_w.sum(axis=2) * (runs.end - runs.start)).sum(axis=1)
        consumed = (self.base_nodes_w(edges) * weight).sum(axis=1) + boxes
        return consumed * WH_PER_WS, (self.pv_nodes_w(edges) * weight).sum(axis=1) * WH_PER_WS


def _overlap_ws(start: Ints, end: Ints, power_w: F64) -> F64:
    """Energy of rectangles (u, k) in each slot of the day, (u, 96) Ws: differences of a running ramp at slot edges."""
    total = np.zeros((len(start), SLOTS + 1))
    edges = np.arange(SLOTS + 1) * SLOT_S
    for k in range(start.shape[1]):
        seconds = np.clip(edges, start[:, k, None], end[:, k, None]) - start[:, k, None]
        total += power_w[:, k, None] * seconds
    return np.diff(total, axis=1)


@lru_cache(maxsize=4)
def slot_ticks(population: Population, slot: int) -> Ticks:
    """`Population.ticks`, remembered for the slots in use."""
    return population.ticks(slot)
