"""A case as it leaves a centre: incident, sighting, infrastructure, note, playbook and the grouping of all of them.

`created` and `modified` come from the case, never from the time of sending. What may stand in a case is decided by the
type `Case`: counts that are too small are None, places are pseudonyms, and there is no field for a reading, a device
name or free text.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from model.attack_ics import BY_ID
from model.device import Provenance
from model.finding import FindingKind, Severity
from model.ids import stable_id
from model.incident import Status
from model.marking import Tlp
from model.stix import (
    CORE_INCIDENT,
    COURSE_OF_ACTION,
    ESMC,
    OWN_INCIDENT,
    TLP_MARKINGS,
    StixObject,
    canonical,
    extension_definitions,
    identity,
    identity_id,
    location,
    marking,
    technique_stub,
)
from model.time import iso_utc

PHRASES = {
    FindingKind.DATA_QUALITY: "measurements of doubtful quality",
    FindingKind.METER_TAMPER: "meter readings that disagree with phasors behind the same terminals",
    FindingKind.CLOCK_ATTACK: "phasor clocks that drift against all neighbours",
    FindingKind.EUROPEAN_ADVICE: "advice of the pan-European centre",
    FindingKind.EQUIVOCATION: "devices that contradict themselves",
}
RSIT = {
    FindingKind.DATA_QUALITY: ("other", "other"),
    FindingKind.METER_TAMPER: ("information-content-security", "unauthorised-information-modification"),
    FindingKind.CLOCK_ATTACK: ("information-content-security", "unauthorised-information-modification"),
    FindingKind.EUROPEAN_ADVICE: ("other", "other"),
    FindingKind.EQUIVOCATION: ("information-content-security", "unauthorised-information-modification"),
}
CRITICALITY = {Severity.LOW: 20, Severity.MEDIUM: 45, Severity.HIGH: 70, Severity.CRITICAL: 90}
DETERMINATION = {
    Status.CLOSED_TRUE: "confirmed",
    Status.CLOSED_FALSE: "false-positive",
    Status.CLOSED_BENIGN: "false-positive",
}


@dataclass(frozen=True, slots=True)
class Case:
    """Everything of an incident that may leave a centre. Built by the privacy gate only (smc/sharing.py)."""

    site: str
    case: str  # case-000042
    kind: FindingKind
    severity: Severity
    status: Status
    created: datetime
    modified: datetime
    first_seen: datetime
    last_seen: datetime
    findings: int
    technique: str  # "" where none fits
    provenance: Provenance
    version: int
    confidence: int  # 0..100
    country: str
    area: str
    meters: int | None  # None: suppressed, below the k of the federation
    pmus: int | None
    groups: tuple[str, ...]  # pseudonyms of feeders or units
    playbook: Mapping[str, object] | None  # CACAO v2
    marking: Tlp = Tlp.AMBER


def incident_objects(case: Case) -> list[StixObject]:
    """The rich form of a case: catalogue copies first, then what the operator owns, then the grouping of all."""
    technique = BY_ID.get(case.technique)
    place = location(case.country, case.area)
    shared = [marking(case.marking), identity(ESMC), identity(case.site), extension_definitions()[0], place]
    shared += [technique_stub(technique)] if technique else []
    incident = _incident(case)
    own = [incident, _link(case, "located-at", incident, place), _note(case, incident)]
    for group in case.groups:
        feeder = _infrastructure(case, group)
        own += [feeder, _link(case, "targets", incident, feeder)]
    if technique:
        stub = shared[-1]
        own += [_sighting(case, stub, place), _link(case, "related-to", incident, stub)]
    if case.playbook is not None:
        course = _course_of_action(case, case.playbook)
        own += [course, _link(case, "related-to", incident, course)]
    refs = [o["id"] for o in shared + own if o["type"] not in ("marking-definition", "extension-definition")]
    grouping = _own(case, "grouping", case.case, name=incident["name"], context="suspicious-activity", object_refs=refs)
    return [*shared, *own, grouping]


def incident_ref(site: str, case: str) -> str:
    """STIX id of an operator's case."""
    return f"incident--{stable_id('incident', site, case)}"


