"""Whether the host's clock can be believed when it says that something is old.

A wrong clock must not make data go. So a clock that jumps, or that at the start is far from the last time the store
knows, is doubted until it has gone evenly for half a day. That delay harms nobody; data dropped too soon are gone.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from model.time import NS_PER_S, Clock, to_datetime

JUMP_S = 60.0
PROBATION_S = 43_200.0
LONGEST_PAUSE = timedelta(days=3)  # of a centre; after a longer one the clock has to prove itself
BACKWARDS = timedelta(minutes=10)


class ClockWatch:
    """Call `look` every few seconds: it compares the wall clock with the monotonic one."""

    def __init__(self, clock: Clock, last_known: datetime | None) -> None:
        """`last_known` is the newest time that the store knows from before; None if it is new."""
        self._clock = clock
        self._wall_s, self._steady_s = self._read()
        self._believed_from_s = self._steady_s
        if last_known is not None:
            away = to_datetime(clock.now_ns()) - last_known
            if not -BACKWARDS <= away <= LONGEST_PAUSE:
                self._believed_from_s += PROBATION_S

    @property
    def believed(self) -> bool:
        """Whether the wall clock may decide what is old."""
        return self._clock.monotonic_s() >= self._believed_from_s

    def look(self) -> float:
        """Seconds that the wall clock has jumped since the last look; 0 if it went evenly."""
        wall_s, steady_s = self._read()
        jumped_s = (wall_s - self._wall_s) - (steady_s - self._steady_s)
        self._wall_s, self._steady_s = wall_s, steady_s
        if abs(jumped_s) < JUMP_S:
            return 0.0
        self._believed_from_s = steady_s + PROBATION_S
        return jumped_s

    def _read(self) -> tuple[float, float]:
        return self._clock.now_ns() / NS_PER_S, self._clock.monotonic_s()
