"""An incident: findings that belong together, a status by a table of steps, and its history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from model.device import Provenance
from model.errors import Conflict
from model.finding import FindingKind, Severity
from model.time import require_aware


class Status(StrEnum):
    """Where an incident stands."""

    NEW = "new"
    ACKNOWLEDGED = "acknowledged"
    INVESTIGATING = "investigating"
    CONTAINED = "contained"
    CLOSED_TRUE = "closed-true-positive"
    CLOSED_FALSE = "closed-false-positive"
    CLOSED_BENIGN = "closed-benign"


CLOSED = frozenset({Status.CLOSED_TRUE, Status.CLOSED_FALSE, Status.CLOSED_BENIGN})

# Allowed steps are data; everything else raises. Reopening leads back to investigating and keeps the history.
STEPS: dict[Status, frozenset[Status]] = {
    Status.NEW: frozenset({Status.ACKNOWLEDGED, Status.INVESTIGATING, *CLOSED}),
    Status.ACKNOWLEDGED: frozenset({Status.INVESTIGATING, Status.CONTAINED, *CLOSED}),
    Status.INVESTIGATING: frozenset({Status.CONTAINED, *CLOSED}),
    Status.CONTAINED: frozenset({Status.INVESTIGATING, *CLOSED}),
    Status.CLOSED_TRUE: frozenset({Status.INVESTIGATING}),
    Status.CLOSED_FALSE: frozenset({Status.INVESTIGATING}),
    Status.CLOSED_BENIGN: frozenset({Status.INVESTIGATING}),
}


def require_step(before: Status, after: Status) -> None:
    """Raise Conflict unless the table allows the step."""
    if after not in STEPS[before]:
        allowed = ", ".join(sorted(STEPS[before]))
        raise Conflict(f"incident is {before}, expected a step to one of: {allowed}; got {after}")


@dataclass(frozen=True, slots=True)
class Incident:
    """What an analyst opens. `number` counts per site (case-000042); `version` rises with every change."""

    incident_id: UUID
    number: int
    site: str
    kind: FindingKind
    title: str
    severity: Severity  # maximum of its findings
    status: Status
    opened: datetime
    changed: datetime
    first_seen: datetime
    last_seen: datetime
    devices: tuple[int, ...]
    findings: int
    technique: str
    provenance: Provenance
    assignee: str = ""
    version: int = 1

    def __post_init__(self) -> None:
        for name in ("opened", "changed", "first_seen", "last_seen"):
            require_aware(name, getattr(self, name))

    @property
    def case(self) -> str:
        """The name people and partners use: DSO-0001/case-000042."""
        return f"{self.site}/case-{self.number:06d}"
