"""The roller beside others: writers that are not done, a clock that leaps, dropped days, old rows, kill -9."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from host.database import downgrade, migrate
from model.block import Schema
from model.time import NS_PER_S, to_datetime
from smc.store import frontier, rollups
from smc.store.ingest import store_block
from smc.store.levels import Level
from tests.smc.store.blocks import engine_of
from tests.smc.store.test_rollups import DAY0_NS, DAY_NS, HOUR_NS, Burst, Truth, compare, settle, store, stored

ROOT = Path(__file__).resolve().parents[3]
NOON = to_datetime(DAY0_NS + 12 * HOUR_NS)
DENSE = Burst(Schema.METER, 1, 0, 0, NS_PER_S, 70, 0)
KILLS = 4
MINUTES = 20


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    made = engine_of(database)
    yield made
    made.dispose()


def roll(engine: Engine, now_ns: int) -> None:
    with engine.connect() as conn:
        while rollups.roll_up(conn, to_datetime(now_ns)).behind:
            pass


def check(engine: Engine, truth: Truth) -> int:
    with engine.begin() as conn:
        return sum(compare(conn, truth, schema, level) for schema in Schema for level in Level)


def test_the_frontier_waits_for_writers_that_are_not_done(engine: Engine) -> None:
    truth = Truth()
    with engine.connect() as writer, engine.connect() as roller:
        with writer.begin():
            store_block(writer, DENSE.block())
            assert not frontier.advance(roller, Schema.METER, NOON), "a row may still come that saw the old frontier"
            assert frontier.advance(roller, Schema.PHASOR, NOON), "who writes readings is in the way of readings only"
        assert frontier.advance(roller, Schema.METER, NOON)
        with writer.begin():
            late = replace(DENSE, second=70).block()
            store_block(writer, late)  # behind the frontier, and the roller computes before it is committed
            assert rollups.work_once(roller)
        truth.note(DENSE.block())
        truth.note(late)
    settle(engine)
    assert check(engine, truth) == 5, "three minutes, a quarter hour, a day"


def test_writers_and_the_roller_at_once(engine: Engine) -> None:
    """Live and late rows, and a frontier that moves under their writers minute by minute."""
    truth, done = Truth(), threading.Event()
    bursts = [
        [
            Burst(schema, device, 0, minute * 60 - 90 * (minute % 3 == 2), NS_PER_S, 60, minute % 4)
            for minute in range(2, 2 + MINUTES)
        ]
        for device, schema in ((1, Schema.METER), (2, Schema.PHASOR))
    ]

    def write(mine: list[Burst]) -> None:
        for burst in mine:
            store(engine, burst.block())

    def roll_along() -> None:
        with engine.connect() as conn:
            minute = 0
            while not done.is_set():
                rollups.roll_up(conn, to_datetime(DAY0_NS + minute * 60 * NS_PER_S + frontier.SETTLE_NS))
                minute = min(minute + 1, MINUTES)

    with ThreadPoolExecutor(3) as pool:
        roller = pool.submit(roll_along)
        writers = [pool.submit(write, mine) for mine in bursts]
        for writer in writers:
            writer.result(60)
        done.set()
        roller.result(60)
    for mine in bursts:
        for burst in mine:
            truth.note(burst.block())
    settle(engine)
    assert check(engine, truth) > MINUTES


def test_one_roller_at_a_time(engine: Engine) -> None:
    store(engine, DENSE.block())
    with engine.connect() as first, engine.connect() as second:
        assert frontier.advance(first, Schema.METER, NOON)
        with first.begin():
            assert first.scalar(frontier.ROLLER)
            assert not rollups.work_once(second)
        assert rollups.work_once(second)


def test_what_is_ahead_of_the_frontier_costs_no_mark(engine: Engine) -> None:
    roll(engine, DAY0_NS)
    ahead, behind = DENSE, replace(DENSE, device=2, day=-1)
    store(engine, ahead.block())
    store(engine, behind.block())
    store(engine, behind.block())
    with engine.begin() as conn:
        marks = conn.execute(text("SELECT device_id, count(*) FROM rollup_marks GROUP BY 1")).all()
    assert [tuple(m) for m in marks] == [(2, 2)], "one for each block, device and day"


def test_a_clock_that_leaps_ahead_and_falls_back_costs_work_only(engine: Engine) -> None:
    truth = Truth()
    for step, (now_ns, second) in enumerate(
        [
            (DAY0_NS + HOUR_NS, 0),
            (DAY0_NS + 4_000 * DAY_NS, 70),  # ten years ahead
            (DAY0_NS + HOUR_NS // 2, 140),  # back, to before what is stored
            (DAY0_NS - 4_000 * DAY_NS, 210),  # ten years behind
            (DAY0_NS + HOUR_NS, 280),
        ]
    ):
        block = replace(DENSE, second=second, seed=step % 4).block()
        store(engine, block)
        truth.note(block)
        roll(engine, now_ns)
        assert check(engine, truth) > 0, f"after step {step} nothing is told that is not true"
    roll(engine, DAY0_NS + 2 * DAY_NS)
    assert check(engine, truth) == 8


def test_a_late_row_does_not_make_a_dropped_day_forget(engine: Engine) -> None:
    dropped, kept = DENSE, replace(DENSE, day=1)
    for burst in (dropped, kept):
        store(engine, burst.block())
    settle(engine)
    with engine.begin() as conn:
        day = to_datetime(DAY0_NS)
        conn.execute(text("DELETE FROM meter_readings WHERE time < :end"), {"end": to_datetime(DAY0_NS + DAY_NS)})
        conn.execute(text("INSERT INTO dropped_days VALUES ('meter_readings', :day, now())"), {"day": day.date()})
        before = stored(conn, Schema.METER, Level.DAY)
    for burst in (dropped, kept):
        store(engine, replace(burst, second=70).block())
    settle(engine)
    with engine.begin() as conn:
        after = stored(conn, Schema.METER, Level.DAY)
    assert after[1, DAY0_NS] == before[1, DAY0_NS]
    assert (before[1, DAY0_NS + DAY_NS]["rows"], after[1, DAY0_NS + DAY_NS]["rows"]) == (70, 140)
    with engine.begin() as conn:  # and not, if everything is asked to be computed anew
        conn.execute(text("UPDATE rollup_frontiers SET frontier = 'epoch'"))
    settle(engine)
    with engine.begin() as conn:
        assert stored(conn, Schema.METER, Level.DAY) == after


def test_rows_wait_for_their_rollups_before_they_may_be_dropped(engine: Engine) -> None:
    start, end = to_datetime(DAY0_NS), to_datetime(DAY0_NS + DAY_NS)

    def waits() -> bool:
        with engine.begin() as conn:
            return rollups.outstanding(conn, Schema.METER, start, end)

    store(engine, DENSE.block())
    assert waits(), "the frontier is not there yet"
    with engine.connect() as conn:
        frontier.advance(conn, Schema.METER, to_datetime(DAY0_NS + 2 * DAY_NS))
    assert waits(), "named, not computed"
    settle(engine)
    assert not waits()
    store(engine, replace(DENSE, second=200).block())
    assert waits(), "late rows"
    settle(engine)
    assert not waits()


def test_rows_from_before_the_migration_are_rolled_up(database: str) -> None:
    truth, engine = Truth(), engine_of(database)
    for burst in (DENSE, replace(DENSE, day=40), replace(DENSE, schema=Schema.PHASOR, step_ns=NS_PER_S // 10)):
        store(engine, burst.block())
        truth.note(burst.block())
    engine.dispose()
    downgrade(database, "smc", "smc_0003")
    migrate(database, "smc")
    settle(engine)
    assert check(engine, truth) == 9
    engine.dispose()


@pytest.mark.slow
def test_a_killed_roller_leaves_nothing_half_done(engine: Engine, database: str) -> None:
    truth, chance = Truth(), random.Random(5)
    for turn in range(KILLS):
        for _ in range(40):
            schema = chance.choice(list(Schema))
            burst = Burst(
                schema, chance.randint(1, 9), chance.randint(0, 59), chance.randint(0, 86_000), NS_PER_S, 60, 1
            )
            store(engine, burst.block())
            truth.note(burst.block())
        command = [sys.executable, "-m", "tests.smc.store.kill_roller", database, str(DAY0_NS + (turn + 58) * DAY_NS)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has begun
            time.sleep(chance.random())
            process.kill()
    settle(engine)
    assert check(engine, truth) > 300
