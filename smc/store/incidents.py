"""Incidents as rows: opened or extended by findings, changed by people under a version, with a history of both."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from model.device import Provenance
from model.errors import Conflict
from model.finding import Finding, FindingKind, Severity
from model.ids import new_id
from model.incident import CLOSED, Incident, Status, require_step

_COLUMNS = (
    *("incident_id", "number", "site", "kind", "title", "severity", "status", "opened", "changed", "first_seen"),
    *("last_seen", "devices", "findings", "technique", "provenance", "assignee", "version"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM incidents"  # noqa: S608 - own names
_SYSTEM = "triage"


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One change of an incident; never altered."""

    at: datetime
    actor: str
    action: str
    before: str
    after: str
    reason: str


def get(conn: Connection, incident_id: UUID) -> Incident | None:
    """One incident, or None."""
    row = conn.execute(text(f"{_SELECT} WHERE incident_id = :id"), {"id": incident_id}).one_or_none()
    return None if row is None else _incident(row)


def by_number(conn: Connection, number: int) -> Incident | None:
    """The incident of a case number at this site, or None."""
    row = conn.execute(text(f"{_SELECT} WHERE number = :number"), {"number": number}).first()
    return None if row is None else _incident(row)


def open_or_extend(
    conn: Connection, finding: Finding, group_key: str, joined_from: datetime, now: datetime
) -> tuple[Incident, bool]:
    """Put a finding into the open incident of its group seen since `joined_from`, or open a new one.

    Idempotent: a finding that has an incident keeps it, and that incident comes back unchanged. True: newly opened.
    """
    conn.execute(text("SELECT pg_advisory_xact_lock(hashtext('incidents'))"))
    owner = conn.execute(
        text("SELECT incident_id FROM findings WHERE finding_id = :id"), {"id": finding.finding_id}
    ).scalar_one()
    if owner is not None:
        return _required(conn, owner), False
    found = conn.execute(
        text(
            f"{_SELECT} WHERE group_key = :key AND last_seen >= :since AND NOT status = ANY(:closed) "
            "ORDER BY last_seen DESC LIMIT 1"
        ),
        {"key": group_key, "since": joined_from, "closed": [status.value for status in CLOSED]},
    ).one_or_none()
    incident = _open(conn, finding, group_key, now) if found is None else _extend(conn, _incident(found), finding, now)
    conn.execute(
        text("UPDATE findings SET incident_id = :incident WHERE finding_id = :finding"),
        {"incident": incident.incident_id, "finding": finding.finding_id},
    )
    return incident, found is None


def change_status(
    conn: Connection, incident_id: UUID, version: int, to: Status, actor: str, reason: str, now: datetime | None = None
) -> Incident:
    """One step of the table. Conflict if the incident has another version by now or the step is not allowed."""
    row = conn.execute(text(f"{_SELECT} WHERE incident_id = :id FOR UPDATE"), {"id": incident_id}).one_or_none()
    if row is None:
        raise Conflict("this incident does not exist")
    before = _incident(row)
    if before.version != version:
        raise Conflict(f"incident has version {before.version}, expected {version}: somebody changed it meanwhile")
    require_step(before.status, to)
    conn.execute(
        text(
            "UPDATE incidents SET status = :to, changed = coalesce(CAST(:now AS timestamptz), now()), "
            "version = version + 1 WHERE incident_id = :id"
        ),
        {"to": to.value, "now": now, "id": incident_id},
    )
    note_history(conn, incident_id, actor, "status", before.status.value, to.value, reason, now)
    return _required(conn, incident_id)


def history(conn: Connection, incident_id: UUID) -> list[HistoryEntry]:
    """All changes, the oldest first."""
    rows = conn.execute(
        text(
            "SELECT at, actor, action, before, after, reason FROM incident_history "
            "WHERE incident_id = :id ORDER BY entry"
        ),
        {"id": incident_id},
    )
    return [HistoryEntry(*row) for row in rows]


def note_history(
    conn: Connection,
    incident_id: UUID,
    actor: str,
    action: str,
    before: str,
    after: str,
    reason: str,
    now: datetime | None = None,
) -> None:
    """Append one line to the history; `now` defaults to the transaction's time."""
    conn.execute(
        text(
            "INSERT INTO incident_history (incident_id, at, actor, action, before, after, reason) VALUES "
            "(:id, coalesce(CAST(:now AS timestamptz), now()), :actor, :action, :before, :after, :reason)"
        ),
        {
            "id": incident_id,
            "now": now,
            "actor": actor,
            "action": action,
            "before": before,
            "after": after,
            "reason": reason,
        },
    )


def _open(conn: Connection, finding: Finding, group_key: str, now: datetime) -> Incident:
    incident_id = new_id()
    conn.execute(
        text(
            "INSERT INTO incidents (incident_id, number, site, kind, title, severity, status, opened, changed, "
            "first_seen, last_seen, devices, findings, technique, provenance, group_key) "
            "SELECT :id, coalesce(max(number), 0) + 1, :site, :kind, :title, :severity, 'new', :now, :now, :start, "
            ":end, :devices, 1, :technique, :provenance, :key FROM incidents WHERE site = :site"
        ),
        {
            "id": incident_id,
            "site": finding.site,
            "kind": finding.kind.value,
            "title": finding.title,
            "severity": finding.severity.value,
            "now": now,
            "start": finding.start,
            "end": finding.end,
            "devices": sorted(finding.devices),
            "technique": finding.technique,
            "provenance": finding.provenance.value,
            "key": group_key,
        },
    )
    note_history(conn, incident_id, _SYSTEM, "opened", "", finding.severity.value, finding.title, now)
    return _required(conn, incident_id)


def _extend(conn: Connection, incident: Incident, finding: Finding, now: datetime) -> Incident:
    """Group severity is the maximum; the title says how many devices once there are several."""
    devices = sorted({*incident.devices, *finding.devices})
    severity = max(incident.severity, finding.severity, key=lambda s: s.rank)
    conn.execute(
        text(
            "UPDATE incidents SET severity = :severity, changed = :now, first_seen = least(first_seen, :start), "
            "last_seen = greatest(last_seen, :end), devices = :devices, findings = findings + 1, "
            "version = version + 1 WHERE incident_id = :id"
        ),
        {
            "severity": severity.value,
            "now": now,
            "start": finding.start,
            "end": finding.end,
            "devices": devices,
            "id": incident.incident_id,
        },
    )
    if severity is not incident.severity:
        what = f"finding {finding.title}"
        note_history(conn, incident.incident_id, _SYSTEM, "severity", incident.severity, severity, what, now)
    elif len(devices) != len(incident.devices):
        before, after = str(len(incident.devices)), str(len(devices))
        note_history(conn, incident.incident_id, _SYSTEM, "devices", before, after, finding.title, now)
    return _required(conn, incident.incident_id)


def _required(conn: Connection, incident_id: UUID) -> Incident:
    found = get(conn, incident_id)
    if found is None:
        raise Conflict("this incident does not exist")
    return found


def _incident(row: Row[Any]) -> Incident:
    fields = dict(row._mapping)
    fields["kind"] = FindingKind(fields["kind"])
    fields["severity"] = Severity(fields["severity"])
    fields["status"] = Status(fields["status"])
    fields["provenance"] = Provenance(fields["provenance"])
    fields["devices"] = tuple(fields["devices"])
    return Incident(**fields)
