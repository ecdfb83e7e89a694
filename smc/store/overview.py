"""What the overview and the device list read: figures of the whole centre, counted in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from model.device import DeviceKind, Provenance
from model.finding import Severity
from model.incident import CLOSED, Status
from smc.store.desk import SEVERITY_RANK, DeviceName, device_name

# A device reports while its last data were received within this time: two intervals of a 15-minute meter,
# ten seconds of a phasor stream. Whoever was never seen does not report.
REPORTING_S: dict[DeviceKind, int] = {DeviceKind.METER: 1_800, DeviceKind.PMU: 10, DeviceKind.GATEWAY: 1_800}

_LIMIT = "CASE d.kind {} ELSE 1800 END".format(" ".join(f"WHEN '{k}' THEN {s}" for k, s in REPORTING_S.items()))
REPORTING = f"coalesce(l.received >= CAST(:now AS timestamptz) - make_interval(secs => {_LIMIT}), false)"
_OPEN = [str(s) for s in Status if s not in CLOSED]
_ENROLLED = "d.enrolment IN ('owned', 'commissioned')"


@dataclass(frozen=True, slots=True)
class Coverage:
    """Devices of one group (a feeder, a source): enrolled, reporting now, ever seen; newest receipt."""

    group: str
    kind: str
    provenance: Provenance
    enrolled: int
    reporting: int
    seen: int
    received: datetime | None


_COVERAGE = f"""
SELECT {{group}} AS "group", d.kind, d.provenance, count(*) AS enrolled,
       count(*) FILTER (WHERE {REPORTING}) AS reporting, count(l.device_id) AS seen, max(l.received) AS received
FROM devices d LEFT JOIN latest l ON l.device_id = d.index
WHERE {_ENROLLED}
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""  # noqa: S608  (pieces of this module only)


def coverage_by_feeder(conn: Connection, now: datetime) -> list[Coverage]:
    """Enrolled and reporting devices per feeder ("" where none is known), kind and provenance."""
    return _coverage(conn, "d.feeder", now)


def coverage_by_source(conn: Connection, now: datetime) -> list[Coverage]:
    """The same per way in: protocol and gateway, "c37.118 · GATEWAY"; the streams of the intake page."""
    return _coverage(conn, "d.protocol || CASE WHEN d.gateway = '' THEN '' ELSE ' · ' || d.gateway END", now)


def _coverage(conn: Connection, group: str, now: datetime) -> list[Coverage]:
    found = conn.execute(text(_COVERAGE.format(group=group)), {"now": now}).mappings()
    return [Coverage(**{**m, "provenance": Provenance(m["provenance"])}) for m in found]


@dataclass(frozen=True, slots=True)
class Watch:
    """Open incidents by severity, and what waits for a person."""

    open_by_severity: dict[Severity, int]
    critical_unassigned: int
    clocks_running: int
    nearest_limit: datetime | None
    proposals: int
    advice_unacknowledged: int


_WATCH = """
SELECT (SELECT count(*) FROM incidents
        WHERE severity = 'critical' AND assignee = '' AND status = ANY(:open)) AS critical_unassigned,
       (SELECT count(*) FROM duties WHERE state = 'running') AS clocks_running,
       (SELECT min(legal_limit) FROM duties WHERE state = 'running') AS nearest_limit,
       (SELECT count(*) FROM decisions WHERE status = 'proposed') AS proposals,
       (SELECT count(*) FROM inbox WHERE acknowledged IS NULL) AS advice_unacknowledged
"""


def watch(conn: Connection) -> Watch:
    """What the duty officer looks at first."""
    by_severity = "SELECT severity, count(*) FROM incidents WHERE status = ANY(:open) GROUP BY severity"
    found = {Severity(s): int(n) for s, n in conn.execute(text(by_severity), {"open": _OPEN})}
    row = conn.execute(text(_WATCH), {"open": _OPEN}).mappings().one()
    return Watch(open_by_severity={s: found.get(s, 0) for s in Severity}, **row)


@dataclass(frozen=True, slots=True)
class Urgent:
    """One thing that needs a person now: an open incident with the reason why it is on the list."""

    incident_id: UUID
    number: int
    title: str
    severity: Severity
    provenance: Provenance
    opened: datetime
    why: str  # "playbook waits", "nobody assigned", "clock runs"


