"""What the pages of one centre hold: its settings, its store, its bus, its clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import Connection, Engine

from model.time import Clock, to_datetime
from smc.bus import Bus
from smc.settings import SmcSettings
from smc.store import flow

log = structlog.get_logger()

TOPICS = ("incidents", "figures", "advice", "sharing")
FIGURES_EVERY_S = 5  # figures that age by themselves (who reports, rates) are told anew this often


@dataclass(frozen=True)
class Centre:
    """Handed to every layout and callback as `queries`."""

    settings: SmcSettings
    engine: Engine
    bus: Bus
    clock: Clock

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read on; nothing of it is kept."""
        with self.engine.connect() as conn:
            yield conn

    def now(self) -> datetime:
        """The moment by the centre's clock, aware, UTC."""
        return to_datetime(self.clock.now_ns())

    def versions(self) -> dict[str, int]:
        """Newest version per live topic, for the frame's stream."""
        with self.read() as conn:
            found = flow.versions(conn)
        return {**found, "figures": self.clock.now_ns() // (FIGURES_EVERY_S * 1_000_000_000)}
