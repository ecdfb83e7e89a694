"""What the pages of one centre hold: its settings, its store, its bus, its clock."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

import structlog
from sqlalchemy import Engine

from model.time import Clock
from smc.bus import Bus
from smc.settings import SmcSettings
from smc.store import flow
from web.reads import Reads
from web.shared import Answers, Newest

log = structlog.get_logger()
A = TypeVar("A")

TOPICS = ("incidents", "figures", "advice", "sharing")
ANSWERS_KEPT = 64  # a list of 50 incidents is 40 kB
FIGURES_EVERY_S = 5  # figures that age by themselves (who reports, rates) are told anew this often


@dataclass(frozen=True)
class Centre(Reads):
    """Handed to every layout and callback as `queries`."""

    settings: SmcSettings
    engine: Engine
    bus: Bus
    clock: Clock

    _answers: Answers[Any] = field(default_factory=lambda: Answers(ANSWERS_KEPT), init=False, repr=False)
    _visible: Newest[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_visible", Newest(self._snapshot))

    def shared(self, question: Hashable, make: Callable[[], A]) -> A:
        """What `make` reads, once for all who ask the same while nothing in the store changes.

        Never older than the call. `question` holds everything else that the answer depends on: also the moment, and
        what a role may see where that differs. The answer belongs to all: it must not be changed.
        """
        answer: A = self._answers.get((self._visible.get(), question), make)
        return answer

    def second(self) -> datetime:
        """The end of the running second: who asks within it asks for the same, and nothing that happened is past it."""
        return self.now().replace(microsecond=0) + timedelta(seconds=1)

    def _snapshot(self) -> str:
        with self.read() as conn:
            return flow.snapshot(conn)

    def versions(self) -> dict[str, int]:
        """Newest version per live topic, for the frame's stream."""
        with self.read() as conn:
            found = flow.versions(conn)
        return {**found, "figures": self.clock.now_ns() // (FIGURES_EVERY_S * 1_000_000_000)}
