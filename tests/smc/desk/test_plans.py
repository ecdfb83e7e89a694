"""How the database answers the desk: whatever a page asks, it reads a small part of the tables that grow for years."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, event, text

from host.database import engine
from host.postgres import Postgres
from model.incident import Status
from smc.store import decisions, desk, findings, flow, incidents, outbox, overview, quarantine
from smc.store.desk import QueueFilter
from smc.views.state import OPEN
from tests.servers.databases import _database, _template

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
ROWS = 8_000  # of each table that grows, one year of them
GROWING = ("incidents", "incident_history", "findings", "decisions", "duties", "quarantine", "audit", "outbox")
MOST = ROWS // 8  # rows that one statement may touch in one of them
# One in fifty incidents is open; ids are counted, so that a test can name one.
YEAR = f"""
CREATE TEMP TABLE n AS SELECT n, lpad(n::text, 32, '0')::uuid AS id, n % 50 = 0 AS open,
    CAST(:now AS timestamptz) - INTERVAL '1 year' * (1 - n::float8 / {ROWS}) AS at
FROM generate_series(1, {ROWS}) AS n;
INSERT INTO incidents SELECT id, n, 'DSO-0001', 'meter-tamper', 'Incident ' || n,
    (ARRAY['low', 'medium', 'high', 'critical'])[n % 4 + 1], CASE WHEN open THEN 'new' ELSE 'closed-benign' END,
    at, at, at, at, ARRAY[n % 200 + 1], 1, 'T0856', 'simulated', CASE WHEN n % 100 = 0 THEN 'anna' ELSE '' END, 1,
    'g' || n FROM n;
INSERT INTO incident_history (incident_id, at, actor, action, before, after, reason)
    SELECT id, at, 'triage', 'opened', '', 'high', '' FROM n;
INSERT INTO findings SELECT id, 'DSO-0001', 'meter-tamper', 'bench', '1', ARRAY[n % 200 + 1], at, at, 'high', 1.5, 0.99,
    'Finding', 'because', '[]', '{{}}', '{{}}', 'T0856', 'simulated', CASE WHEN n % 1000 > 0 THEN id END, at FROM n;
INSERT INTO decisions SELECT id, id, 'book', 'Book', 'why', CASE WHEN open THEN 'proposed' ELSE 'done' END, at, '', at,
    '', true, '', at FROM n;
INSERT INTO duties (duty_id, incident_id, clock, kind, legal_limit, state)
    SELECT id, id, 'nis2-24h', 'early-warning', at, CASE WHEN open THEN 'running' ELSE 'met' END FROM n;
INSERT INTO quarantine SELECT id, at, at, 'mqtt', 'p' || n % 40, 'crc', 'w', 'v', 'e', 'bytes', 5, 1 FROM n;
INSERT INTO audit SELECT n, at, 'anna', 'sign-in', 'account:anna', '{{}}', 'p', 'h' FROM n;
INSERT INTO outbox (peer, number, kind, incident_id, body, created, state, completed)
    SELECT 'esmc', n, 'incident', id, 'body', at, CASE WHEN open THEN 'waiting' ELSE 'complete' END, at FROM n;
"""
ONE = UUID(int=0x4000)  # the incident, finding, decision and refused message number 4000


@pytest.fixture(scope="module")
def grown(postgres_embedded: Postgres) -> Iterator[Connection]:
    """A centre after a year; read only."""
    databases = _database(postgres_embedded, _template(postgres_embedded, "smc"))
    made = engine(next(databases), "test")
    with made.connect() as conn:
        for statement in YEAR.split(";\n")[:-1]:
            conn.execute(text(statement), {"now": NOW} if ":now" in statement else {})
        conn.commit()
        conn.execution_options(isolation_level="AUTOCOMMIT").execute(text("VACUUM ANALYZE"))
        yield conn
    made.dispose()
    next(databases, None)


def queue(conn: Connection, **more: Any) -> Any:
    wanted = {"statuses": OPEN, **more}
    return desk.queue(conn, QueueFilter(NOW - 7 * DAY, NOW, **wanted))


ASKS: dict[str, Callable[[Connection], Any]] = {
    "the queue": queue,
    "the queue by score": lambda c: queue(c, sort="-score"),
    "the queue by clock": lambda c: queue(c, sort="clock"),
    "the queue, all states": lambda c: queue(c, statuses=()),
    "the queue, searched": lambda c: queue(c, words="incident"),
    "the queue, nobody's": lambda c: queue(c, assignee="-", statuses=(Status.NEW,)),
    "an incident": lambda c: incidents.get(c, ONE),
    "an incident's history": lambda c: incidents.history(c, ONE),
    "an incident's findings": lambda c: findings.of_incident(c, ONE),
    "an incident's decisions": lambda c: decisions.of_incident(c, ONE),
    "an incident's clocks": lambda c: desk.clocks_of(c, ONE),
    "an incident's last parcel": lambda c: outbox.latest(c, ONE),
    "the watch": overview.watch,
    "what is urgent": overview.urgent,
    "incidents opened today": lambda c: overview.incidents_opened(c, NOW - DAY, NOW),
    "findings of the day": lambda c: overview.findings_over_time(c, NOW - DAY, NOW, timedelta(minutes=30)),
    "the device list": lambda c: overview.device_list(c, NOW),
    "a device's findings": lambda c: findings.of_device(c, 17, NOW - 7 * DAY, NOW),
    "the newest findings": findings.recent,
    "findings that triage owes": findings.without_incident,
    "what waits for a person": decisions.proposed,
    "what is approved": decisions.approved,
    "the live versions": flow.versions,
    "the audit of the day": lambda c: flow.audit_rows(c, NOW - DAY, NOW, "anna"),
    "refused by reason": lambda c: quarantine.by_reason(c, NOW - DAY, NOW),
    "refused messages": lambda c: quarantine.between(c, NOW - DAY, NOW, "crc"),
    "the newest refused": lambda c: quarantine.recent(c, 100),
    "one refused message": lambda c: quarantine.get(c, ONE),
    "what left the house": outbox.recent,
    "what is to leave the house": lambda c: outbox.waiting(c, "esmc"),
}


@pytest.mark.parametrize("name", ASKS)
def test_no_page_reads_a_growing_table_from_end_to_end(grown: Connection, name: str) -> None:
    touched: Counter[str] = Counter()
    for node in plans(grown, lambda: ASKS[name](grown)):
        assert (node["Node Type"], node.get("Relation Name")) not in {("Seq Scan", table) for table in GROWING}
        if "Relation Name" in node:
            removed = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
            touched[node["Relation Name"]] += round((node["Actual Rows"] + removed) * node["Actual Loops"])
    assert {table: n for table, n in touched.items() if table in GROWING and n > MOST} == {}
    assert touched, "the statement reads no table at all"


def plans(conn: Connection, ask: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    """Every node of the plans of the statements that `ask()` executes, run and explained with their values."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", note)
    ask()
    event.remove(conn, "before_cursor_execute", note)
    for statement, parameters in asked:
        answer = conn.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        stack = [(json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]]
        while stack:
            node = stack.pop()
            yield node
            stack += node.get("Plans", [])