def _own(case: Case, kind: str, *key: object, **properties: object) -> StixObject:
    return {
        "type": kind,
        "spec_version": "2.1",
        "id": f"{kind}--{stable_id(kind, case.site, *key)}",
        "created": iso_utc(case.created),
        "modified": iso_utc(case.modified),
        "created_by_ref": identity_id(case.site),
        "object_marking_refs": [TLP_MARKINGS[case.marking]],
        **properties,
    }


def _incident(case: Case) -> StixObject:
    category, kind = RSIT[case.kind]
    labels = [f'rsit:{category}="{kind}"', 'nis2:impact-subsectors-impacted="electricity"']
    labels += [] if case.provenance is Provenance.MEASURED else [str(case.provenance)]
    return _own(
        case,
        "incident",
        case.case,
        name=f"{case.site}/{case.case}: {PHRASES[case.kind]}",
        description=f"{case.findings} findings of automatic detectors: {PHRASES[case.kind]}. Status: {case.status}.",
        confidence=case.confidence,
        labels=labels,
        external_references=[{"source_name": "smc-case", "external_id": f"{case.site}/{case.case}"}],
        first_seen=iso_utc(case.first_seen),
        last_seen=iso_utc(case.last_seen),
        incident_type=str(case.kind),
        source="smc",
        x_smc_gravity=str(case.severity),
        x_smc_rsit=f"{category}/{kind}",
        x_smc_seq=case.version,
        extensions={
            CORE_INCIDENT: _core_extension(case),
            OWN_INCIDENT: {"extension_type": "toplevel-property-extension"},
        },
    )


def _core_extension(case: Case) -> StixObject:
    status = "new" if case.status is Status.NEW else "closed" if case.status in DETERMINATION else "open"
    counts = {"ics-sensor": case.meters, "ics-pmu": case.pmus}
    told = {name: count for name, count in counts.items() if count is not None}
    return {
        "extension_type": "property-extension",
        "determination": DETERMINATION.get(case.status, "suspected"),
        "investigation_status": status,
        "criticality": CRITICALITY[case.severity],
        "detection_methods": ["automated-tool"],
    } | ({"impacted_entity_counts": told} if told else {})


def _infrastructure(case: Case, group: str) -> StixObject:
    return _own(
        case,
        "infrastructure",
        case.case,
        group,
        name=f"LV feeder group {group}",
        infrastructure_types=["unknown"],
        description="pseudonymised; resolvable by the operator only",
    )


def _sighting(case: Case, stub: StixObject, place: StixObject) -> StixObject:
    return _own(
        case,
        "sighting",
        case.case,
        stub["id"],
        sighting_of_ref=stub["id"],
        where_sighted_refs=[identity_id(case.site), place["id"]],
        first_seen=iso_utc(case.first_seen),
        last_seen=iso_utc(case.last_seen),
        count=case.findings,
        confidence=case.confidence,
        summary=True,
    )


def _link(case: Case, relation: str, source: StixObject, target: StixObject) -> StixObject:
    ends = {"source_ref": source["id"], "target_ref": target["id"]}
    return _own(case, "relationship", relation, *ends.values(), relationship_type=relation, **ends)


def _note(case: Case, incident: StixObject) -> StixObject:
    counts = {"meters": case.meters, "pmus": case.pmus}
    told = "; ".join(f"{k}={'below 10, not stated' if v is None else v}" for k, v in counts.items())
    technique = case.technique or "none of ATT&CK for ICS fits"
    content = f"gravity={case.severity}; provenance={case.provenance}; technique={technique}; {told}"
    return _own(case, "note", case.case, content=content, object_refs=[incident["id"]])


def _course_of_action(case: Case, playbook: Mapping[str, object]) -> StixObject:
    times = {"created": playbook["created"], "modified": playbook["modified"]}
    facts = {
        "extension_type": "property-extension",
        "playbook_id": playbook["id"],
        "playbook_standard": "cacao-2.0",
        "playbook_abstraction": "executable",
        "playbook_type": playbook["playbook_types"],
        "playbook_bin": base64.b64encode(canonical(playbook)).decode(),
    }
    course = _own(
        case,
        "course-of-action",
        playbook["id"],
        name=playbook["name"],
        description="Manual steps for an operator; nothing is switched automatically.",
        extensions={COURSE_OF_ACTION: times | facts},
    )
    return course | times
