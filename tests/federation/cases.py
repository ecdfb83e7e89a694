"""Incidents as the line of flow makes them: enrolled devices, a finding, its incident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Connection

from model.device import Device, DeviceKind, Protocol, Provenance
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import stable_id
from model.incident import Status
from model.stix_case import Case
from smc.playbooks import for_kind
from smc.store import devices, findings, incidents

MARKER = "canary-7f3a"  # in device names and free text: must never be found in an outbound byte
READING = 48_151.623


def enrol_fleet(conn: Connection, site: str, meters: int = 12) -> list[Device]:
    """Meters on one feeder and a PMU."""
    made = [
        Device(0, f"urn:dev:norm:{MARKER}-{i}:meter", DeviceKind.METER, Protocol.SENML_MQTT, site, Provenance.SIMULATED,
               unit=f"{MARKER}-{i}", feeder=f"{MARKER}-feeder")
        for i in range(meters)
    ]  # fmt: skip
    pmu = Device(0, f"pmu:61:{MARKER}", DeviceKind.PMU, Protocol.C37_118, site, Provenance.SIMULATED, unit=MARKER)
    return devices.enrol(conn, [*made, pmu])


def open_incident(
    conn: Connection, site: str, kind: FindingKind = FindingKind.METER_TAMPER, key: str = "1", probability: float = 0.9
) -> UUID:
    """A finding over the whole fleet and the incident that it opens (or extends)."""
    fleet = devices.all_devices(conn) or enrol_fleet(conn, site)
    now = datetime.now(UTC)
    finding = Finding(
        finding_id=stable_id("finding", site, kind, key),
        site=site,
        kind=kind,
        detector="test",
        detector_version="1",
        devices=tuple(d.index for d in fleet),
        start=now - timedelta(minutes=5),
        end=now,
        severity=Severity.HIGH,
        score=2.0,
        probability=probability,
        title=f"{MARKER} at the house of somebody",
        explanation=f"{READING} W measured",
        evidence=(Evidence("power_w", READING, 10.0, 5.0, 15.0, "W", 1.0),),
        missing=(),
        causes=(),
        technique="T0856" if kind is FindingKind.METER_TAMPER else "",
        provenance=Provenance.SIMULATED,
    )
    findings.add(conn, [finding])
    incident, _ = incidents.open_or_extend(conn, finding, f"{kind}|{key[0]}", now - timedelta(hours=1), now)
    return incident.incident_id


def a_case(site: str = "DSO-0001", number: int = 42, kind: FindingKind = FindingKind.METER_TAMPER) -> Case:
    """A case with everything in it, at a fixed time."""
    at = datetime(2026, 11, 1, 10, tzinfo=UTC)
    return Case(
        site=site,
        case=f"case-{number:06d}",
        kind=kind,
        severity=Severity.HIGH,
        status=Status.NEW,
        created=at,
        modified=at,
        first_seen=at - timedelta(minutes=18),
        last_seen=at - timedelta(minutes=5),
        findings=7,
        technique="T0856" if kind is FindingKind.METER_TAMPER else "",
        provenance=Provenance.SIMULATED,
        version=3,
        confidence=80,
        country="DE",
        area="DE-BY",
        meters=214,
        pmus=None,
        groups=("1218fa191b8c459fbcb6",),
        playbook=for_kind(kind),
    )
