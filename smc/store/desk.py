"""What the incident pages read: the queue with its filters, the parts of one incident, and names of devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from model.device import Provenance
from model.errors import Conflict
from model.finding import FindingKind, Severity
from model.incident import Status
from smc.store.incidents import note_history

# Severity is stored as its word; the order of the words is part of the noun, not of the alphabet.
SEVERITY_RANK = "array_position(ARRAY['low','medium','high','critical']::text[], {column}::text)"

SORTS: dict[str, str] = {
    "severity": SEVERITY_RANK.format(column="i.severity"),
    "case": "i.number",
    "opened": "i.opened",
    "seen": "i.last_seen",
    "score": "coalesce(f.score, 0)",
    "status": "i.status",
    "title": "lower(i.title)",
    "assignee": "lower(i.assignee)",
    "clock": "d.due",
}
_ORDERED_BESIDE = {"score": "f", "clock": "d"}  # sorts by something that stands beside the incident: key of _BESIDE


@dataclass(frozen=True, slots=True)
class QueueFilter:
    """Which incidents: every empty field means "all"; times bound `last_seen`."""

    start: datetime
    end: datetime
    severities: tuple[Severity, ...] = ()
    statuses: tuple[Status, ...] = ()
    kinds: tuple[FindingKind, ...] = ()
    assignee: str = ""  # account name, "-" for nobody
    words: str = ""  # in title, case number, device name or technique
    sort: str = "-severity"  # a key of SORTS, "-" in front for descending


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One line of the queue. `score` in multiples of the detector's threshold; `due` the nearest running clock."""

    incident_id: UUID
    number: int
    site: str
    kind: FindingKind
    title: str
    severity: Severity
    status: Status
    opened: datetime
    last_seen: datetime
    technique: str
    provenance: Provenance
    assignee: str
    version: int
    findings: int
    devices: int
    device_name: str  # the first device, "" where none
    score: float
    probability: float
    due: datetime | None
    proposals: int  # playbooks that wait for a person


@dataclass(frozen=True, slots=True)
class QueuePage:
    """A page of the queue and how many incidents match in all."""

    rows: tuple[QueueRow, ...]
    total: int


# What the order or the rows need beside the incident itself: each is one look into an index per incident.
_BESIDE = {
    "f": "LEFT JOIN LATERAL (SELECT max(score) AS score, max(probability) AS probability"
    " FROM findings WHERE incident_id = i.incident_id) f ON true",
    "d": "LEFT JOIN LATERAL (SELECT min(legal_limit) AS due FROM duties"
    " WHERE incident_id = i.incident_id AND state = 'running') d ON true",
    "p": "LEFT JOIN LATERAL (SELECT count(*) AS proposals FROM decisions"
    " WHERE incident_id = i.incident_id AND status = 'proposed') p ON true",
}
# The page is chosen first, so that what stands beside an incident is asked for its rows only, not for all that match.
_QUEUE = """
WITH i AS MATERIALIZED (
    SELECT i.*, count(*) OVER () AS total,
           row_number() OVER (ORDER BY {order} NULLS LAST, i.last_seen DESC, i.number DESC) AS place
    FROM incidents i {needed}
    WHERE {where}
    ORDER BY place LIMIT :limit OFFSET :offset
)
SELECT i.incident_id, i.number, i.site, i.kind, i.title, i.severity, i.status, i.opened, i.last_seen, i.technique,
       i.provenance, i.assignee, i.version, i.findings, coalesce(cardinality(i.devices), 0) AS devices,
       coalesce(dev.name, '') AS device_name, coalesce(f.score, 0) AS score,
       coalesce(f.probability, 0) AS probability, d.due, coalesce(p.proposals, 0) AS proposals, i.total
FROM i
LEFT JOIN devices dev ON dev.index = i.devices[1]
{beside}
ORDER BY i.place
"""


def queue(conn: Connection, wanted: QueueFilter, limit: int = 50, offset: int = 0) -> QueuePage:
    """Incidents of the filter in its order, with how many match in all (0 also on a page past the end)."""
    where, values = _conditions(wanted)
    order = _order(wanted.sort)
    needed = _BESIDE.get(_ORDERED_BESIDE.get(wanted.sort.lstrip("-"), ""), "")
    sql = _QUEUE.format(where=" AND ".join(where), order=order, needed=needed, beside="\n".join(_BESIDE.values()))
    found = conn.execute(text(sql), {**values, "limit": limit, "offset": offset}).mappings().all()
    return QueuePage(tuple(_row(m) for m in found), int(found[0]["total"]) if found else 0)


def _conditions(wanted: QueueFilter) -> tuple[list[str], dict[str, Any]]:
    where = ["i.last_seen >= :start", "i.opened <= :end"]
    values: dict[str, Any] = {"start": wanted.start, "end": wanted.end}
    lists: tuple[tuple[str, Sequence[str]], ...] = (
        ("severity", wanted.severities),
        ("status", wanted.statuses),
        ("kind", wanted.kinds),
    )
    for column, chosen in lists:
        if chosen:
            where.append(f"i.{column} = ANY(:{column})")
            values[column] = [str(c) for c in chosen]
    if wanted.assignee:
        where.append("i.assignee = :assignee")
        values["assignee"] = "" if wanted.assignee == "-" else wanted.assignee
    if wanted.words:
        where.append(
            "(i.title ILIKE :words OR i.technique ILIKE :words OR i.site || '/case-' || lpad(i.number::text, 6, '0')"
            " ILIKE :words OR EXISTS (SELECT FROM devices x WHERE x.index = ANY(i.devices) AND x.name ILIKE :words))"
        )
        values["words"] = f"%{_escape(wanted.words)}%"
    return where, values


