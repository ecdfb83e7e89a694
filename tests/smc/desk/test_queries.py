"""What the pages read: filters, order, paging, and that what is not observed never counts as healthy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from model.errors import DecodeError
from model.finding import Severity
from model.incident import Status
from smc.context import StageContext
from smc.store import desk, flow, incidents, overview, quarantine
from smc.store.desk import QueueFilter
from tests.browser import world
from tests.browser.world import World


@pytest.fixture
def centre(database: str, valkey_url: str, tmp_path: Path) -> Iterator[StageContext]:
    made = world.context(world.settings(database, valkey_url, tmp_path))
    yield made
    made.engine.dispose()


@pytest.fixture
def filled(centre: StageContext) -> World:
    return world.fill(centre)


def everything(now: datetime) -> QueueFilter:
    return QueueFilter(now - timedelta(days=1), now + timedelta(hours=1))


def test_the_queue_is_filtered_sorted_and_paged(centre: StageContext, filled: World) -> None:
    wanted = everything(filled.began)
    cases = {
        "most urgent first": (wanted, [3, 2, 1]),
        "least urgent first": (replace(wanted, sort="severity"), [1, 2, 3]),
        "by score": (replace(wanted, sort="-score"), [3, 2, 1]),
        "an order nobody knows": (replace(wanted, sort="number; DROP"), [1, 2, 3]),
        "critical or low": (replace(wanted, severities=(Severity.CRITICAL, Severity.LOW)), [3, 1]),
        "closed": (replace(wanted, statuses=(Status.CLOSED_TRUE,)), []),
        "by unit in the device's name": (replace(wanted, words="norm-0002:METER"), [2]),
        "by case": (replace(wanted, words="dso-0001/case-000003"), [3]),
        "a percent sign is a percent sign": (replace(wanted, words="45 %"), [2]),
        "no wildcard": (replace(wanted, words="_"), []),
        "nobody's": (replace(wanted, assignee="-"), [3, 2, 1]),
        "anna's": (replace(wanted, assignee="anna"), []),
        "another time": (replace(wanted, end=filled.began - timedelta(hours=2)), []),
    }
    with centre.engine.connect() as conn:
        for name, (chosen, numbers) in cases.items():
            page = desk.queue(conn, chosen)
            assert ([r.number for r in page.rows], page.total) == (numbers, len(numbers)), name
        second = desk.queue(conn, wanted, limit=2, offset=2)
    assert ([r.number for r in second.rows], second.total) == ([1], 3)
    row = second.rows[0]
    assert (row.device_name, row.devices, row.score, row.proposals) == (filled.fleet.replayed.name, 1, 1.6, 1)


def test_who_was_never_seen_does_not_report(centre: StageContext, filled: World) -> None:
    with centre.engine.connect() as conn:
        groups = {(c.group, c.kind): c for c in overview.coverage_by_feeder(conn, filled.began)}
        unseen = groups["feeder-3", "meter"]
        assert (unseen.enrolled, unseen.seen, unseen.reporting, unseen.received) == (1, 0, 0, None)
        assert groups["feeder-1", "meter"].reporting == 2
        later = filled.began + timedelta(minutes=1)  # longer than a PMU may be silent, shorter than a meter may
        after = {(c.group, c.kind): c for c in overview.coverage_by_feeder(conn, later)}
        assert (after["feeder-1", "pmu"].reporting, after["feeder-1", "pmu"].seen) == (0, 2)
        assert after["feeder-1", "meter"].reporting == 2


def test_the_device_list_puts_trouble_first(centre: StageContext, filled: World) -> None:
    with centre.engine.connect() as conn:
        rows, total = overview.device_list(conn, filled.began)
        assert total == len(rows) == 10
        assert [r.open_incidents for r in rows] == sorted((r.open_incidents for r in rows), reverse=True)
        quiet = [r for r in rows if not r.open_incidents]
        assert quiet[0].device.name == filled.fleet.unseen.name
        found, _ = overview.device_list(conn, filled.began, "NORM-0003", ["pmu"])
        assert [r.device.index for r in found] == [filled.fleet.pmus[2].index]


def test_what_waits_for_a_person_is_counted(centre: StageContext, filled: World) -> None:
    with centre.engine.connect() as conn:
        watch = overview.watch(conn)
        assert watch.open_by_severity == {
            Severity.LOW: 1,
            Severity.MEDIUM: 0,
            Severity.HIGH: 1,
            Severity.CRITICAL: 1,
        }
        assert (watch.critical_unassigned, watch.proposals, watch.advice_unacknowledged) == (1, 3, 1)
        assert [u.number for u in overview.urgent(conn)] == [3, 2, 1]
    with centre.engine.begin() as conn:
        which = filled.incidents[2]
        incidents.change_status(conn, which.incident_id, 1, Status.CLOSED_TRUE, "anna", "found")
    with centre.engine.connect() as conn:
        assert overview.watch(conn).critical_unassigned == 0


def test_rates_count_every_interval_also_the_empty_ones(centre: StageContext, filled: World) -> None:
    start = filled.began - timedelta(minutes=30)
    with centre.engine.connect() as conn:
        rates = flow.intake_rates(conn, start, filled.began, timedelta(minutes=1))
    assert len(rates) == 30
    assert [r.start for r in rates] == [start + n * timedelta(minutes=1) for n in range(30)]
    assert rates[2].frames == 0
    assert rates[25].frames == 5 * 600
    assert rates[10].readings == 4 * 6


def test_refused_messages_are_grouped_and_kept(centre: StageContext, filled: World) -> None:
    start, end = filled.began - timedelta(hours=1), filled.began + timedelta(hours=1)
    with centre.engine.begin() as conn:
        quarantine.put(conn, "mqtt", "x", DecodeError("crc", "CHK", "1", "2"), b"\xaa\x01" * 100, filled.began)
    with centre.engine.connect() as conn:
        reasons = quarantine.by_reason(conn, start, end)
        assert [(r.reason, r.count) for r in reasons if r.link == "c37.118"] == [("truncated", 2), ("crc", 1)]
        chosen = quarantine.between(conn, start, end, "crc")
        assert {s.link for s in chosen} == {"mqtt", "c37.118"}
        assert all(len(s.data) <= 32 for s in chosen)
        whole = quarantine.get(conn, next(s.quarantine_id for s in chosen if s.link == "mqtt"))
        assert whole is not None
        assert whole.data == b"\xaa\x01" * 100
        assert quarantine.by_reason(conn, end, end + timedelta(hours=1)) == []


def test_versions_change_with_what_the_pages_show(centre: StageContext, filled: World) -> None:
    with centre.engine.connect() as conn:
        before = flow.versions(conn)
    with centre.engine.begin() as conn:
        desk.note(conn, filled.incidents[0].incident_id, "anna", "seen")
    with centre.engine.connect() as conn:
        after = flow.versions(conn)
    assert after["incidents"] != before["incidents"]
    assert {k: v for k, v in after.items() if k != "incidents"} == {k: v for k, v in before.items() if k != "incidents"}


def test_the_audit_is_searched(centre: StageContext, filled: World) -> None:
    now = datetime.now(UTC)
    with centre.engine.connect() as conn:
        rows, total = flow.audit_rows(conn, now - timedelta(hours=1), now, "AUDITOR")
        assert ([r.object for r in rows], total) == (["account:axel"], 1)
        everyone, total = flow.audit_rows(conn, now - timedelta(hours=1), now, limit=2)
        assert (len(everyone), total) == (2, 5)
        head = conn.execute(text("SELECT max(number) FROM audit")).scalar_one()
    assert everyone[0].number == head
