"""One playbook proposed for each incident, by its kind, with the reason; a person decides.

Ranking over a library of countermeasures comes behind the same step: this proposes the one playbook of the kind.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import datetime
from uuid import UUID

from model.decision import Decision, DecisionStatus
from model.finding import FindingKind
from model.ids import stable_id
from model.incident import CLOSED, Incident
from model.time import to_datetime
from smc.bus import Delivery
from smc.context import StageContext
from smc.playbooks import for_kind
from smc.stage import consume, message_id
from smc.store import decisions, incidents

STAGE, TOPIC = "decide", "incidents"

# Why this playbook: one sentence per kind, printed beside the proposal.
REASONS: dict[FindingKind, str] = {
    FindingKind.DATA_QUALITY: "The data are not usable as they are; finding the cause costs little and reverses fully.",
    FindingKind.METER_TAMPER: "Two instruments behind the same terminals disagree; a second look and an estimate in "
    "the meter's place protect billing and grid view while nothing is switched.",
    FindingKind.CLOCK_ATTACK: "Only the angles of one unit turn while its powers hold: its time cannot be trusted, "
    "its magnitudes can. Taking its angles out protects the grid view and reverses fully.",
    FindingKind.EUROPEAN_ADVICE: "Others see this campaign; checking whether it is here costs minutes.",
    FindingKind.EQUIVOCATION: "A device that says two things about one moment lies at least once, or somebody speaks "
    "in its name. Finding out who, before its data are used again, costs little and reverses fully.",
}


def run(context: StageContext, stop: threading.Event) -> None:
    """Read incidents until told to stop."""

    def handle(delivery: Delivery) -> Mapping[str, int]:
        return {"proposed": int(propose(context, message_id(delivery.body, "incident_id")))}

    consume(context, stop, TOPIC, STAGE, handle)


def propose(context: StageContext, incident_id: UUID) -> bool:
    """Propose the playbook of the incident's kind once; True if it is new."""
    now = to_datetime(context.clock.now_ns())
    with context.engine.begin() as conn:
        incident = incidents.get(conn, incident_id)
        if incident is None or incident.status in CLOSED:
            return False
        return decisions.propose(conn, proposal(incident, now))


def proposal(incident: Incident, now: datetime) -> Decision:
    """What is proposed for an incident; the id is stable, so that it is proposed once."""
    playbook = for_kind(incident.kind)
    playbook_id, title = str(playbook["id"]), str(playbook["name"])
    decision_id = stable_id("decision", incident.site, incident.incident_id, playbook_id)
    reason = REASONS[incident.kind]
    return Decision(decision_id, incident.incident_id, playbook_id, title, reason, DecisionStatus.PROPOSED, now)
