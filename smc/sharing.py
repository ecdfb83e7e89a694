"""The gate through which everything leaves the centre: allow-list, pseudonyms, suppressed counts, template text.

Deny by default: what has no field in `model.stix_case.Case` cannot leave, and only this file fills that type.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from model.device import Device, DeviceKind
from model.finding import Finding, FindingKind, Severity
from model.incident import Incident
from model.stix import encode_envelope
from model.stix_case import Case, incident_objects, incident_ref
from trust.pseudonyms import pseudonym

K_ANONYMITY = 10  # smaller counts are suppressed
MAX_GROUPS = 20
SHARED_KINDS = (FindingKind.METER_TAMPER, FindingKind.CLOCK_ATTACK, FindingKind.DATA_QUALITY)
LEAST_SEVERITY = Severity.MEDIUM
QUIET = timedelta(seconds=20)  # between two versions of one incident
MILLISECOND = timedelta(milliseconds=1)
PSEUDONYM_DOMAIN = "smc-feeder-1"


@dataclass(frozen=True, slots=True)
class Sharer:
    """Who shares: the operator's code and place, and the key of its pseudonyms, which never leaves."""

    site: str
    country: str
    area: str
    key: bytes


def share(
    sharer: Sharer,
    incident: Incident,
    devices: Sequence[Device],
    findings: Sequence[Finding],
    playbook: Mapping[str, object] | None,
    proposed: datetime | None,
    last: bytes | None,
) -> bytes:
    """The envelope of an incident as it stands. `last` is the one frozen before; a change gets a later `modified`.

    The same state gives the same bytes: compare with `last` to see whether there is anything new to tell.
    """
    case = _case(sharer, incident, devices, findings, playbook)
    if last is None:
        return encode_envelope(incident_objects(replace(case, modified=_latest(case, proposed))))
    before = frozen_version(last, incident_ref(sharer.site, case.case))
    same = encode_envelope(incident_objects(replace(case, modified=before)))
    if same == last:
        return last
    return encode_envelope(incident_objects(replace(case, modified=max(_latest(case, proposed), before + MILLISECOND))))


def frozen_version(body: bytes, ref: str) -> datetime:
    """`modified` of an object in an envelope that this centre froze itself."""
    objects = json.loads(body)["objects"]
    return datetime.fromisoformat(next(o["modified"] for o in objects if o["id"] == ref))


def suppressed(count: int) -> int | None:
    """A count that may be told, None for one that is too small."""
    return count if count >= K_ANONYMITY else None


def _latest(case: Case, proposed: datetime | None) -> datetime:
    return case.modified if proposed is None else max(case.modified, proposed)


def _case(
    sharer: Sharer,
    incident: Incident,
    devices: Sequence[Device],
    findings: Sequence[Finding],
    playbook: Mapping[str, object] | None,
) -> Case:
    kinds = [d.kind for d in devices]
    groups = {pseudonym(sharer.key, PSEUDONYM_DOMAIN, d.feeder or d.zone or d.unit or d.name) for d in devices}
    probability = max((f.probability for f in findings), default=0.5)
    return Case(
        site=sharer.site,
        case=f"case-{incident.number:06d}",
        kind=incident.kind,
        severity=incident.severity,
        status=incident.status,
        created=incident.opened,
        modified=incident.changed,
        first_seen=incident.first_seen,
        last_seen=incident.last_seen,
        findings=incident.findings,
        technique=incident.technique,
        provenance=incident.provenance,
        version=incident.version,
        confidence=min(99, max(1, round(100 * probability))),
        country=sharer.country,
        area=sharer.area,
        meters=suppressed(kinds.count(DeviceKind.METER)),
        pmus=suppressed(kinds.count(DeviceKind.PMU)),
        groups=tuple(sorted(groups)[:MAX_GROUPS]),
        playbook=playbook,
    )
