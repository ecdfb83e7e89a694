"""Which instants wait, for how long, and when they are over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.block import I64
from model.time import NS_PER_S
from wire.concentrator.grid import ReportingGrid
from wire.concentrator.members import Arrays, Bools, taken_up

DAY_NS = 86_400 * NS_PER_S
MAX_SLOTS = 20_000  # of the ring: bounds memory whatever wait time and rate say
_NO_ARRIVAL = np.iinfo(np.int64).max
_NOT_BEGUN = np.iinfo(np.int64).min


@dataclass(frozen=True, slots=True)
class Rules:
    """How to align. Stamps later than now + `ahead_ns` or before now - `behind_ns` are absurd; rows further than
    `tolerance_ns` from the grid are not of its rate. Raises ValueError for times below 0 or a wait that holds too many
    slots."""

    grid: ReportingGrid
    wait_ns: int = NS_PER_S // 5
    relative: bool = False
    ahead_ns: int = NS_PER_S
    behind_ns: int = 60 * DAY_NS
    tolerance_ns: int = 1_000_000

    def __post_init__(self) -> None:
        if min(self.wait_ns, self.ahead_ns, self.behind_ns, self.tolerance_ns) < 0:
            raise ValueError(f"times of {self} are below 0")
        if self.ring > MAX_SLOTS:
            raise ValueError(f"wait and ahead times hold {self.ring} slots, expected <= {MAX_SLOTS}")

    @property
    def front(self) -> int:
        """Slots that can be waiting at a time."""
        return self.grid.slots_within(self.wait_ns + self.ahead_ns) + 1

    @property
    def ring(self) -> int:
        """Slots that are kept: those waiting, and as many that have left, to know a second copy as such."""
        return 2 * self.front

    def due(self, now_ns: int) -> int:
        """The last slot whose wait is over by our clock."""
        return self.grid.slot_at(now_ns - self.wait_ns)


class Window:
    """The slots from `base`, the first that has not left, to `end`; a slot's place in every ring is slot % ring.

    It moves on only when rows come: a clock that jumps ahead makes sets leave early, but condemns nobody to be late.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.front = rules.front
        self.ring = rules.ring
        self.base = _NOT_BEGUN
        self.arrived: I64 = np.zeros(self.ring, np.int64)  # rows per place
        self.first_ns: I64 = np.full(self.ring, _NO_ARRIVAL)  # receipt of its first row

    @property
    def begun(self) -> bool:
        """Whether a row ever came."""
        return self.base != _NOT_BEGUN

    @property
    def end(self) -> int:
        """The first slot that is too far ahead to be kept."""
        return self.base + self.front

    @property
    def places(self) -> I64:
        """Places of the slots that wait, in their order; none before the beginning."""
        return np.arange(self.base, self.end) % self.ring if self.begun else np.zeros(0, np.int64)

    def begin(self, lowest: int, highest: int, now_ns: int) -> None:
        """Begin with the first rows ever, not further back than one would have waited for them."""
        floor = highest - self.front + 1 if self.rules.relative else min(self.rules.due(now_ns) + 1, highest)
        self.base = max(lowest, floor)

    def remembers(self, slots: I64) -> Bools:
        """Which slots still have their places: waiting, or left not long ago."""
        return slots >= self.end - self.ring

    def arrive(self, slots: I64, received_ns: I64) -> None:
        """New rows of the window."""
        places = slots % self.ring
        np.add.at(self.arrived, places, 1)
        np.minimum.at(self.first_ns, places, received_ns)

    def last_filled(self) -> int:
        """The first slot behind the last one that holds a row."""
        filled = np.flatnonzero(self.arrived[self.places])
        return self.base + int(filled[-1]) + 1 if len(filled) else self.base

    def ready(self, now_ns: int, members: int) -> int:
        """The first slot that has to wait on: before it all are complete, over, or empty before one that is."""
        if not self.begun:
            return self.base
        places = self.places
        if self.rules.relative:
            over = np.flatnonzero((self.first_ns[places] <= now_ns - self.rules.wait_ns) & (self.arrived[places] > 0))
            due = self.base + int(over[-1]) + 1 if len(over) else self.base
        else:
            due = max(self.base, min(self.rules.due(now_ns) + 1, self.last_filled()))
        waits = self.arrived[places] < max(1, members)
        waits[: due - self.base] = False
        return self.base + (int(waits.argmax()) if waits.any() else len(places))

    def move(self, base: int) -> I64:
        """Go on to a slot; returns the slots that come into the ring and have to be cleared."""
        opened = np.arange(self.end, self.end + min(base - self.base, self.ring))
        self.arrived[opened % self.ring] = 0
        self.first_ns[opened % self.ring] = _NO_ARRIVAL
        self.base = base
        return opened

    def state(self) -> Arrays:
        """All arrays, by name."""
        return {"base": np.array([self.base]), "arrived": self.arrived.copy(), "first_ns": self.first_ns.copy()}

    def restore(self, state: Arrays) -> None:
        """Take up the arrays of `state()`. Raises DecodeError, and nothing has changed."""
        found = taken_up(state, self.state())
        self.base = int(found["base"][0])
        self.arrived, self.first_ns = found["arrived"], found["first_ns"]
