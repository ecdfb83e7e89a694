"""Thresholds and probabilities against simulation, numbers against their words."""

from __future__ import annotations

import numpy as np
import pytest

from analytics import explain
from analytics.budget import MOST, benjamini_hochberg, conformal_p, cusum_threshold, no_chance, run_length


def test_run_length_agrees_with_simulation() -> None:
    rng, threshold = np.random.default_rng(1), 4.0
    statistic, run, ended = np.zeros(2000), np.zeros(2000), np.zeros(2000)
    for _ in range(4000):
        alive = ended == 0
        run[alive] += 1
        statistic = np.maximum(0.0, statistic + rng.standard_normal(2000) - 0.5)
        ended = np.where(alive & (statistic > threshold), run, ended)
    assert (ended > 0).all()
    assert run_length(threshold) == pytest.approx(ended.mean(), rel=0.1)


def test_siegmunds_figure_of_the_literature() -> None:
    assert run_length(8.0) == pytest.approx(19_000, rel=0.02)


def test_the_threshold_keeps_its_budget() -> None:
    threshold = cusum_threshold(1e-3, 43_200.0)
    assert 2 * 43_200.0 / run_length(threshold) <= 1e-3
    assert 2 * 43_200.0 / run_length(threshold - 0.01) > 1e-3


def test_a_larger_statistic_is_less_chance_and_never_certain() -> None:
    found = [no_chance(s, 43_200.0) for s in (8.0, 12.0, 18.0, 50.0)]
    assert found == sorted(found)
    assert found[0] < 0.1
    assert found[-1] == MOST


def test_conformal_p_values_are_uniform_on_data_like_the_calibration() -> None:
    rng = np.random.default_rng(2)
    p = conformal_p(rng.standard_normal(5000), rng.standard_normal(5000))
    assert np.quantile(p, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.03)
    assert conformal_p(np.array([1.0, 2.0]), np.array([2.0, 3.0])).tolist() == [2 / 3, 1 / 3]


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        ([0.001, 0.2, 0.9], [True, False, False]),
        ([0.04, 0.03, 0.045, 0.049], [True, True, True, True]),  # the last one carries the others
        ([0.9, 0.8], [False, False]),
        ([], []),
    ],
    ids=["one", "step up", "none", "empty"],
)
def test_benjamini_hochberg(p: list[float], expected: list[bool]) -> None:
    assert benjamini_hochberg(np.array(p), 0.05).tolist() == expected


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (12345.6, "W", "12.35 kW"),
        (0.0, "V", "0 V"),
        (-0.04, "A", "-0.04 A"),
        (100_038.474, "V", "100 kV"),
        (65.536, "Hz", "65.54 Hz"),
        (float("nan"), "V", "no value in V"),
        (1234.0, "µs", "1234 µs"),
    ],
)
def test_quantities_read_well(value: float, unit: str, said: str) -> None:
    assert explain.quantity(value, unit) == said


def test_percent_and_duration() -> None:
    assert [explain.percent(x) for x in (-0.4, 0.0123)] == ["-40 %", "+1.2 %"]
    assert [explain.duration(x) for x in (4.2, 600, 90_000)] == ["4.2 s", "10 min", "25 h"]
