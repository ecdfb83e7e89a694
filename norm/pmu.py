"""The phasor unit behind the same terminals: instrument error, noise, and a clock that may lie."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from model.block import F64, I64
from norm.area import NOMINAL_HZ
from norm.chance import bell, between, stream_key
from norm.grid import C128
from norm.load import Ints

U16 = npt.NDArray[np.uint16]

CHANNELS = ("VA", "VB", "VC", "IA", "IB", "IC")
STAT_WITHIN_1_US = 2 << 6  # PMU_TQ: the clock believes itself within 1 us; a spoofed one still does
_GAIN_LIMIT = 0.002  # of voltage and current transducers
_ANGLE_LIMIT_RAD = np.deg2rad(0.1)
_MAGNITUDE_NOISE = 0.0002
_ANGLE_NOISE_RAD = 0.0003  # with the magnitude's noise a TVE of 0.04 %
_FREQUENCY_NOISE_HZ = 0.0005
_ROCOF_NOISE_HZ_PER_S = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class PmuFrames:
    """Frames of all PMUs of a fleet: time (n,), STAT, frequency and ROCOF (n, u), phasors (n, u, 6) rms in V and A.

    Angles are against a cosine of nominal frequency at the stamped time, as IEC/IEEE 60255-118-1 has it.
    """

    time_ns: I64
    stat: U16
    phasors: C128
    frequency_hz: F64
    rocof_hz_per_s: F64


@dataclass(frozen=True, eq=False)
class PhasorUnits:
    """All PMUs of a site."""

    seed: int
    site: str
    numbers: Ints
    _gain: C128 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n, channel = self.numbers[:, None], np.arange(len(CHANNELS))
        gain = 1.0 + between(-_GAIN_LIMIT, _GAIN_LIMIT, self._key("gain"), n, channel)
        angle = between(-_ANGLE_LIMIT_RAD, _ANGLE_LIMIT_RAD, self._key("angle"), n, channel)
        object.__setattr__(self, "_gain", gain * np.exp(1j * angle))

    def _key(self, name: str) -> np.uint64:
        return stream_key(self.seed, f"{self.site}.pmu.{name}")

    def measure(
        self, time_ns: I64, truth: C128, frequency_hz: F64, rocof_hz_per_s: F64, clock_s: F64, clock_rate: F64
    ) -> PmuFrames:
        """Frames stamped `time_ns` (n,): true phasors (n, u, 6) at those times, frequency and ROCOF (n,), the clocks'
        offsets in s and their rates in s/s (n, u).

        A clock ahead by t stamps too late a time on what it sees: all phasors turn back by 2 pi f t, and a clock that
        gains makes the frequency look lower by its rate. Magnitudes and powers stay as they are.
        """
        key_time, n = time_ns[:, None, None], self.numbers[:, None]
        channel = np.arange(len(CHANNELS))
        magnitude = 1.0 + _MAGNITUDE_NOISE * bell(self._key("magnitude"), n, key_time, channel)
        turn = -2.0 * np.pi * frequency_hz[:, None] * clock_s
        angle = turn[..., None] + _ANGLE_NOISE_RAD * bell(self._key("phase"), n, key_time, channel)
        noise_hz = _FREQUENCY_NOISE_HZ * bell(self._key("frequency"), self.numbers, time_ns[:, None])
        noise_hz_per_s = _ROCOF_NOISE_HZ_PER_S * bell(self._key("rocof"), self.numbers, time_ns[:, None])
        return PmuFrames(
            time_ns=time_ns,
            stat=np.full(clock_s.shape, STAT_WITHIN_1_US, np.uint16),
            phasors=truth * self._gain * magnitude * np.exp(1j * angle),
            frequency_hz=frequency_hz[:, None] - NOMINAL_HZ * clock_rate + noise_hz,
            rocof_hz_per_s=rocof_hz_per_s[:, None] + noise_hz_per_s,
        )
