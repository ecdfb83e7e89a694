"""The door to the grid: what a person approved is written out once, found even without its message; nothing else."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from model.decision import Decision, DecisionStatus
from model.errors import Conflict
from model.finding import FindingKind
from model.ids import new_id
from smc import act
from smc.bus import MemoryBus
from smc.playbooks import for_kind
from smc.store import decisions
from tests.browser.world import found_grid, raise_finding, tampered
from tests.smc.stages.line import centre

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PROPOSED = Decision(
    new_id(), new_id(), str(for_kind(FindingKind.METER_TAMPER)["id"]), "t", "r", DecisionStatus.PROPOSED, NOW
)


@pytest.mark.parametrize("status", [s for s in DecisionStatus if s is not DecisionStatus.APPROVED])
def test_what_no_person_approved_is_refused(status: DecisionStatus) -> None:
    with pytest.raises(Conflict, match="approved by a person"):
        act.dry_run(replace(PROPOSED, status=status, decided_by="omar"))


def test_an_approval_without_a_name_is_refused() -> None:
    with pytest.raises(Conflict, match="approved by a person"):
        act.dry_run(replace(PROPOSED, status=DecisionStatus.APPROVED))


def test_a_dry_run_names_every_step_and_who_would_do_it() -> None:
    words = act.dry_run(replace(PROPOSED, status=DecisionStatus.APPROVED, decided_by="omar"))
    assert words.startswith("Dry run: nothing was switched or sent. Approved by omar.")
    assert words.count("would be handed to") == 5


def test_an_approval_whose_message_was_lost_is_carried_out(smc_embedded: str, tmp_path: Path) -> None:
    context = centre(smc_embedded, MemoryBus(), tmp_path)
    fleet, began = found_grid(context)
    incident = raise_finding(context, tampered(fleet, began))
    with context.engine.begin() as conn:
        (decision,) = decisions.of_incident(conn, incident.incident_id)
        before = _actions(context)
    stop = threading.Event()
    thread = threading.Thread(target=act.run, args=(context, stop))
    thread.start()
    time.sleep(0.5)  # the stage has looked once and found nothing
    with context.engine.begin() as conn:
        decisions.decide(conn, decision.decision_id, DecisionStatus.APPROVED, "omar", "as discussed")
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with context.engine.connect() as conn:
            found = decisions.get(conn, decision.decision_id)
        assert found is not None
        if found.status is DecisionStatus.DONE:
            break
        time.sleep(0.1)
    stop.set()
    thread.join(20)
    assert found.status is DecisionStatus.DONE
    assert found.dry_run
    assert [a for a in _actions(context) if a not in before] == ["decision-dry-run"]
    assert not act.carry_out(context, decision.decision_id)  # once is enough
    context.engine.dispose()


def _actions(context: act.StageContext) -> list[str]:
    with context.engine.connect() as conn:
        return list(conn.execute(text("SELECT action FROM audit ORDER BY number")).scalars())
