"""The instants at which synchrophasors are reported, counted since 1970: two stamps of one instant get one number.

Sources count the fraction of a second in ticks of their own (TIME_BASE): one instant has many stamps, some nanoseconds
apart. Their place on the grid is found by rounding in integers, SOC x rate + round(fraction x rate), which carries into
the next second by itself. Floats are never compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.block import I64
from model.time import NS_PER_S

MAX_RATE = 1_000  # frames per second, and seconds per frame


@dataclass(frozen=True, slots=True)
class ReportingGrid:
    """A grid by its DATA_RATE: frames per second if positive, seconds per frame if negative."""

    data_rate: int

    def __post_init__(self) -> None:
        if not 1 <= abs(self.data_rate) <= MAX_RATE:
            raise ValueError(f"data rate is {self.data_rate}, expected 1 to {MAX_RATE} or -1 to -{MAX_RATE}")

    @property
    def period_ns(self) -> int:
        """Time between two slots, rounded down."""
        return NS_PER_S // self.data_rate if self.data_rate > 0 else -self.data_rate * NS_PER_S

    def slots(self, time_ns: I64) -> I64:
        """Number of the nearest instant of the grid, shape as given; times within +-280 years of 1970."""
        if self.data_rate < 0:
            return np.asarray((time_ns + self.period_ns // 2) // self.period_ns, np.int64)
        soc, rest = np.divmod(time_ns, NS_PER_S)
        return np.asarray(soc * self.data_rate + (rest * self.data_rate + NS_PER_S // 2) // NS_PER_S, np.int64)

    def times_ns(self, slots: I64) -> I64:
        """Instants by number, to the nearest ns."""
        if self.data_rate < 0:
            return np.asarray(slots * self.period_ns, np.int64)
        soc, step = np.divmod(slots, self.data_rate)
        return np.asarray(soc * NS_PER_S + (step * NS_PER_S + self.data_rate // 2) // self.data_rate, np.int64)

    def slot_at(self, time_ns: int) -> int:
        """Number of the last instant that is not after a time."""
        nearest = self.slots(np.array([time_ns], np.int64))
        return int(nearest[0]) - int(self.times_ns(nearest)[0] > time_ns)

    def slots_within(self, span_ns: int) -> int:
        """How many instants a span of time can hold, rounded up."""
        return -(-span_ns // self.period_ns) + 1
