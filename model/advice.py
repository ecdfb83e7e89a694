"""Advice from Europe: an early alert of the ESMC. Data, never a command."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from model.finding import FindingKind, Severity
from model.marking import Tlp
from model.time import require_aware


@dataclass(frozen=True, slots=True)
class Advice:
    """One early alert as a member received it. No affected member is named in it."""

    advice_id: UUID
    title: str
    text: str
    kind: FindingKind
    severity: Severity
    technique: str
    members: int  # how many members see the campaign, at least 2 when simulated, 3 otherwise
    first_seen: datetime
    published: datetime
    marking: Tlp
    received: datetime | None = None
    acknowledged: datetime | None = None  # when the ESMC confirmed our acknowledgement

    def __post_init__(self) -> None:
        for name in ("first_seen", "published", "received", "acknowledged"):
            require_aware(name, getattr(self, name))