_URGENT = f"""
SELECT i.incident_id, i.number, i.title, i.severity, i.provenance, i.opened,
       CASE WHEN d.due IS NOT NULL THEN 'clock runs'
            WHEN p.n > 0 THEN 'playbook waits' ELSE 'nobody assigned' END AS why
FROM incidents i
LEFT JOIN LATERAL (SELECT min(legal_limit) AS due FROM duties
                   WHERE incident_id = i.incident_id AND state = 'running') d ON true
LEFT JOIN LATERAL (SELECT count(*) AS n FROM decisions
                   WHERE incident_id = i.incident_id AND status = 'proposed') p ON true
WHERE i.status = ANY(:open) AND (d.due IS NOT NULL OR p.n > 0 OR i.assignee = '')
ORDER BY d.due NULLS LAST, {SEVERITY_RANK.format(column="i.severity")} DESC, i.opened
LIMIT :limit
"""  # noqa: S608  (pieces of this module only)


def urgent(conn: Connection, limit: int = 6) -> list[Urgent]:
    """Open incidents with a running clock, a waiting playbook or nobody assigned; the most pressing first."""
    values = {"open": _OPEN, "limit": limit}
    found = conn.execute(text(_URGENT), values).mappings()
    return [
        Urgent(**{**m, "severity": Severity(m["severity"]), "provenance": Provenance(m["provenance"])}) for m in found
    ]


@dataclass(frozen=True, slots=True)
class Bucket:
    """Findings of one severity that began in the interval from `start`."""

    start: datetime
    severity: Severity
    count: int


def findings_over_time(conn: Connection, start: datetime, end: datetime, step: timedelta) -> list[Bucket]:
    """Findings by severity per `step` from `start` (when they were found); empty intervals are left out."""
    sql = (
        "SELECT date_bin(:step, created, :start) AS start, severity, count(*) AS count FROM findings"
        " WHERE created >= :start AND created < :end GROUP BY 1, 2 ORDER BY 1"
    )
    found = conn.execute(text(sql), {"start": start, "end": end, "step": step}).mappings()
    return [Bucket(m["start"], Severity(m["severity"]), m["count"]) for m in found]


def incidents_opened(conn: Connection, start: datetime, end: datetime) -> int:
    """How many incidents were opened in [start, end)."""
    sql = "SELECT count(*) FROM incidents WHERE opened >= :start AND opened < :end"
    return int(conn.execute(text(sql), {"start": start, "end": end}).scalar_one())


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """One line of the device list."""

    device: DeviceName
    enrolment: str
    vendor: str
    firmware: str
    reporting: bool
    time: datetime | None  # of the last reading, by the device
    open_incidents: int


_DEVICES = f"""
SELECT d.index, d.name, d.kind, d.unit, d.feeder, d.gateway, d.zone, d.provenance, l.received,
       d.enrolment, d.vendor, d.firmware, {REPORTING} AS reporting, l.time,
       coalesce(o.n, 0) AS open_incidents, count(*) OVER () AS total
FROM devices d
LEFT JOIN latest l ON l.device_id = d.index
LEFT JOIN (SELECT member, count(*) AS n FROM incidents, unnest(devices) AS member
           WHERE status = ANY(:open) GROUP BY member) o ON o.member = d.index
WHERE {{where}}
ORDER BY open_incidents DESC, reporting, d.name
LIMIT :limit OFFSET :offset
"""  # noqa: S608  (pieces of this module only)


def device_list(
    conn: Connection, now: datetime, words: str = "", kinds: Sequence[str] = (), limit: int = 100, offset: int = 0
) -> tuple[list[DeviceRow], int]:
    """Devices with open incidents first, then the silent ones; and how many match in all."""
    where = ["true"]
    values: dict[str, Any] = {"now": now, "open": _OPEN, "limit": limit, "offset": offset}
    if words:
        where.append("strpos(lower(concat_ws(' ', d.name, d.unit, d.feeder, d.gateway, d.zone)), lower(:words)) > 0")
        values["words"] = words
    if kinds:
        where.append("d.kind = ANY(:kinds)")
        values["kinds"] = list(kinds)
    found = conn.execute(text(_DEVICES.format(where=" AND ".join(where))), values).mappings().all()
    rest = ("enrolment", "vendor", "firmware", "reporting", "time", "open_incidents")
    rows = [DeviceRow(device_name(m), **{k: m[k] for k in rest}) for m in found]
    return rows, int(found[0]["total"]) if found else 0