def _escape(words: str) -> str:
    """Searched text as itself: % and _ are no wildcards for the person who types them."""
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _order(sort: str) -> str:
    column = SORTS.get(sort.lstrip("-"), SORTS["severity"])
    return f"{column} {'DESC' if sort.startswith('-') else 'ASC'}"


def _row(m: Any) -> QueueRow:
    return QueueRow(
        **{k: m[k] for k in QueueRow.__slots__ if k not in {"kind", "severity", "status", "provenance"}},
        kind=FindingKind(m["kind"]),
        severity=Severity(m["severity"]),
        status=Status(m["status"]),
        provenance=Provenance(m["provenance"]),
    )


@dataclass(frozen=True, slots=True)
class DeviceName:
    """A device as lists print it."""

    index: int
    name: str
    kind: str
    unit: str
    feeder: str
    gateway: str
    zone: str
    provenance: Provenance
    received: datetime | None  # last received, None if never


_NAMES = """
SELECT d.index, d.name, d.kind, d.unit, d.feeder, d.gateway, d.zone, d.provenance, l.received
FROM devices d LEFT JOIN latest l ON l.device_id = d.index
"""


def devices_named(conn: Connection, indices: Sequence[int]) -> dict[int, DeviceName]:
    """The devices of these indices; unknown indices are left out."""
    found = conn.execute(text(_NAMES + "WHERE d.index = ANY(:indices)"), {"indices": list(indices)}).mappings()
    return {m["index"]: device_name(m) for m in found}


def device_name(m: Any) -> DeviceName:
    """A DeviceName of a row with its columns."""
    return DeviceName(
        **{k: m[k] for k in DeviceName.__slots__ if k != "provenance"}, provenance=Provenance(m["provenance"])
    )


@dataclass(frozen=True, slots=True)
class Clock:
    """One statutory clock of an incident; times None where the law's moment has not come."""

    duty_id: UUID
    clock: str
    kind: str
    detected: datetime | None
    target: datetime | None
    legal_limit: datetime | None
    state: str
    note: str


def clocks_of(conn: Connection, incident_id: UUID) -> list[Clock]:
    """Clocks of an incident, the nearest limit first."""
    sql = (
        "SELECT duty_id, clock, kind, detected, target, legal_limit, state, note FROM duties"
        " WHERE incident_id = :id ORDER BY legal_limit NULLS LAST"
    )
    return [Clock(**m) for m in conn.execute(text(sql), {"id": incident_id}).mappings()]


def assignees(conn: Connection) -> list[str]:
    """Account names that can work on incidents here, in order."""
    sql = "SELECT name FROM accounts WHERE role IN ('analyst', 'operator') AND NOT disabled ORDER BY name"
    return list(conn.execute(text(sql)).scalars())


def assign(conn: Connection, incident_id: UUID, version: int, to: str, actor: str, reason: str) -> int:
    """Give an incident to `to` ("" for nobody), with its line of history; returns the new version.

    Conflict if somebody changed the incident since `version`, or if nobody of that name can work on incidents.
    """
    if to and to not in assignees(conn):
        raise Conflict(f"nobody named {to!r} works on incidents here, choose one of: {', '.join(assignees(conn))}")
    before = _hold(conn, incident_id, version)
    conn.execute(
        text("UPDATE incidents SET assignee = :to, changed = now(), version = version + 1 WHERE incident_id = :id"),
        {"to": to, "id": incident_id},
    )
    note_history(conn, incident_id, actor, "assigned", before, to, reason)
    return version + 1


def note(conn: Connection, incident_id: UUID, actor: str, words: str) -> None:
    """Add a note to the history of an incident; notes of two people never collide, so no version is asked for."""
    found = conn.execute(
        text("UPDATE incidents SET changed = now() WHERE incident_id = :id RETURNING number"), {"id": incident_id}
    ).first()
    if found is None:
        raise Conflict("this incident does not exist any more")
    note_history(conn, incident_id, actor, "note", "", "", words)


def _hold(conn: Connection, incident_id: UUID, version: int) -> str:
    """Lock an incident of this version and return its assignee; Conflict says who changed it meanwhile."""
    row = conn.execute(
        text("SELECT version, assignee FROM incidents WHERE incident_id = :id FOR UPDATE"), {"id": incident_id}
    ).first()
    if row is None:
        raise Conflict("this incident does not exist any more")
    if row.version != version:
        raise Conflict(changed_meanwhile(conn, incident_id))
    return str(row.assignee)


def changed_meanwhile(conn: Connection, incident_id: UUID) -> str:
    """One sentence on the last change of an incident, for whoever came second."""
    row = conn.execute(
        text(
            "SELECT actor, action, after, at FROM incident_history WHERE incident_id = :id ORDER BY entry DESC LIMIT 1"
        ),
        {"id": incident_id},
    ).first()
    if row is None:
        return "somebody else changed this incident first; look at it again and repeat your step if it still fits"
    what = f"{row.action} → {row.after}" if row.after else row.action
    return (
        f"{row.actor} changed this incident first ({what}, {row.at:%H:%M:%S} UTC);"
        " your step was not saved. Look at it again and repeat it if it still fits"
    )
