"""What every stage and page of the pan-European centre is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from esmc.settings import EsmcSettings
from model.time import Clock


@dataclass(frozen=True)
class EsmcContext:
    """Settings, database, clock and log of this centre. There is no bus: PostgreSQL alone is enough here."""

    settings: EsmcSettings
    engine: Engine
    clock: Clock
    log: Any  # a structlog logger
