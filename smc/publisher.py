"""Publishing what must not be lost: again until the bus has it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar

from smc.bus import Bus, BusDown
from smc.context import StageContext

T = TypeVar("T")

AWAY_S = 1.0  # before another try, where the bus or the database is away
FULL_S = 0.1


class Stopped(Exception):
    """The stage ends before this could be committed or told; nobody was acknowledged."""


def _publish(bus: Bus, messages: Mapping[str, bytes]) -> dict[str, bytes]:
    return bus.publish_all(messages)


class Publisher:
    """Publishes for one stage. `waiting` is called between two tries, e.g. for a heartbeat."""

    def __init__(
        self, context: StageContext, stop: threading.Event, stage: str, waiting: Callable[[], None] | None = None
    ) -> None:
        self._context = context
        self._stop = stop
        self._stage = stage
        self._waiting = waiting

    def publish(self, topic: str, body: bytes) -> None:
        """Returns when the bus has the message; a lost answer may double it. Raises Stopped when told to end."""
        self.publish_all({topic: body})

    def publish_all(self, messages: Mapping[str, bytes]) -> None:
        """The same for one message to each of several topics."""
        left: Mapping[str, bytes] = messages
        while left:
            left = self.ask(partial(_publish, messages=left))
            if left:
                self._wait(FULL_S)

    def ask(self, question: Callable[[Bus], T]) -> T:
        """The answer of the bus to anything; waits while it is away. Raises Stopped when told to end meanwhile."""
        while True:
            try:
                return question(self._context.bus)
            except BusDown as error:
                self._context.log.warning(f"{self._stage}.bus_away", error=str(error)[:200])
                self._wait(AWAY_S)

    def _wait(self, pause_s: float) -> None:
        if self._stop.wait(pause_s):
            raise Stopped
        if self._waiting is not None:
            self._waiting()
