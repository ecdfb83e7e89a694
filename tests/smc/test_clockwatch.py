"""A clock that jumps, or that starts far from what was known, is not believed for half a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from model.time import NS_PER_S, FixedClock, to_ns
from smc.clockwatch import PROBATION_S, ClockWatch

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


def clock() -> FixedClock:
    return FixedClock(to_ns(NOW))


@pytest.mark.parametrize(
    ("last", "believed"),
    [
        (None, True),
        (NOW, True),
        (NOW - timedelta(days=2), True),
        (NOW + timedelta(minutes=5), True),
        (NOW + timedelta(hours=1), False),  # the clock went back
        (NOW - timedelta(days=10), False),  # or ahead, or the centre stood still: half a day will tell
    ],
)
def test_the_first_time_is_compared_with_the_last_one_known(last: datetime | None, believed: bool) -> None:
    watched = clock()
    watch = ClockWatch(watched, last)
    assert watch.believed is believed
    watched.advance(PROBATION_S)
    assert watch.look() == 0.0
    assert watch.believed


@pytest.mark.parametrize("days", [-10, 10, 2_900_000])
def test_a_jump_is_told_once_and_doubted_for_long(days: int) -> None:
    watched = clock()
    watch = ClockWatch(watched, NOW)
    for _ in range(3):
        watched.advance(5.0)
        assert watch.look() == 0.0
    watched.time_ns += days * 86_400 * NS_PER_S
    assert watch.look() == pytest.approx(days * 86_400)
    assert not watch.believed
    watched.advance(PROBATION_S - 1)
    assert (watch.look(), watch.believed) == (0.0, False)
    watched.time_ns -= days * 86_400 * NS_PER_S
    assert watch.look() == pytest.approx(-days * 86_400)
    watched.advance(PROBATION_S - 1)
    assert not watch.believed, "coming back is a jump as well"
    watched.advance(1)
    assert watch.believed


def test_a_clock_that_is_slewed_is_believed() -> None:
    watched = clock()
    watch = ClockWatch(watched, NOW)
    for _ in range(1_000):
        watched.advance(1.0)
        watched.time_ns += NS_PER_S // 2_000  # 500 ppm, the most that adjtime does
        assert watch.look() == 0.0
    assert watch.believed
