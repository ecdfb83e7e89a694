"""What every stage of one operator's centre gets: settings, database, bus, clock, log."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine
from structlog.stdlib import BoundLogger

from model.time import Clock
from smc.bus import Bus
from smc.settings import SmcSettings


@dataclass(frozen=True)
class StageContext:
    """Handed to `run(context, stop)` of a stage. Built by `app.py`; nothing in it is global."""

    settings: SmcSettings
    engine: Engine
    bus: Bus
    clock: Clock
    log: BoundLogger
