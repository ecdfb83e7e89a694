"""Loads and energies: closed forms equal sums over ticks, whatever part is computed alone."""

from __future__ import annotations

import numpy as np
import pytest

from model.time import NS_PER_S
from norm.chance import bell, stream_key, uniform
from norm.energy import COMMISSIONED_DAY, Energies
from norm.load import SLOT_S, SLOTS, WH_PER_WS, Population

DAY = 20_625  # 2026-06-21: long sun, so that PV counts


@pytest.fixture(scope="module")
def population() -> Population:
    return Population(7, "DSO-0001", np.arange(1, 41))


def test_slot_energy_is_the_sum_of_its_ticks(population: Population) -> None:
    consumed, generated = population.slot_energy_wh(DAY)
    for of_day in range(0, SLOTS, 7):
        ticks = population.ticks(DAY * SLOTS + of_day)
        np.testing.assert_allclose(ticks.load_w.sum(axis=(1, 2)) * WH_PER_WS, consumed[:, of_day], rtol=1e-9)
        np.testing.assert_allclose(
            ticks.generation_w.sum(axis=(1, 2)) * WH_PER_WS, generated[:, of_day], rtol=1e-9, atol=1e-9
        )


def test_day_energy_is_the_sum_of_its_slots(population: Population) -> None:
    for day, slots in zip(population.day_energy_wh(DAY), population.slot_energy_wh(DAY), strict=True):
        np.testing.assert_allclose(day, slots.sum(axis=1), rtol=1e-9)


def test_population_is_diverse_and_plausible(population: Population) -> None:
    consumed, generated = population.slot_energy_wh(DAY)
    day_kwh = consumed.sum(axis=1) / 1_000
    assert day_kwh.min() > 1.0
    assert day_kwh.max() < 150.0
    assert np.std(np.log(day_kwh)) > 0.3
    assert 5 <= (generated.sum(axis=1) > 0).sum() <= 20
    correlation = np.corrcoef(consumed)[np.triu_indices(40, 1)]
    assert abs(np.median(correlation)) < 0.3  # no copies of one profile


def test_consumption_is_positive_on_every_phase_at_every_tick(population: Population) -> None:
    for slot in (DAY * SLOTS, DAY * SLOTS + 50):
        assert population.ticks(slot).load_w.min() > 0.0


def test_a_unit_is_the_same_in_any_company() -> None:
    alone = Population(7, "DSO-0001", np.array([17]))
    among = Population(7, "DSO-0001", np.arange(1, 41))
    slot = DAY * SLOTS + 33
    np.testing.assert_array_equal(alone.ticks(slot).load_w[0], among.ticks(slot).load_w[16])


def test_seeds_and_sites_differ() -> None:
    slot = DAY * SLOTS
    base = Population(7, "DSO-0001", np.arange(1, 4)).ticks(slot).load_w
    for other in (Population(8, "DSO-0001", np.arange(1, 4)), Population(7, "DSO-0002", np.arange(1, 4))):
        assert np.abs(other.ticks(slot).load_w - base).max() > 10.0


def test_energy_runs_on_over_ticks_slots_and_days(population: Population) -> None:
    energies = Energies(population, DAY - 2)
    midnight = DAY * SLOTS * SLOT_S * NS_PER_S
    for edge in (midnight, midnight + SLOT_S * NS_PER_S, midnight + 1_234 * NS_PER_S):
        before, at, after = (energies.at(edge + step)[0] for step in (-1_000, 0, 1_000))
        assert np.all(np.diff([before, at, after], axis=0) >= 0.0)
        assert np.max(after - before) < 1e-4  # Wh in 2 us


def test_energy_does_not_depend_on_what_was_asked_before(population: Population) -> None:
    time_ns = (DAY * SLOTS * SLOT_S + 50_000) * NS_PER_S
    fresh, used = Energies(population, DAY - 5), Energies(population, DAY - 5)
    for step in (-90_000, 86_400, -200_000):
        used.at(time_ns + step * NS_PER_S)
    np.testing.assert_array_equal(fresh.at(time_ns)[0], used.at(time_ns)[0])


def test_nothing_was_counted_before_commissioning(population: Population) -> None:
    with pytest.raises(ValueError, match="2026-01-01"):
        Energies(population).at((COMMISSIONED_DAY * 86_400 - 1) * NS_PER_S)


def test_chance_is_flat_and_independent() -> None:
    key = stream_key(1, "test")
    flat = uniform(key, np.arange(1, 101)[:, None], np.arange(1_000))
    counts = np.histogram(flat, 20, (0.0, 1.0))[0]
    assert ((counts - 5_000) ** 2 / 5_000).sum() < 43.8  # chi2 of 19 degrees at 0.1 %
    normal = bell(key, np.arange(1, 101)[:, None], np.arange(1_000))
    assert normal.mean() == pytest.approx(0.0, abs=0.015)
    assert normal.std() == pytest.approx(1.0, abs=0.01)
    assert np.abs(np.corrcoef(normal)[np.triu_indices(100, 1)]).max() < 0.15
    assert np.abs(np.mean(normal[:, 1:] * normal[:, :-1])) < 0.015
