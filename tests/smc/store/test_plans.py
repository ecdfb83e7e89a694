"""How the database answers: no question reads a table of telemetry from end to end, nor a day that it does not need.

No plan is forced: there are enough rows to make scanning the worse way. The statements are explained as they are
executed, with their values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, event, text

from host.database import migrate
from host.postgres import Postgres
from model.block import Schema
from model.time import NS_PER_S, to_datetime
from smc.store import fleet, rollups, telemetry
from smc.store.edition import detect
from smc.store.ingest import store_block
from smc.store.levels import Level, recompute
from smc.store.runs import Runs
from tests.servers.databases import EDITIONS
from tests.smc.store.blocks import START_NS, engine_of, meter_block, phasor_block

DAY_NS = 86_400 * NS_PER_S
DAYS = 3
METERS, PMUS = 200, 8
MIDDLE_NS = START_NS + DAY_NS  # each day has half an hour of telemetry
NOON = to_datetime(MIDDLE_NS)
MINUTES, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SERIES = ("meter_readings", "phasor_seconds", "phasors", *rollups.TABLES)


@dataclass(frozen=True)
class Read:
    """One access in a plan: how, and which part of which series (a day or chunk)."""

    how: str
    series: str
    part: str


@pytest.fixture(
    scope="module",
    params=[EDITIONS[0], pytest.param("timescale", marks=[pytest.mark.timescale, pytest.mark.slow])],
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """A database with some days of telemetry, rolled up, once for the file."""
    server: Postgres = request.getfixturevalue(f"postgres_{request.param}")
    name = f"plans_{request.param}"
    url = server.create_database(name)
    migrate(url, "smc")
    made = engine_of(url)
    for day in range(DAYS):
        meters, frames = meter_block(METERS, 90, step_s=20, seed=day), phasor_block(PMUS, 1800, seed=day, rate=1)
        with made.begin() as conn:
            for block in (meters, replace(frames, device=frames.device + 1_000)):
                today = replace(block, time_ns=block.time_ns + day * DAY_NS)
                for rows in np.array_split(np.argsort(today.time_ns), 10):  # as they come, time by time
                    store_block(conn, today.take(rows))
    with made.connect() as conn:
        while rollups.roll_up(conn, to_datetime(START_NS + DAYS * DAY_NS)).behind:
            pass
    with made.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text(f"VACUUM ANALYZE {', '.join((*SERIES, 'latest'))}"))
    yield made
    made.dispose()
    server.drop_database(name)


def reads(conn: Connection, ask: Callable[[], object]) -> set[Read]:
    """Every access to telemetry in the plans of the statements that `ask()` executes."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    parts = series_of_parts(conn)
    event.listen(conn, "before_cursor_execute", note)
    ask()
    event.remove(conn, "before_cursor_execute", note)
    found = set()
    for statement, parameters in asked:
        answer = conn.exec_driver_sql(
            f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", parameters
        ).scalar_one()
        stack = [(json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]]
        while stack:
            node = stack.pop()
            stack += node.get("Plans", [])
            part = node.get("Relation Name", "")
            if part in parts and node["Actual Loops"]:  # parts that are ruled out when it runs are planned, not read
                found.add(Read(node["Node Type"], parts[part], part))
    return found


def series_of_parts(conn: Connection) -> dict[str, str]:
    """Which series the partitions or chunks belong to, without empty ones."""
    if detect(conn).has_hypertables:
        chunks = "SELECT chunk_name, hypertable_name FROM timescaledb_information.chunks"
        found = {str(part): str(series) for part, series in conn.execute(text(chunks))}
    else:
        query = "SELECT inhrelid::regclass::text, inhparent::regclass::text FROM pg_inherits"
        found = {str(part): str(series) for part, series in conn.execute(text(query))}
    filled = "SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > 0"
    return {part: found[part] for part in conn.scalars(text(filled)) if part in found and found[part] in SERIES}


