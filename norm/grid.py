"""Three-phase power flow of a radial low-voltage feeder by the Z-bus fixed point V = w + Z conj(S/V)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from norm.feeder import Feeder, Line

C128 = npt.NDArray[np.complex128]

ITERATIONS = 6
ZERO_SEQUENCE_RATIO = 4.0  # four wires of equal section: Z0 = Zphase + 3 Zneutral
# What a current in one phase does to the three phase-to-neutral voltages, in units of the line's impedance.
_FOUR_WIRE = np.eye(3) + (ZERO_SEQUENCE_RATIO - 1.0) / 3.0 * np.ones((3, 3))
ROTATION = np.exp(-2j * np.pi / 3.0 * np.arange(3))  # L1, L2, L3 of a balanced system


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The impedances between customers' terminals: `impedance_ohm` has shape (3 n, 3 n), terminal-major, then phase."""

    terminals: int
    impedance_ohm: C128

    def voltages(self, source_v: C128, power_va: C128) -> C128:
        """Phase-to-neutral voltages at the terminals.

        source_v: (t, 3) V behind the transformer; power_va: (t, n, 3) VA consumed; returns (t, n, 3) V (rms phasors).
        """
        steps = len(power_va)
        load = power_va.reshape(steps, -1)
        open_circuit = np.tile(source_v, (1, self.terminals))
        voltage = open_circuit
        for _ in range(ITERATIONS):
            voltage = open_circuit - np.conj(load / voltage) @ self.impedance_ohm.T
        return voltage.reshape(steps, self.terminals, 3)


def currents(power_va: C128, voltage_v: C128) -> C128:
    """Current phasors in A consumed at the terminals, any equal shapes."""
    return np.conj(power_va / voltage_v)


def connect(feeder: Feeder, services: Sequence[Line]) -> Grid:
    """The grid seen from customers' terminals, each at the end of its service line."""
    path = {feeder.head: frozenset[str]()}
    impedance = {}
    for line in (*feeder.lines, *services):
        path[line.bus] = path[line.parent] | {line.bus}
        impedance[line.bus] = line.impedance_ohm
    ends = [path[line.bus] for line in services]
    shared = np.array([[sum((impedance[bus] for bus in sorted(a & b)), 0j) for b in ends] for a in ends], np.complex128)
    both = np.kron(shared, _FOUR_WIRE) + feeder.transformer_ohm * np.kron(np.ones((len(ends), len(ends))), np.eye(3))
    return Grid(len(ends), np.ascontiguousarray(both))
