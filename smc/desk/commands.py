"""What a person at the desk can change. Each command asks for the right, writes the change, its history and its audit
record in one transaction, and tells the stages only after the commit.

Every command may raise NotPermitted, Conflict (somebody else was first, or the step is not allowed) and OperatorError
(an input that the person can mend); nothing is written then.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
import structlog
from sqlalchemy import Connection, Engine

from model.decision import Decision, DecisionStatus
from model.errors import Conflict, OperatorError
from model.incident import Incident, Status
from smc.bus import Bus, BusError
from smc.store import decisions, desk, incidents
from trust.roles import Action, require
from trust.sessions import Session
from trust.store import append_audit

REASON_MIN, REASON_MAX = 3, 2_000

log = structlog.get_logger()


def approve(engine: Engine, bus: Bus, session: Session | None, decision_id: UUID, reason: str) -> Decision:
    """Approve a proposed playbook. What follows is done by `act`, in a dry run unless the centre says otherwise."""
    return _decide(engine, bus, session, decision_id, DecisionStatus.APPROVED, reason)


def refuse(engine: Engine, bus: Bus, session: Session | None, decision_id: UUID, reason: str) -> Decision:
    """Refuse a proposed playbook; it stays in the record with the reason."""
    return _decide(engine, bus, session, decision_id, DecisionStatus.REFUSED, reason)


def change_status(
    engine: Engine, bus: Bus, session: Session | None, incident_id: UUID, version: int, to: Status, reason: str
) -> Incident:
    """Move an incident along its table of steps. `version` is what the person saw: a later one is a Conflict.

    Closing and reopening need a reason; taking an incident up does not.
    """
    person = _person(session, Action.TRIAGE_INCIDENT)
    said = reason.strip() if to in {Status.ACKNOWLEDGED, Status.INVESTIGATING} else _reason(reason)
    with engine.begin() as conn:
        _same_version(conn, incident_id, version)
        incident = incidents.change_status(conn, incident_id, version, to, person.name, said)
        _audit(conn, person, "incident-status", incident, {"to": str(to), "reason": said})
    _tell(bus, "incidents", "incident_id", incident_id)
    return incident


def assign(
    engine: Engine, bus: Bus, session: Session | None, incident_id: UUID, version: int, to: str, reason: str = ""
) -> int:
    """Give an incident to a person ("" for nobody); returns its new version."""
    person = _person(session, Action.TRIAGE_INCIDENT)
    with engine.begin() as conn:
        after = desk.assign(conn, incident_id, version, to, person.name, reason.strip())
        _audit(conn, person, "incident-assigned", _incident(conn, incident_id), {"to": to, "reason": reason.strip()})
    _tell(bus, "incidents", "incident_id", incident_id)
    return after


def note(engine: Engine, bus: Bus, session: Session | None, incident_id: UUID, words: str) -> None:
    """Write a note into the history of an incident."""
    person = _person(session, Action.TRIAGE_INCIDENT)
    said = _reason(words, "note")
    with engine.begin() as conn:
        desk.note(conn, incident_id, person.name, said)
        _audit(conn, person, "incident-note", _incident(conn, incident_id), {"note": said})
    _tell(bus, "incidents", "incident_id", incident_id)


def _decide(
    engine: Engine, bus: Bus, session: Session | None, decision_id: UUID, to: DecisionStatus, reason: str
) -> Decision:
    person = _person(session, Action.DECIDE)
    said = _reason(reason)
    with engine.begin() as conn:
        decision = decisions.decide(conn, decision_id, to, person.name, said)
        detail = {"incident": str(decision.incident_id), "playbook": decision.playbook_id, "reason": said}
        append_audit(conn, person.name, f"decision-{to}", f"decision:{decision_id}", detail)
    _tell(bus, "decisions", "decision_id", decision_id)
    return decision


def _person(session: Session | None, action: Action) -> Session:
    require(session, action)
    assert session is not None  # `require` refuses nobody
    return session


def _reason(text: str, what: str = "reason") -> str:
    said = text.strip()
    if not REASON_MIN <= len(said) <= REASON_MAX:
        expected = f"{REASON_MIN} to {REASON_MAX} characters"
        raise OperatorError(f"length of the {what}", len(said), expected, f"write a {what} that explains it a year on")
    return said


def _incident(conn: Connection, incident_id: UUID) -> Incident:
    incident = incidents.get(conn, incident_id)
    if incident is None:
        raise Conflict("this incident does not exist any more")
    return incident


def _same_version(conn: Connection, incident_id: UUID, version: int) -> None:
    """Say who was first, not only that somebody was. The store checks the version again under its own lock."""
    if _incident(conn, incident_id).version != version:
        raise Conflict(desk.changed_meanwhile(conn, incident_id))


def _audit(conn: Connection, person: Session, action: str, incident: Incident, detail: dict[str, str]) -> None:
    append_audit(conn, person.name, action, f"incident:{incident.case}", detail)


def _tell(bus: Bus, topic: str, key: str, value: UUID) -> None:
    """The change is committed: a bus that is down must not make it look undone. The stages read the store for the
    truth, so what they were not told they find there."""
    try:
        bus.publish(topic, msgspec.json.encode({key: str(value)}))
    except BusError as error:
        log.warning("desk.not_told", topic=topic, error=str(error), **{key: str(value)})
