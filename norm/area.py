"""The synchronous area: frequency, phase and the voltage behind the transformers, common to all feeders.

The frequency is a sum of cosines with random phases whose amplitudes fall like those of a random walk; frequency,
its slope and the phase are thus closed forms of time, and agree with each other exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.block import F64, I64
from model.time import NS_PER_S
from norm.chance import stream_key, uniform

NOMINAL_HZ = 50.0
FREQUENCY_SD_HZ = 0.012
_PERIODS_S = 5.0 * 1.618033988749895 ** np.arange(16)  # 5 s to about 2 h, no two commensurate
_ORIGIN_S = 1_767_225_600  # 2026-01-01 UTC; small numbers keep the cosines' arguments exact


def seconds(time_ns: I64) -> F64:
    """Seconds since the origin of the simulated world, exact to 10 ns for decades."""
    whole, rest = np.divmod(np.asarray(time_ns, np.int64), NS_PER_S)
    return np.asarray((whole - _ORIGIN_S) + rest / NS_PER_S)


@dataclass(frozen=True, eq=False)
class Area:
    """One synchronous area; the same seed gives the same frequency to every operator in it."""

    seed: int
    _omega: F64 = field(init=False, repr=False)
    _phase: F64 = field(init=False, repr=False)
    _amplitude_hz: F64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        number = np.arange(len(_PERIODS_S))
        weight = np.sqrt(_PERIODS_S)
        object.__setattr__(self, "_omega", 2.0 * np.pi / _PERIODS_S)
        object.__setattr__(self, "_phase", 2.0 * np.pi * uniform(stream_key(self.seed, "area.frequency"), number))
        object.__setattr__(
            self, "_amplitude_hz", FREQUENCY_SD_HZ * 2.0**0.5 * weight / float(np.sqrt((weight**2).sum()))
        )

    def frequency_hz(self, time_ns: I64) -> F64:
        """Frequency in Hz, shape of `time_ns`."""
        return np.asarray(NOMINAL_HZ + np.cos(self._argument(time_ns)) @ self._amplitude_hz)

    def rocof_hz_per_s(self, time_ns: I64) -> F64:
        """Slope of the frequency in Hz/s."""
        return np.asarray(-np.sin(self._argument(time_ns)) @ (self._amplitude_hz * self._omega))

    def phase_rad(self, time_ns: I64) -> F64:
        """Angle against a cosine of exactly nominal frequency: the integral of 2 pi (f - nominal)."""
        return np.asarray(np.sin(self._argument(time_ns)) @ (2.0 * np.pi * self._amplitude_hz / self._omega))

    def source_pu(self, time_ns: I64) -> F64:
        """Voltage behind the transformers per unit: slow, within 1.5 percent of 1.01."""
        argument = self._argument(time_ns)[..., 8:]
        return np.asarray(1.01 + 0.015 / argument.shape[-1] * np.sin(argument + 1.0).sum(axis=-1))

    def _argument(self, time_ns: I64) -> F64:
        return np.asarray(seconds(time_ns)[..., None] * self._omega + self._phase)
