"""What the centre makes of the members' cases: incidents, campaigns, early alerts, acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from model.device import Provenance
from model.finding import FindingKind, Severity
from model.marking import Tlp
from model.stix_alert import Alert


@dataclass(frozen=True, slots=True)
class EuropeanIncident:
    """The newest version of one member's case. `sensors` is None where the member suppressed the count."""

    incident_ref: str
    member: str
    case_name: str
    title: str
    kind: FindingKind
    technique: str
    severity: Severity
    status: str  # determination: suspected, confirmed, false-positive
    confidence: int  # 0..100
    sensors: int | None
    provenance: Provenance
    first_seen: datetime
    last_seen: datetime
    version: datetime
    received: datetime


@dataclass(frozen=True, slots=True)
class Campaign:
    """Incidents of several members that tell one story. `number` is its name for people (campaign 7)."""

    campaign_id: UUID
    number: int
    kind: FindingKind
    technique: str
    severity: Severity
    simulated: bool
    members: int
    incidents: int
    first_seen: datetime
    last_seen: datetime
    opened: datetime
    changed: datetime
    statistic: float  # Stouffer's Z
    probability: float
    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A member's answer to one version of an alert."""

    alert_id: UUID
    member: str
    state: str
    version: datetime
    stated: datetime
    received: datetime


def cursor(conn: Connection, name: str) -> int:
    """How far a shelf has been read, locked until the commit: two correlators never do the same work twice."""
    conn.execute(text("INSERT INTO cursors (name, seq) VALUES (:name, 0) ON CONFLICT DO NOTHING"), {"name": name})
    return int(conn.execute(text("SELECT seq FROM cursors WHERE name = :name FOR UPDATE"), {"name": name}).scalar_one())


def move_cursor(conn: Connection, name: str, seq: int) -> None:
    """Everything up to here is done."""
    conn.execute(text("UPDATE cursors SET seq = :seq WHERE name = :name"), {"name": name, "seq": seq})


def put_incident(conn: Connection, incident: EuropeanIncident) -> bool:
    """Add a case or its newer version; False if a newer one is known."""
    query = text(
        "INSERT INTO incidents (incident_ref, member, case_name, title, kind, technique, severity, status, confidence, "
        "sensors, provenance, first_seen, last_seen, version, received) VALUES (:incident_ref, :member, :case_name, "
        ":title, :kind, coalesce((SELECT technique FROM incident_techniques t WHERE t.incident_ref = :incident_ref), "
        ":technique), :severity, :status, :confidence, :sensors, :provenance, :first_seen, :last_seen, :version, "
        ":received) ON CONFLICT (incident_ref) DO UPDATE SET title = excluded.title, kind = excluded.kind, "
        "technique = excluded.technique, severity = excluded.severity, status = excluded.status, "
        "confidence = excluded.confidence, sensors = excluded.sensors, provenance = excluded.provenance, "
        "first_seen = excluded.first_seen, last_seen = excluded.last_seen, version = excluded.version, "
        "received = excluded.received WHERE incidents.version < excluded.version RETURNING incident_ref"
    )
    return conn.execute(query, _words(incident)).one_or_none() is not None


def put_technique(conn: Connection, incident_ref: str, technique: str) -> None:
    """A case's technique, which may arrive before the case."""
    query = text(
        "INSERT INTO incident_techniques (incident_ref, technique) VALUES (:ref, :technique) "
        "ON CONFLICT (incident_ref) DO UPDATE SET technique = excluded.technique"
    )
    conn.execute(query, {"ref": incident_ref, "technique": technique})
    update = text("UPDATE incidents SET technique = :technique WHERE incident_ref = :ref")
    conn.execute(update, {"ref": incident_ref, "technique": technique})


def unassigned(conn: Connection, kinds: Sequence[FindingKind], since: datetime) -> list[EuropeanIncident]:
    """Cases of these kinds that belong to no campaign yet, false alarms left out, oldest first."""
    query = text(
        "SELECT i.* FROM incidents i LEFT JOIN campaign_incidents c USING (incident_ref) "
        "WHERE c.campaign_id IS NULL AND i.status <> 'false-positive' AND i.kind = ANY(:kinds) "
        "AND i.last_seen >= :since ORDER BY i.first_seen, i.incident_ref"
    )
    return [_incident(row) for row in conn.execute(query, {"kinds": [str(k) for k in kinds], "since": since})]


def incidents_of(conn: Connection, campaign_id: UUID) -> list[EuropeanIncident]:
    """The cases of a campaign in order of time, false alarms included and marked as such."""
    query = text(
        "SELECT i.* FROM incidents i JOIN campaign_incidents c USING (incident_ref) "
        "WHERE c.campaign_id = :id ORDER BY i.first_seen, i.incident_ref"
    )
    return [_incident(row) for row in conn.execute(query, {"id": campaign_id})]


def recent_incidents(conn: Connection, since: datetime, limit: int = 500) -> list[EuropeanIncident]:
    """The members' cases since a time, newest first."""
    query = text("SELECT * FROM incidents WHERE last_seen >= :since ORDER BY last_seen DESC LIMIT :limit")
    return [_incident(row) for row in conn.execute(query, {"since": since, "limit": limit})]


def campaigns(conn: Connection) -> list[Campaign]:
    """All campaigns, the one that changed last first."""
    return [_campaign(row) for row in conn.execute(text("SELECT * FROM campaigns ORDER BY changed DESC LIMIT 500"))]


