"""What people change at the desk: the right, the version, history and audit in one transaction, then the bus."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from model.errors import Conflict, NotPermitted, OperatorError
from model.ids import new_id
from model.incident import Incident, Status
from smc.bus import BusDown, MemoryBus
from smc.context import StageContext
from smc.desk import commands
from smc.store import decisions, incidents
from tests.browser import world
from trust.roles import Role
from trust.sessions import Session
from trust.store import verify_audit


def session(name: str, role: Role) -> Session:
    now = datetime.now(UTC)
    return Session(b"", new_id(), name, role, False, now, now, now + timedelta(hours=1), now, "127.0.0.1", "csrf")


ANNA, OMAR = session("anna", Role.ANALYST), session("omar", Role.OPERATOR)
AXEL, ADAM = session("axel", Role.AUDITOR), session("adam", Role.ADMIN)


@pytest.fixture
def centre(smc_embedded: str, valkey_url: str, tmp_path: Path) -> Iterator[StageContext]:
    made = world.context(world.settings(smc_embedded, valkey_url, tmp_path))
    world.add_accounts(made.engine)
    yield made
    made.engine.dispose()


@pytest.fixture
def incident(centre: StageContext) -> Incident:
    fleet = world.enrol(centre.engine)
    return world.raise_finding(centre, world.tampered(fleet, datetime.now(UTC)))


def audited(centre: StageContext) -> list[tuple[str, str, str]]:
    with centre.engine.connect() as conn:
        verify_audit(conn)
        rows = conn.execute(text("SELECT actor, action, object FROM audit WHERE actor <> 'test' ORDER BY number"))
        return [tuple(row) for row in rows]


def stored(centre: StageContext, incident: Incident) -> Incident:
    with centre.engine.connect() as conn:
        found = incidents.get(conn, incident.incident_id)
    assert found is not None
    return found


def test_an_operator_approves_and_act_is_told(centre: StageContext, incident: Incident) -> None:
    which = world.proposal_of(centre, incident).decision_id
    centre.bus.receive("decisions", "act", "test", 1, 0.0)  # the group exists from here on
    decision = commands.approve(centre.engine, centre.bus, OMAR, which, "  both instruments disagree ")
    assert (decision.status, decision.decided_by, decision.decision_reason) == (
        "approved",
        "omar",
        "both instruments disagree",
    )
    (told,) = centre.bus.receive("decisions", "act", "test", 5, 2.0)
    assert json.loads(told.body) == {"decision_id": str(which)}
    assert audited(centre) == [("omar", "decision-approved", f"decision:{which}")]


@pytest.mark.parametrize("who", [ANNA, AXEL, ADAM, None], ids=["analyst", "auditor", "admin", "nobody"])
def test_nobody_else_decides(centre: StageContext, incident: Incident, who: Session | None) -> None:
    which = world.proposal_of(centre, incident).decision_id
    for command in (commands.approve, commands.refuse):
        with pytest.raises(NotPermitted):
            command(centre.engine, centre.bus, who, which, "a good reason")
    assert world.proposal_of(centre, incident).status == "proposed"
    assert audited(centre) == []


@pytest.mark.parametrize("who", [AXEL, ADAM, None], ids=["auditor", "admin", "nobody"])
def test_who_only_reads_changes_nothing(centre: StageContext, incident: Incident, who: Session | None) -> None:
    engine, bus, which = centre.engine, centre.bus, incident.incident_id
    with pytest.raises(NotPermitted):
        commands.change_status(engine, bus, who, which, 1, Status.ACKNOWLEDGED, "")
    with pytest.raises(NotPermitted):
        commands.assign(engine, bus, who, which, 1, "anna")
    with pytest.raises(NotPermitted):
        commands.note(engine, bus, who, which, "a note")
    assert stored(centre, incident) == incident
    assert audited(centre) == []


def test_a_refusal_is_final_and_the_second_person_learns_of_the_first(centre: StageContext, incident: Incident) -> None:
    which = world.proposal_of(centre, incident).decision_id
    commands.refuse(centre.engine, centre.bus, OMAR, which, "maintenance, announced yesterday")
    with pytest.raises(Conflict, match="refused by omar already"):
        commands.approve(centre.engine, centre.bus, OMAR, which, "still think so")
    assert [action for _, action, _ in audited(centre)] == ["decision-refused"]


@pytest.mark.parametrize("reason", ["", "  ", "x", "y" * 2_001])
def test_a_decision_without_a_reason_is_refused(centre: StageContext, incident: Incident, reason: str) -> None:
    which = world.proposal_of(centre, incident).decision_id
    with pytest.raises(OperatorError, match="length of the reason"):
        commands.approve(centre.engine, centre.bus, OMAR, which, reason)
    assert audited(centre) == []


def test_a_status_is_changed_with_history_and_audit(centre: StageContext, incident: Incident) -> None:
    commands.change_status(
        centre.engine, centre.bus, ANNA, incident.incident_id, incident.version, Status.ACKNOWLEDGED, ""
    )
    with pytest.raises(OperatorError, match="reason"):
        commands.change_status(centre.engine, centre.bus, ANNA, incident.incident_id, 2, Status.CLOSED_BENIGN, "")
    commands.change_status(centre.engine, centre.bus, ANNA, incident.incident_id, 2, Status.CLOSED_BENIGN, "new wiring")
    with centre.engine.connect() as conn:
        entries = incidents.history(conn, incident.incident_id)
    assert [(e.actor, e.before, e.after, e.reason) for e in entries[1:]] == [
        ("anna", "new", "acknowledged", ""),
        ("anna", "acknowledged", "closed-benign", "new wiring"),
    ]
    assert audited(centre) == [("anna", "incident-status", f"incident:{incident.case}")] * 2


def test_a_stale_version_says_who_was_first(centre: StageContext, incident: Incident) -> None:
    commands.change_status(centre.engine, centre.bus, OMAR, incident.incident_id, 1, Status.ACKNOWLEDGED, "")
    for late in (
        lambda: commands.change_status(
            centre.engine, centre.bus, ANNA, incident.incident_id, 1, Status.INVESTIGATING, ""
        ),
        lambda: commands.assign(centre.engine, centre.bus, ANNA, incident.incident_id, 1, "anna"),
    ):
        with pytest.raises(Conflict, match=r"omar changed this incident first .*acknowledged"):
            late()
    assert stored(centre, incident).version == 2
    assert len(audited(centre)) == 1


def test_of_many_at_once_exactly_one_wins(centre: StageContext, incident: Incident) -> None:
    results: list[str] = []
    barrier = threading.Barrier(6)

    def attempt() -> None:
        barrier.wait(10)
        try:
            commands.assign(centre.engine, centre.bus, ANNA, incident.incident_id, 1, "anna")
            results.append("won")
        except Conflict:
            results.append("told")

    threads = [threading.Thread(target=attempt) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["told"] * 5 + ["won"]
    assert stored(centre, incident).version == 2
    assert len(audited(centre)) == 1


def test_only_people_of_the_desk_are_assigned(centre: StageContext, incident: Incident) -> None:
    with pytest.raises(Conflict, match="nobody named 'axel' works on incidents here"):
        commands.assign(centre.engine, centre.bus, ANNA, incident.incident_id, 1, "axel")
    assert commands.assign(centre.engine, centre.bus, ANNA, incident.incident_id, 1, "omar") == 2
    assert commands.assign(centre.engine, centre.bus, ANNA, incident.incident_id, 2, "") == 3
    assert stored(centre, incident).assignee == ""


def test_notes_never_collide(centre: StageContext, incident: Incident) -> None:
    commands.note(centre.engine, centre.bus, ANNA, incident.incident_id, "asked the crew")
    commands.note(centre.engine, centre.bus, OMAR, incident.incident_id, "crew is on its way")
    with centre.engine.connect() as conn:
        said = [e.reason for e in incidents.history(conn, incident.incident_id) if e.action == "note"]
    assert said == ["asked the crew", "crew is on its way"]
    with pytest.raises(Conflict, match="does not exist"):
        commands.note(centre.engine, centre.bus, ANNA, new_id(), "to nobody")


def test_a_bus_that_is_down_does_not_undo_what_is_committed(centre: StageContext, incident: Incident) -> None:
    class Down(MemoryBus):
        def publish(self, topic: str, body: bytes) -> str:
            raise BusDown("no connection")

    which = world.proposal_of(centre, incident).decision_id
    commands.approve(centre.engine, Down(), OMAR, which, "seen by two of us")
    with centre.engine.connect() as conn:
        assert [d.decision_id for d in decisions.approved(conn)] == [which]


def test_a_step_that_fails_leaves_no_trace(centre: StageContext, incident: Incident) -> None:
    with pytest.raises(Conflict, match="expected a step"):
        commands.change_status(centre.engine, centre.bus, ANNA, incident.incident_id, 1, Status.CONTAINED, "too early")
    assert stored(centre, incident) == incident
    assert audited(centre) == []
