"""The sealed meter: what its registers and momentary quantities make of the true waveform at the terminals."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.block import F64
from norm.chance import bell, between, stream_key
from norm.grid import C128
from norm.load import Ints

# Resolution of what leaves the smart part, per unit of METER_COLUMNS.
ENERGY_STEP_WH = 0.1
POWER_STEP_W = 0.1
VOLTAGE_STEP_V = 0.01
CURRENT_STEP_A = 0.001
FREQUENCY_STEP_HZ = 0.001
_POWER_LIMIT = 0.005  # of a meter of class C (EN 50470-3: 0.5 %)
_VOLTAGE_LIMIT = 0.002
_NOISE = 0.0003


@dataclass(frozen=True, eq=False)
class Metrology:
    """Constant gain errors per unit, within the limits of class C, and small white noise on momentary quantities."""

    seed: int
    site: str
    numbers: Ints
    power_gain: F64 = field(init=False, repr=False)
    voltage_gain: F64 = field(init=False, repr=False)
    current_gain: F64 = field(init=False, repr=False)

    def __post_init__(self) -> None:
        key, n = self._key("gain"), self.numbers[:, None]
        object.__setattr__(self, "power_gain", 1.0 + between(-_POWER_LIMIT, _POWER_LIMIT, key, self.numbers, 0))
        object.__setattr__(
            self, "voltage_gain", 1.0 + between(-_VOLTAGE_LIMIT, _VOLTAGE_LIMIT, key, n, np.arange(1, 4))
        )
        object.__setattr__(
            self, "current_gain", 1.0 + between(-_VOLTAGE_LIMIT, _VOLTAGE_LIMIT, key, n, np.arange(4, 7))
        )

    def _key(self, name: str) -> np.uint64:
        return stream_key(self.seed, f"{self.site}.meter.{name}")

    def momentary(self, second: int, voltage_v: C128, current_a: C128, frequency_hz: float) -> F64:
        """Power, reactive power, voltages, currents, frequency as measured, (u, 9), of the phasors (u, 3) of a tick."""
        noise = 1.0 + _NOISE * bell(self._key("noise"), self.numbers[:, None], second, np.arange(9))
        apparent = (voltage_v * np.conj(current_a)).sum(axis=1)
        values = np.column_stack(
            [
                apparent.real * self.power_gain,
                apparent.imag * self.power_gain,
                np.abs(voltage_v) * self.voltage_gain,
                np.abs(current_a) * self.current_gain,
                np.full(len(voltage_v), frequency_hz),
            ]
        )
        noise[:, 2:5] = 1.0 + (noise[:, 2:5] - 1.0) * 0.3
        noise[:, 8] = 1.0 + (noise[:, 8] - 1.0) * 0.01
        return np.asarray(values * noise)

    def register_wh(self, true_wh: F64) -> F64:
        """What the sealed register stands at, before it is cut to its resolution."""
        return np.asarray(true_wh * self.power_gain)


MOMENTARY_STEPS = np.array(
    [POWER_STEP_W] * 2 + [VOLTAGE_STEP_V] * 3 + [CURRENT_STEP_A] * 3 + [FREQUENCY_STEP_HZ], np.float64
)


def cut_register(energy_wh: F64) -> F64:
    """Registers count full steps only."""
    return np.round(np.floor(energy_wh / ENERGY_STEP_WH + 1e-9) * ENERGY_STEP_WH, 6)


def round_momentary(values: F64) -> F64:
    """Momentary quantities (u, 9) in their resolution."""
    return np.round(np.round(values / MOMENTARY_STEPS) * MOMENTARY_STEPS, 6)