def campaign(conn: Connection, campaign_id: UUID) -> Campaign | None:
    """One campaign."""
    query = text("SELECT * FROM campaigns WHERE campaign_id = :id")
    row = conn.execute(query, {"id": campaign_id}).one_or_none()
    return None if row is None else _campaign(row)


def changed_campaigns(conn: Connection) -> list[Campaign]:
    """Campaigns that hold a case which is newer than they are."""
    query = text(
        "SELECT DISTINCT c.* FROM campaigns c JOIN campaign_incidents m USING (campaign_id) "
        "JOIN incidents i USING (incident_ref) WHERE i.received > c.changed OR m.added > c.changed"
    )
    return [_campaign(row) for row in conn.execute(query)]


def put_campaign(conn: Connection, campaign: Campaign) -> None:
    """Add a campaign or bring it up to date; its number and the time it was opened stay."""
    query = text(
        "INSERT INTO campaigns (campaign_id, kind, technique, severity, simulated, members, incidents, first_seen, "
        "last_seen, opened, changed, statistic, probability, reason) VALUES (:campaign_id, :kind, :technique, "
        ":severity, :simulated, :members, :incidents, :first_seen, :last_seen, :opened, :changed, :statistic, "
        ":probability, :reason) ON CONFLICT (campaign_id) DO UPDATE SET severity = excluded.severity, "
        "members = excluded.members, incidents = excluded.incidents, first_seen = excluded.first_seen, "
        "last_seen = excluded.last_seen, changed = excluded.changed, statistic = excluded.statistic, "
        "probability = excluded.probability, reason = excluded.reason"
    )
    conn.execute(query, _words(campaign))


def assign(conn: Connection, campaign_id: UUID, refs: Sequence[str], now: datetime) -> None:
    """These cases belong to that campaign."""
    query = text(
        "INSERT INTO campaign_incidents (campaign_id, incident_ref, added) "
        "SELECT :id, ref, :now FROM unnest(CAST(:refs AS text[])) AS ref ON CONFLICT DO NOTHING"
    )
    conn.execute(query, {"id": campaign_id, "refs": list(refs), "now": now})


def put_alert(conn: Connection, alert: Alert, campaign_id: UUID, report_ref: str) -> None:
    """Add an early alert or its newer version."""
    query = text(
        "INSERT INTO alerts (alert_id, campaign_id, report_ref, title, text, kind, severity, technique, members, "
        "simulated, marking, first_seen, last_seen, created, published) VALUES (:alert_id, :campaign_id, :report_ref, "
        ":title, :text, :kind, :severity, :technique, :members, :simulated, :marking, :first_seen, :last_seen, "
        ":created, :published) ON CONFLICT (alert_id) DO UPDATE SET title = excluded.title, text = excluded.text, "
        "severity = excluded.severity, members = excluded.members, first_seen = excluded.first_seen, "
        "last_seen = excluded.last_seen, published = excluded.published"
    )
    conn.execute(query, _words(alert) | {"campaign_id": campaign_id, "report_ref": report_ref})


def alerts(conn: Connection) -> dict[UUID, Alert]:
    """Early alerts by the id of their campaign, the newest first."""
    rows = conn.execute(text("SELECT * FROM alerts ORDER BY published DESC LIMIT 500"))
    return {row.campaign_id: _alert(row) for row in rows}


def put_acknowledgement(
    conn: Connection, report_ref: str, member: str, state: str, version: datetime, stated: datetime, received: datetime
) -> bool:
    """Keep a member's answer; False if there is no such alert."""
    query = text(
        "INSERT INTO acknowledgements (alert_id, member, state, version, stated, received) "
        "SELECT alert_id, :member, :state, :version, :stated, :received FROM alerts WHERE report_ref = :ref "
        "ON CONFLICT (alert_id, member, state, version) DO UPDATE SET stated = excluded.stated RETURNING alert_id"
    )
    values = {"ref": report_ref, "member": member, "state": state, "version": version, "stated": stated}
    return conn.execute(query, values | {"received": received}).one_or_none() is not None


def acknowledgements(conn: Connection) -> list[Acknowledgement]:
    """All answers, oldest first."""
    rows = conn.execute(text("SELECT * FROM acknowledgements ORDER BY received"))
    return [Acknowledgement(**row._mapping) for row in rows]


def _words(noun: Any) -> dict[str, Any]:
    values = {name: getattr(noun, name) for name in noun.__slots__}
    return {
        name: str(v) if isinstance(v, FindingKind | Severity | Provenance | Tlp) else v for name, v in values.items()
    }


def _incident(row: Any) -> EuropeanIncident:
    nouns = {
        "kind": FindingKind(row.kind),
        "severity": Severity(row.severity),
        "provenance": Provenance(row.provenance),
    }
    return EuropeanIncident(**{**row._mapping, **nouns})


def _campaign(row: Any) -> Campaign:
    return Campaign(**{**row._mapping, "kind": FindingKind(row.kind), "severity": Severity(row.severity)})


def _alert(row: Any) -> Alert:
    nouns = {"kind": FindingKind(row.kind), "severity": Severity(row.severity), "marking": Tlp(row.marking)}
    return Alert(**{name: row._mapping[name] for name in Alert.__slots__} | nouns)
