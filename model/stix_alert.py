"""What comes from Europe and what goes back: early alerts and acknowledgements."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from model.attack_ics import BY_ID
from model.finding import FindingKind, Severity
from model.ids import stable_id
from model.marking import Tlp
from model.stix import (
    ESMC,
    OWN_ACK,
    OWN_ALERT,
    TLP_MARKINGS,
    StixObject,
    extension_definitions,
    identity,
    identity_id,
    marking,
    technique_stub,
)
from model.time import iso_utc


@dataclass(frozen=True, slots=True)
class Alert:
    """One early alert as the ESMC publishes it. No member is named; `members` is a count."""

    alert_id: UUID
    title: str
    text: str
    kind: FindingKind
    severity: Severity
    technique: str
    members: int
    first_seen: datetime
    last_seen: datetime
    created: datetime
    published: datetime  # rises with every new version
    simulated: bool
    marking: Tlp = Tlp.GREEN


def alert_objects(alert: Alert) -> list[StixObject]:
    """An early alert: the report with the stubs it names."""
    technique = BY_ID.get(alert.technique)
    stubs = [technique_stub(technique)] if technique else []
    refs = [stub["id"] for stub in stubs] or [identity_id(ESMC)]
    report: StixObject = {
        "type": "report",
        "spec_version": "2.1",
        "id": f"report--{alert.alert_id}",
        "created": iso_utc(alert.created),
        "modified": iso_utc(alert.published),
        "created_by_ref": identity_id(ESMC),
        "object_marking_refs": [TLP_MARKINGS[alert.marking]],
        "name": alert.title,
        "description": alert.text,
        "report_types": ["campaign"],
        "published": iso_utc(alert.published),
        "labels": ["early-alert", *(["simulated"] if alert.simulated else [])],
        "object_refs": refs,
        "x_smc_kind": str(alert.kind),
        "x_smc_gravity": str(alert.severity),
        "x_smc_members": alert.members,
        "x_smc_first_seen": iso_utc(alert.first_seen),
        "x_smc_last_seen": iso_utc(alert.last_seen),
        "extensions": {OWN_ALERT: {"extension_type": "toplevel-property-extension"}},
    }
    return [marking(alert.marking), identity(ESMC), extension_definitions()[1], *stubs, report]


ACK_STATES = ("received", "read", "acted", "not-applicable")


def ack_objects(site: str, report_ref: str, version: str, state: str, at: datetime) -> list[StixObject]:
    """A member's answer to one version of an early alert: a note with the extension property `x_smc_ack`."""
    if state not in ACK_STATES:
        raise ValueError(f"state of an acknowledgement is {state!r}, expected one of {', '.join(ACK_STATES)}")
    note: StixObject = {
        "type": "note",
        "spec_version": "2.1",
        "id": f"note--{stable_id('note', site, report_ref, version, state)}",
        "created": iso_utc(at),
        "modified": iso_utc(at),
        "created_by_ref": identity_id(site),
        "object_marking_refs": [TLP_MARKINGS[Tlp.AMBER_STRICT]],
        "content": f"early alert {state}",
        "object_refs": [report_ref],
        "x_smc_ack": {"state": state, "id": report_ref, "version": version, "time": iso_utc(at)},
        "extensions": {OWN_ACK: {"extension_type": "toplevel-property-extension"}},
    }
    return [marking(Tlp.AMBER_STRICT), identity(ESMC), identity(site), extension_definitions()[2], note]
