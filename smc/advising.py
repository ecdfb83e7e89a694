"""Advice from Europe as a centre takes it in: data, never a command; a finding like any other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from model.advice import Advice
from model.device import DeviceKind, Provenance
from model.errors import NotTrusted
from model.finding import Finding, FindingKind, Severity
from model.ids import stable_id
from model.marking import Tlp
from model.stix import ESMC, TLP_MARKINGS, StixObject, catalogue_copy, encode_envelope, identity_id, is_catalogue
from model.stix_alert import ack_objects
from model.time import iso_utc
from wire.stix import Report, check, stamp

# A grid without such devices is not concerned.
CONCERNED = {
    FindingKind.METER_TAMPER: DeviceKind.METER,
    FindingKind.DATA_QUALITY: DeviceKind.METER,
    FindingKind.CLOCK_ATTACK: DeviceKind.PMU,
}
HIGHEST = Severity.MEDIUM  # without a local sighting nothing from outside is more urgent


def read_reports(objects: Iterable[StixObject]) -> list[Report]:
    """The early alerts in an envelope of the centre. Raises DecodeError or NotTrusted for anything else in it."""
    reports = []
    for received in objects:
        if is_catalogue(received):
            if received != catalogue_copy(received):
                raise NotTrusted("catalogue", "catalogue object", str(received.get("id"))[:80], "the known content")
            continue
        typed, _ = check(received)
        if typed.created_by_ref != identity_id(ESMC) or not isinstance(typed, Report):
            raise NotTrusted("creator", "object in the advice", typed.id, "a report of the ESMC")
        reports.append(typed)
    return reports


def advice_of(report: Report, technique: str, received: datetime) -> Advice:
    """The noun of a report. `technique` is the ATT&CK id that its stub stands for."""
    levels = {ref: level for level, ref in TLP_MARKINGS.items()}
    return Advice(
        advice_id=UUID(report.id.removeprefix("report--")),
        title=report.name,
        text=report.description,
        kind=FindingKind(report.x_smc_kind),
        severity=Severity(report.x_smc_gravity),
        technique=technique,
        members=report.x_smc_members,
        first_seen=stamp(report.x_smc_first_seen),
        published=stamp(report.modified),
        marking=levels.get(report.object_marking_refs[0], Tlp.RED),
        received=received,
    )


def concerns(advice: Advice, kinds: Sequence[DeviceKind]) -> bool:
    """Whether this grid has devices of the kind that the alert is about."""
    return CONCERNED.get(advice.kind) in kinds


def finding_of(advice: Advice, site: str, *, simulated: bool) -> Finding:
    """The finding by which advice enters the line of flow. The same advice is the same finding."""
    return Finding(
        finding_id=stable_id("finding", site, "european-advice", advice.advice_id),
        site=site,
        kind=FindingKind.EUROPEAN_ADVICE,
        detector="esmc",
        detector_version="1",
        devices=(),
        start=advice.first_seen,
        end=max(advice.first_seen, advice.published),
        severity=min(advice.severity, HIGHEST, key=lambda s: s.rank),
        score=1.0,
        probability=0.5,
        title=f"Europe: {advice.title}",
        explanation=f"{advice.text} The centre states no probability for this grid; look for the same here.",
        evidence=(),
        missing=("a sighting at our own devices; findings of the same kind would be one",),
        causes=("the same campaign reaches this grid", "the campaign does not concern this grid"),
        technique=advice.technique,
        provenance=Provenance.SIMULATED if simulated else Provenance.MEASURED,
    )


def acknowledgement(site: str, advice: Advice, state: str, at: datetime) -> bytes:
    """The frozen envelope that tells the centre what became of its alert."""
    objects = ack_objects(site, f"report--{advice.advice_id}", iso_utc(advice.published), state, at)
    return encode_envelope(objects)
