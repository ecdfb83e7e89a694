"""Findings as rows: added once by their stable id, found again by incident, device and time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Connection, Row, text

from model.device import Provenance
from model.finding import Evidence, Finding, FindingKind, Severity

_COLUMNS = (
    *("finding_id", "site", "kind", "detector", "detector_version", "devices", "start_time", "end_time", "severity"),
    *("score", "probability", "title", "explanation", "evidence", "missing", "causes", "technique", "provenance"),
)
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM findings"  # noqa: S608 - own names
_INSERT = text(
    f"INSERT INTO findings ({', '.join(_COLUMNS)}) "  # noqa: S608 - own names
    f"VALUES ({', '.join(f'CAST(:{c} AS jsonb)' if c == 'evidence' else f':{c}' for c in _COLUMNS)}) "
    "ON CONFLICT (finding_id) DO NOTHING RETURNING finding_id"
)


def add(conn: Connection, findings: Sequence[Finding]) -> list[Finding]:
    """Insert findings; returns those that were new. One that is already there changes nothing."""
    return [finding for finding in findings if conn.execute(_INSERT, _record(finding)).first() is not None]


def get(conn: Connection, finding_id: UUID) -> Finding | None:
    """One finding, or None."""
    row = conn.execute(text(f"{_SELECT} WHERE finding_id = :id"), {"id": finding_id}).one_or_none()
    return None if row is None else _finding(row)


def of_incident(conn: Connection, incident_id: UUID, limit: int = 500) -> list[Finding]:
    """Findings of an incident, the oldest first."""
    query = text(f"{_SELECT} WHERE incident_id = :id ORDER BY start_time, finding_id LIMIT :limit")
    return [_finding(row) for row in conn.execute(query, {"id": incident_id, "limit": limit})]


def of_device(conn: Connection, device: int, start: datetime, end: datetime, limit: int = 500) -> list[Finding]:
    """Findings that name the device and touch the time from `start` to `end`, the oldest first."""
    query = text(
        f"{_SELECT} WHERE devices @> ARRAY[CAST(:device AS integer)] AND start_time < :end AND end_time >= :start "
        "ORDER BY start_time, finding_id LIMIT :limit"
    )
    return [
        _finding(row) for row in conn.execute(query, {"device": device, "start": start, "end": end, "limit": limit})
    ]


def recent(conn: Connection, limit: int = 100) -> list[Finding]:
    """The newest findings by the time they were written, newest first."""
    query = text(f"{_SELECT} ORDER BY created DESC, finding_id LIMIT :limit")
    return [_finding(row) for row in conn.execute(query, {"limit": limit})]


def without_incident(conn: Connection, limit: int = 500) -> list[Finding]:
    """Findings that no incident has yet, the oldest first: what triage still owes."""
    query = text(f"{_SELECT} WHERE incident_id IS NULL ORDER BY created, finding_id LIMIT :limit")
    return [_finding(row) for row in conn.execute(query, {"limit": limit})]


def _record(finding: Finding) -> dict[str, Any]:
    return {
        "finding_id": finding.finding_id,
        "site": finding.site,
        "kind": finding.kind.value,
        "detector": finding.detector,
        "detector_version": finding.detector_version,
        "devices": list(finding.devices),
        "start_time": finding.start,
        "end_time": finding.end,
        "severity": finding.severity.value,
        "score": finding.score,
        "probability": finding.probability,
        "title": finding.title,
        "explanation": finding.explanation,
        "evidence": msgspec.json.encode(finding.evidence).decode(),
        "missing": list(finding.missing),
        "causes": list(finding.causes),
        "technique": finding.technique,
        "provenance": finding.provenance.value,
    }


def _finding(row: Row[Any]) -> Finding:
    fields = dict(row._mapping)
    fields["start"], fields["end"] = fields.pop("start_time"), fields.pop("end_time")
    fields["kind"] = FindingKind(fields["kind"])
    fields["severity"] = Severity(fields["severity"])
    fields["provenance"] = Provenance(fields["provenance"])
    fields["evidence"] = msgspec.convert(fields["evidence"], tuple[Evidence, ...])
    for name in ("devices", "missing", "causes"):
        fields[name] = tuple(fields[name])
    return Finding(**fields)
