"""A decision: a playbook proposed for an incident, approved or refused by a person, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from model.time import require_aware


class DecisionStatus(StrEnum):
    """Life of a decision. Nothing leads from `proposed` to `done` without a person."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REFUSED = "refused"
    DONE = "done"
    FAILED = "failed"


DECISION_STEPS: dict[DecisionStatus, frozenset[DecisionStatus]] = {
    DecisionStatus.PROPOSED: frozenset({DecisionStatus.APPROVED, DecisionStatus.REFUSED}),
    DecisionStatus.APPROVED: frozenset({DecisionStatus.DONE, DecisionStatus.FAILED}),
    DecisionStatus.REFUSED: frozenset(),
    DecisionStatus.DONE: frozenset(),
    DecisionStatus.FAILED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class Decision:
    """One proposed playbook and its fate. `outcome` is what `act` wrote: in a dry run, what would be done."""

    decision_id: UUID  # stable: incident and playbook
    incident_id: UUID
    playbook_id: str  # CACAO id
    title: str
    reason: str  # why this one is proposed
    status: DecisionStatus
    proposed: datetime
    decided_by: str = ""  # account name
    decided: datetime | None = None
    decision_reason: str = ""
    dry_run: bool = True
    outcome: str = ""
    outcome_at: datetime | None = None

    def __post_init__(self) -> None:
        for name in ("proposed", "decided", "outcome_at"):
            require_aware(name, getattr(self, name))
