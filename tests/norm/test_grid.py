"""Power flow: against a backward-forward sweep over the tree, and by its energy balance."""

from __future__ import annotations

import numpy as np
import pytest

from norm.feeder import BASE_VOLTAGE_V, FEEDERS, Feeder, Line
from norm.grid import ROTATION, connect, currents


def sweep(feeder: Feeder, services: list[Line], source: np.ndarray, power: np.ndarray) -> tuple[dict, dict]:
    """Oracle: currents summed from the leaves to the head, voltages dropped from the head to the leaves."""
    lines = [*feeder.lines, *services]
    load = {line.bus: s for line, s in zip(services, power, strict=True)}
    voltage = {line.bus: source.copy() for line in lines} | {feeder.head: source.copy()}
    for _ in range(60):
        through = {bus: np.zeros(3, complex) for bus in voltage}
        for line in reversed(lines):
            own = np.conj(load[line.bus] / voltage[line.bus]) if line.bus in load else 0.0
            through[line.bus] = through[line.bus] + own
            through[line.parent] = through[line.parent] + through[line.bus]
        voltage[feeder.head] = source - feeder.transformer_ohm * through[feeder.head]
        for line in lines:
            z = line.impedance_ohm
            neutral = z * through[line.bus].sum()  # a neutral of the phases' section carries their sum back
            voltage[line.bus] = voltage[line.parent] - z * through[line.bus] - neutral
    return voltage, through


@pytest.mark.parametrize("feeder", FEEDERS, ids=lambda f: f.name)
def test_agrees_with_a_backward_forward_sweep(feeder: Feeder) -> None:
    services = [Line(bus, f"unit-{i}", "SERVICE", 10.0 + 5 * i) for i, bus in enumerate(feeder.load_buses)]
    rng = np.random.default_rng(3)
    power = rng.uniform(-4_000, 9_000, (len(services), 3)) + 1j * rng.uniform(-500, 2_500, (len(services), 3))
    source = 1.01 * BASE_VOLTAGE_V * ROTATION
    found = connect(feeder, services).voltages(source[None], power[None])[0]
    expected, through = sweep(feeder, services, source, power)
    oracle = np.array([expected[line.bus] for line in services])
    assert np.abs(found - oracle).max() < 0.02  # V
    assert np.abs(np.abs(oracle) - BASE_VOLTAGE_V).max() > 1.0  # the case is not trivial
    # What enters behind the transformer is what the customers take plus what the conductors lose.
    entering = (source * np.conj(through[feeder.head])).sum().real
    losses = (
        sum(
            (line.impedance_ohm.real * (np.abs(through[line.bus]) ** 2).sum())
            + line.impedance_ohm.real * abs(through[line.bus].sum()) ** 2
            for line in [*feeder.lines, *services]
        )
        + feeder.transformer_ohm.real * (np.abs(through[feeder.head]) ** 2).sum()
    )
    taken = (found * np.conj(currents(power, found))).sum().real
    assert entering == pytest.approx(taken + losses, rel=1e-4)


def test_feeders_are_trees_that_reach_every_load_bus() -> None:
    for feeder in FEEDERS:
        reached = {feeder.head}
        for line in feeder.lines:
            assert line.parent in reached
            assert line.bus not in reached
            reached.add(line.bus)
        assert set(feeder.load_buses) <= reached
    assert [len(feeder.lines) for feeder in FEEDERS] == [17, 19]


def test_a_loaded_phase_lifts_the_others_through_the_neutral() -> None:
    feeder = FEEDERS[0]
    grid = connect(feeder, [Line("R18", "unit", "SERVICE", 30.0)])
    voltage = np.abs(grid.voltages((BASE_VOLTAGE_V * ROTATION)[None], np.array([[[10_000.0 + 0j, 0.0, 0.0]]]))[0, 0])
    assert voltage[0] < BASE_VOLTAGE_V - 5.0
    assert voltage[1:].mean() > BASE_VOLTAGE_V
