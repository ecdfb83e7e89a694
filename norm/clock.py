"""Clocks of meters and PMUs: how far they are off, as functions of time."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.block import F64, I64
from norm.area import seconds
from norm.chance import bell, between, stream_key
from norm.load import Ints


@dataclass(frozen=True, eq=False)
class Clock:
    """A constant part, a slow wander and white jitter per unit, all bounded and in seconds; positive: ahead of UTC.

    A GNSS-disciplined PMU is within a microsecond and says so; a meter kept by network time within 50 ms.
    """

    seed: int
    name: str
    numbers: Ints
    constant_s: float
    wander_s: float
    jitter_s: float
    _constant_s: F64 = field(init=False, repr=False)
    _omega: F64 = field(init=False, repr=False)
    _phase: F64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        key, n = stream_key(self.seed, f"{self.name}.constant"), self.numbers
        object.__setattr__(self, "_constant_s", between(-self.constant_s, self.constant_s, key, n, 0))
        object.__setattr__(self, "_omega", 2.0 * np.pi / between(1_800.0, 14_400.0, key, n, 1))
        object.__setattr__(self, "_phase", between(0.0, 2.0 * np.pi, key, n, 2))

    def offset_s(self, time_ns: I64) -> F64:
        """Error of every clock at every time, shape (n, u)."""
        wander = self.wander_s * np.sin(seconds(time_ns)[:, None] * self._omega + self._phase)
        jitter = bell(stream_key(self.seed, f"{self.name}.jitter"), self.numbers, time_ns[:, None])
        return np.asarray(self._constant_s + wander + self.jitter_s * jitter)


def pmu_clock(seed: int, site: str, numbers: Ints) -> Clock:
    """Clocks disciplined by satellites: 0.2 us constant, 0.1 us wander, 50 ns jitter."""
    return Clock(seed, f"{site}.clock.pmu", numbers, 2e-7, 1e-7, 5e-8)


def meter_clock(seed: int, site: str, numbers: Ints) -> Clock:
    """Clocks kept by network time: 15 ms constant, 5 ms wander, 1 ms jitter."""
    return Clock(seed, f"{site}.clock.meter", numbers, 0.015, 0.005, 0.001)
