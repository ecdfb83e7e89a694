"""What the pages of Europe read: what each country reports, and versions for live updates."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Country:
    """One country of the map. `risk`, 0..1: mean over its members of their gravest case's severity × confidence."""

    code: str
    members: int
    reporting: int  # members seen lately
    incidents: int
    risk: float
    simulated: bool  # all of its members are


def countries(conn: Connection, since: datetime, seen_since: datetime) -> list[Country]:
    """Countries with members in force; cases since a time, false alarms left out. Highest risk first."""
    query = text(
        "WITH worst AS (SELECT member, count(*) AS incidents, max(confidence / 100.0 * "
        "CASE severity WHEN 'critical' THEN 1.0 WHEN 'high' THEN 0.75 WHEN 'medium' THEN 0.5 ELSE 0.25 END) AS risk "
        "FROM incidents WHERE status <> 'false-positive' AND last_seen >= :since GROUP BY member) "
        "SELECT m.country AS code, count(*)::int AS members, "
        "(count(*) FILTER (WHERE m.last_seen >= :seen))::int AS reporting, "
        "coalesce(sum(w.incidents), 0)::int AS incidents, avg(coalesce(w.risk, 0))::float8 AS risk, "
        "bool_and(m.simulated) AS simulated FROM members m LEFT JOIN worst w ON w.member = m.code "
        "WHERE m.revoked IS NULL GROUP BY m.country ORDER BY risk DESC, code"
    )
    return [Country(**row._mapping) for row in conn.execute(query, {"since": since, "seen": seen_since})]


def incident_counts(conn: Connection, since: datetime) -> dict[str, int]:
    """Cases by member since a time, false alarms left out."""
    query = text(
        "SELECT member, count(*)::int AS n FROM incidents WHERE status <> 'false-positive' AND last_seen >= :since "
        "GROUP BY member"
    )
    return {row.member: row.n for row in conn.execute(query, {"since": since})}


def versions(conn: Connection) -> dict[str, int]:
    """Whole numbers that rise with every change, by topic."""
    query = text(
        "SELECT (SELECT coalesce(max(extract(epoch FROM changed)), 0) * 1000 FROM campaigns)::bigint AS campaigns, "
        "(SELECT coalesce(max(extract(epoch FROM received)), 0) * 1000 FROM incidents)::bigint AS incidents, "
        "(SELECT coalesce(sum(sequence), 0) + coalesce(sum(errors), 0) FROM members)::bigint AS members, "
        "((SELECT coalesce(max(extract(epoch FROM published)), 0) * 1000 FROM alerts) "
        "+ (SELECT count(*) FROM acknowledgements))::bigint AS advice"
    )
    return {name: int(value) % 2**53 for name, value in conn.execute(query).one()._mapping.items()}
