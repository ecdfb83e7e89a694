"""Decisions as rows: proposed once per incident and playbook, decided by a person, ended by `act`."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from model.decision import DECISION_STEPS, Decision, DecisionStatus
from model.errors import Conflict

_COLUMNS = (
    *("decision_id", "incident_id", "playbook_id", "title", "reason", "status", "proposed", "decided_by", "decided"),
    *("decision_reason", "dry_run", "outcome", "outcome_at"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM decisions"  # noqa: S608 - own names


def propose(conn: Connection, decision: Decision) -> bool:
    """Insert a proposal; False if the same one is already there, in whatever state."""
    query = text(
        "INSERT INTO decisions (decision_id, incident_id, playbook_id, title, reason, status, proposed, dry_run) "
        "VALUES (:decision_id, :incident_id, :playbook_id, :title, :reason, 'proposed', :proposed, :dry_run) "
        "ON CONFLICT (decision_id) DO NOTHING RETURNING decision_id"
    )
    values = {
        name: getattr(decision, name) for name in ("decision_id", "incident_id", "playbook_id", "title", "reason")
    }
    values |= {"proposed": decision.proposed, "dry_run": decision.dry_run}
    return conn.execute(query, values).first() is not None


def get(conn: Connection, decision_id: UUID) -> Decision | None:
    """One decision, or None."""
    row = conn.execute(text(f"{_SELECT} WHERE decision_id = :id"), {"id": decision_id}).one_or_none()
    return None if row is None else _decision(row)


def of_incident(conn: Connection, incident_id: UUID) -> list[Decision]:
    """Decisions of an incident, the oldest first."""
    query = text(f"{_SELECT} WHERE incident_id = :id ORDER BY proposed, decision_id")
    return [_decision(row) for row in conn.execute(query, {"id": incident_id})]


def proposed(conn: Connection, limit: int = 100) -> list[Decision]:
    """What waits for a person, the oldest first."""
    return _in_status(conn, DecisionStatus.PROPOSED, limit)


def approved(conn: Connection, limit: int = 100) -> list[Decision]:
    """What a person approved and `act` has not ended yet, the oldest first."""
    return _in_status(conn, DecisionStatus.APPROVED, limit)


def decide(
    conn: Connection, decision_id: UUID, to: DecisionStatus, actor: str, reason: str, now: datetime | None = None
) -> Decision:
    """A person's approval or refusal. Conflict if the decision does not exist or waits no longer."""
    before = _held(conn, decision_id, to)
    query = text(
        "UPDATE decisions SET status = :to, decided_by = :actor, decision_reason = :reason, "
        "decided = coalesce(CAST(:now AS timestamptz), now()) WHERE decision_id = :id"
    )
    conn.execute(query, {"to": to.value, "actor": actor, "reason": reason, "now": now, "id": before.decision_id})
    return _required(conn, decision_id)


def record_outcome(conn: Connection, decision_id: UUID, to: DecisionStatus, outcome: str, now: datetime) -> Decision:
    """What `act` did or, in a dry run, would have done. Conflict unless a person had approved it."""
    before = _held(conn, decision_id, to)
    query = text("UPDATE decisions SET status = :to, outcome = :outcome, outcome_at = :now WHERE decision_id = :id")
    conn.execute(query, {"to": to.value, "outcome": outcome, "now": now, "id": before.decision_id})
    return _required(conn, decision_id)


def _in_status(conn: Connection, status: DecisionStatus, limit: int) -> list[Decision]:
    query = text(f"{_SELECT} WHERE status = :status ORDER BY proposed, decision_id LIMIT :limit")
    return [_decision(row) for row in conn.execute(query, {"status": status.value, "limit": limit})]


def _held(conn: Connection, decision_id: UUID, to: DecisionStatus) -> Decision:
    """The decision, locked, if the step is in the table."""
    row = conn.execute(text(f"{_SELECT} WHERE decision_id = :id FOR UPDATE"), {"id": decision_id}).one_or_none()
    if row is None:
        raise Conflict("this decision does not exist")
    before = _decision(row)
    if to not in DECISION_STEPS[before.status]:
        by = f" by {before.decided_by}" if before.decided_by else ""
        raise Conflict(f"decision is {before.status}{by} already, it cannot become {to}")
    return before


def _required(conn: Connection, decision_id: UUID) -> Decision:
    found = get(conn, decision_id)
    if found is None:
        raise Conflict("this decision does not exist")
    return found


def _decision(row: Row[Any]) -> Decision:
    fields = dict(row._mapping)
    fields["status"] = DecisionStatus(fields["status"])
    return Decision(**fields)
