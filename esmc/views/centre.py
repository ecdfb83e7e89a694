"""What the pages of Europe hold: settings, store, clock; and how they say things."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine

from esmc.settings import EsmcSettings
from esmc.store import overview
from esmc.store.members import Member
from model.attack_ics import BY_ID
from model.time import Clock
from web.reads import Reads

TOPICS = ("campaigns", "incidents", "members", "advice")
LATE, SILENT = timedelta(minutes=1), timedelta(minutes=10)
DAY = timedelta(hours=24)
CELL = 3  # fewer members than this are never shown as a cell of the map, unless all of them are simulated


@dataclass(frozen=True)
class Europe(Reads):
    """Handed to every layout and callback as `queries`."""

    settings: EsmcSettings
    engine: Engine
    clock: Clock

    def versions(self) -> dict[str, int]:
        """Newest version per live topic, for the frame's stream."""
        with self.read() as conn:
            return overview.versions(conn)


def state_of(member: Member, now: datetime) -> str:
    """How a member stands: healthy, late (1 min), silent (10 min), never seen, revoked."""
    if member.revoked is not None:
        return "revoked"
    if member.last_seen is None:
        return "never seen"
    age = now - member.last_seen
    return "healthy" if age < LATE else "late" if age < SILENT else "silent"


def technique_text(technique: str) -> str:
    """An ATT&CK for ICS id with its name, or that none fits."""
    known = BY_ID.get(technique)
    return f"{technique} {known.name}" if known else technique or "no technique fits"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago, in the largest unit that fits."""
    if moment is None:
        return "never"
    seconds = max(0, round((now - moment).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