# What is asked, which series may be read, and how many days of each. Where rollups have a gap, as between the half
# hours of this telemetry, the rows of the gap are looked for through their index, and none are found.
QUESTIONS: dict[str, tuple[Callable[[Connection], object], dict[str, int]]] = {
    "readings": (lambda c: telemetry.readings(c, 7, NOON, NOON + MINUTES, 1_000), {"meter_readings": 1}),
    "phasors": (
        lambda c: telemetry.phasors(c, 1_007, NOON, NOON + MINUTES, 10_000),
        {"phasor_seconds": 1, "phasors": 1},
    ),
    "newest readings": (
        lambda c: telemetry.readings(c, 7, NOON, NOON + DAY, 10, newest=True),
        {"meter_readings": 2},
    ),
    "counts": (lambda c: telemetry.counts(c, NOON, NOON + MINUTES), {"meter_readings": 1, "phasor_seconds": 1}),
    "seconds of a meter": (
        lambda c: telemetry.meter_series(c, 7, "power_w", NOON, NOON + MINUTES, 60),
        {"meter_readings": 1},
    ),
    "seconds of a PMU": (
        lambda c: telemetry.phasor_series(c, 1_007, "magnitude", 1, NOON, NOON + MINUTES, 60),
        {"phasor_seconds": 1, "phasors": 1},
    ),
    "a meter's day in minutes": (
        lambda c: telemetry.meter_series(c, 7, "power_w", NOON - DAY, NOON, 1_440),
        {"meter_minutes": 2, "meter_readings": 2},
    ),
    "a PMU's day in minutes": (
        lambda c: telemetry.phasor_series(c, 1_007, "magnitude", 1, NOON - DAY, NOON, 1_440),
        {"phasor_minutes": 2, "phasor_seconds": 2, "phasors": 2},
    ),
    "a meter's days": (
        lambda c: telemetry.meter_series(c, 7, "power_w", NOON - DAY, NOON + DAY, 180),
        {"meter_quarters": 3, "meter_minutes": 3, "meter_readings": 3},
    ),
    "envelope of a meter": (
        lambda c: telemetry.meter_envelope(c, 7, NOON - DAY, NOON, 500),
        {"meter_minutes": 2, "meter_readings": 2},
    ),
    "envelope of a PMU": (
        lambda c: telemetry.phasor_envelope(c, 1_007, NOON - DAY, NOON, 500),
        {"phasor_minutes": 2, "phasor_seconds": 2, "phasors": 2},
    ),
    "latest": (lambda c: fleet.latest_of(c, list(range(1, 200))), {}),
    "ranking of meters": (lambda c: fleet.ranking(c, Schema.METER, "power_w", 10), {"meter_quarters": 2}),
    "ranking of PMUs": (lambda c: fleet.ranking(c, Schema.PHASOR, "frequency_hz", 10), {"phasor_quarters": 2}),
    "a late minute of a PMU": (
        lambda c: recompute(c, rollups.SOURCES[Schema.PHASOR], (Level.MINUTE,), run_of(1_007, 60)),
        {"phasor_seconds": 1, "phasors": 1, "phasor_minutes": 1},
    ),
    "a late quarter hour of a meter": (
        lambda c: recompute(c, rollups.SOURCES[Schema.METER], (Level.QUARTER,), run_of(7, 900)),
        {"meter_readings": 1, "meter_minutes": 1, "meter_quarters": 1},
    ),
}


def run_of(device: int, seconds: int) -> Runs:
    return Runs.of([device], MIDDLE_NS, MIDDLE_NS + seconds * NS_PER_S)


def judge(found: set[Read], allowed: dict[str, int]) -> list[str]:
    """What is wrong with these accesses."""
    wrong = [f"scans all of {r.part}" for r in found if r.how == "Seq Scan" and r.series in RAW]
    for series in {r.series for r in found}:
        days = {r.part for r in found if r.series == series}
        if len(days) > allowed.get(series, 0):
            wrong.append(f"reads {len(days)} parts of {series}, expected at most {allowed.get(series, 0)}")
    return wrong


RAW = frozenset({"meter_readings", "phasor_seconds", "phasors"})


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_reads_no_more_than_it_needs(engine: Engine, question: str) -> None:
    ask, allowed = QUESTIONS[question]
    with engine.connect() as conn:
        found = reads(conn, lambda: ask(conn))
        conn.rollback()
    assert judge(found, allowed) == []


def test_a_forgotten_time_bound_is_found_out(engine: Engine) -> None:
    unbounded = text("SELECT max(power_w) FROM meter_readings WHERE device_id = 7")
    fleetwide = text("SELECT count(*) FROM phasor_seconds WHERE provenance = 1")
    with engine.connect() as conn:
        assert judge(reads(conn, lambda: conn.execute(unbounded)), {"meter_readings": 1}) == [
            f"reads {DAYS} parts of meter_readings, expected at most 1"
        ]
        wrong = judge(reads(conn, lambda: conn.execute(fleetwide)), {"phasor_seconds": 1})
    assert len([w for w in wrong if re.match("scans all of", w)]) == DAYS
