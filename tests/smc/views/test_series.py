"""Numbers behind the charts against plain definitions, and against each other."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from model.device import Channel, ChannelKind
from model.finding import Evidence
from smc.views.marks import band_words, scale_places
from smc.views.series import POINTS, against_neighbours, gapped, line_of, means_before, thin, three_phase_power_w

CHANNELS = tuple(Channel(f"V{p}", ChannelKind.VOLTAGE) for p in "ABC") + tuple(
    Channel(f"I{p}", ChannelKind.CURRENT) for p in "ABC"
)
SECOND_NS = 1_000_000_000


def test_power_is_what_three_phases_carry() -> None:
    turn = np.array([0.0, -2 * np.pi / 3, 2 * np.pi / 3])
    magnitude = np.array([[230.0] * 3 + [10.0] * 3])
    angle = np.concatenate([turn, turn - np.pi / 6])[None, :]
    power = three_phase_power_w(magnitude, angle, CHANNELS)
    assert power is not None
    np.testing.assert_allclose(power, [3 * 230 * 10 * np.cos(np.pi / 6)])
    assert three_phase_power_w(magnitude, angle, CHANNELS[:5]) is None


@given(st.integers(2, 5_000), st.integers(0, 2**32 - 1))
def test_thinning_keeps_the_extremes(n: int, seed: int) -> None:
    y = np.random.default_rng(seed).standard_normal(n)
    x, kept = thin(np.arange(n, dtype=float), y)
    assert len(kept) <= POINTS
    assert kept.max() == y.max()
    assert kept.min() == y.min()
    assert np.all(np.diff(x) > 0)


def test_a_silence_is_a_gap_and_no_line() -> None:
    time_ns = np.array([0, 1, 2, 3, 30, 31]) * SECOND_NS
    x, y = gapped(time_ns, np.ones(6))
    assert np.flatnonzero(np.isnan(y)).tolist() == [4]
    assert x[4] == 3_001.0
    whole, _ = gapped(np.arange(10) * SECOND_NS, np.ones(10))
    assert len(whole) == 10


def test_a_missing_value_stays_missing_after_thinning() -> None:
    y = np.sin(np.arange(20_000) / 100)
    y[9_000:11_000] = np.nan
    x, kept = line_of(np.arange(20_000) * SECOND_NS, y)
    inside = (x > 9_100_000) & (x < 10_900_000)
    assert not np.isfinite(kept[inside]).any()


def test_means_of_intervals() -> None:
    at = np.array([0, 10, 20, 30])
    time_ns = np.array([1, 5, 10, 11, 29])
    means = means_before(at, time_ns, np.array([1.0, 2.0, 3.0, 4.0, np.nan]))
    np.testing.assert_allclose(means, [np.nan, 2.0, 4.0, np.nan])


def test_a_true_clock_is_flat_and_a_false_one_turns() -> None:
    time_ns = np.arange(600) * SECOND_NS // 10
    shared = np.angle(np.exp(1j * np.linspace(0, 40, 600)))  # wraps many times
    neighbours = [(time_ns + 3_000_000, np.angle(np.exp(1j * (np.linspace(0, 40, 600) + c)))) for c in (0.5, 3.0, -2.0)]
    flat = against_neighbours(time_ns, shared, neighbours)
    np.testing.assert_allclose(flat, 0, atol=1e-9)
    drifting = np.angle(np.exp(1j * (np.linspace(0, 40, 600) + np.linspace(0, 9, 600))))
    np.testing.assert_allclose(against_neighbours(time_ns, drifting, neighbours), np.linspace(0, 9, 600), atol=1e-9)


def test_without_neighbours_nothing_is_claimed() -> None:
    time_ns = np.arange(5) * SECOND_NS
    assert np.isnan(against_neighbours(time_ns, np.zeros(5), [])).all()
    far = [(time_ns + 500_000_000, np.zeros(5))]
    assert np.isnan(against_neighbours(time_ns, np.zeros(5), far)).all()


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e5))
def test_the_scale_shows_what_is_outside(observed: float, expected: float, half: float) -> None:
    e = Evidence("power_w", observed, expected, expected - half, expected + half, "W", 1.0)
    (low, high), middle, at = scale_places(e)
    assert 0 <= low < high <= 100
    assert 0 <= at <= 100
    assert low - 1 <= middle <= high + 1
    if observed > expected + half + 1e-3 * (abs(expected) + half + 1):
        assert at > middle


def test_a_band_without_upper_end_leaves_room_to_see() -> None:
    e = Evidence("energy_wh", 10.0, 90.0, 80.0, 1e15, "Wh", 1.0)
    (low, high), _, at = scale_places(e)
    assert at < low - 30
    assert high - low > 20
    assert band_words(e) == "from 80.00 Wh"
