"""Rollups against a full recompute of the test's own record: late rows, duplicates, any order, clocks, kills."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, text

from model.block import METER_COLUMNS, Block, Schema, phasor_columns
from model.time import NS_PER_S, to_datetime, to_ns
from smc.store import frontier, levels, rollups
from smc.store.ingest import store_block
from smc.store.levels import LEAST_ROWS, Level
from tests.servers.databases import timescale_in_the_long_run
from tests.smc.store.blocks import START_NS, block_of, engine_of

DAY_NS = 86_400 * NS_PER_S
DAY0_NS = START_NS // DAY_NS * DAY_NS
LATEST = to_datetime(DAY0_NS + 61 * DAY_NS)
COLUMNS = {Schema.METER: METER_COLUMNS, Schema.PHASOR: phasor_columns(2, analogs=1)}
KEPT = {  # signals that have rollups, and where they stand in a block
    Schema.METER: {name: i for i, name in enumerate(METER_COLUMNS)},
    Schema.PHASOR: {"frequency_hz": 0, "rocof_hz_per_s": 1, "magnitude[1]": 2, "magnitude[2]": 4, "magnitude[3]": 6},
}
Key = tuple[int, int]


@dataclass(frozen=True)
class Burst:
    """Rows of one device at equal steps."""

    schema: Schema
    device: int
    day: int
    second: int
    step_ns: int
    rows: int
    seed: int

    def block(self) -> Block:
        generator = np.random.default_rng(self.seed)
        columns = COLUMNS[self.schema]
        values = generator.normal(230, 50, (self.rows, len(columns))).astype(np.float32)
        values[generator.random(values.shape) < 0.1] = np.nan
        time_ns = DAY0_NS + self.day * DAY_NS + self.second * NS_PER_S + np.arange(self.rows) * self.step_ns
        made = block_of(self.schema, columns, np.full(self.rows, self.device), time_ns, values)
        return made.take(generator.permutation(self.rows))


@dataclass
class Truth:
    """What was stored: of two contents for one device and time the first."""

    rows: dict[Schema, dict[Key, tuple[int, Any]]] = field(default_factory=lambda: {s: {} for s in Schema})

    def note(self, block: Block) -> None:
        for device, time_ns, received_ns, values in zip(
            block.device.tolist(), block.time_ns.tolist(), block.received_ns.tolist(), block.values, strict=True
        ):
            self.rows[block.schema].setdefault((device, time_ns), (received_ns, values))

    def rollup(self, schema: Schema, level: Level, frontier_ns: int) -> dict[Key, list[tuple[int, Any]]]:
        """Rows of each bucket that should be stored, in the order of time."""
        buckets: dict[Key, list[tuple[int, Any]]] = {}
        for (device, time_ns), row in sorted(self.rows[schema].items()):
            start_ns = time_ns // level.width_ns * level.width_ns
            if start_ns + level.width_ns <= frontier_ns:
                buckets.setdefault((device, start_ns), []).append(row)
        return {key: rows for key, rows in buckets.items() if len(rows) >= LEAST_ROWS}


def stored(conn: Connection, schema: Schema, level: Level) -> dict[Key, dict[str, Any]]:
    table = rollups.SOURCES[schema].table(level)
    found = conn.execute(text(f"SELECT * FROM {table}")).mappings()
    return {(m["device_id"], to_ns(m["time"])): dict(m) for m in found}


def statistic(row: dict[str, Any], signal: str, what: str) -> float:
    if signal.startswith("magnitude"):
        return float(row[f"magnitude_{what}"][int(signal[-2]) - 1])
    return float(row[f"{signal}_{what}"])


def compare(conn: Connection, truth: Truth, schema: Schema, level: Level) -> int:
    """Every stored bucket against the truth; how many there are."""
    expected = truth.rollup(schema, level, frontier.frontier_ns(conn, schema))
    found = stored(conn, schema, level)
    assert found.keys() == expected.keys(), (schema, level)
    for key, rows in expected.items():
        assert found[key]["rows"] == len(rows)
        if schema is Schema.METER:  # a part of a PMU's second has the receipt of its last frame
            assert to_ns(found[key]["received"]) == max(received_ns for received_ns, _ in rows)
        for signal, column in KEPT[schema].items():
            values = [float(v[column]) for _, v in rows if not math.isnan(v[column])]
            told = {w: statistic(found[key], signal, w) for w in ("n", "sum", "square", "min", "max", "last")}
            assert told["n"] == len(values), (key, signal)
            assert told["sum"] == pytest.approx(math.fsum(values), rel=1e-12)
            assert told["square"] == pytest.approx(math.fsum(v * v for v in values), rel=1e-12)
            exact = (min(values), max(values), values[-1]) if values else (math.nan,) * 3
            told_exact = np.array(
                [told["min"], told["max"], told["last"]], np.float32
            )  # REAL comes as its shortest decimal
            np.testing.assert_array_equal(told_exact, np.array(exact, np.float32), f"{key} {signal}")
    return len(expected)


def store(engine: Engine, block: Block) -> None:
    with engine.begin() as conn:
        store_block(conn, block)


def settle(engine: Engine) -> None:
    with engine.connect() as conn:
        while rollups.roll_up(conn, LATEST).behind:
            pass


def clear(engine: Engine) -> None:
    with engine.begin() as conn:
        tables = ("meter_readings, phasor_seconds, phasors, latest, reading_conflicts, rollup_marks, rollup_ranges",)
        conn.execute(text(f"TRUNCATE {', '.join((*tables, *rollups.TABLES))}"))
        conn.execute(text("UPDATE rollup_frontiers SET frontier = 'epoch'"))


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    engine = engine_of(url)
    try:
        yield engine
    finally:
        engine.dispose()


def bits(engine: Engine) -> dict[str, list[str]]:
    """Every rollup table as text that is exact to the bit."""
    with engine.begin() as conn:
        query = "SELECT t::text FROM {} t ORDER BY device_id, time"
        return {table: list(conn.scalars(text(query.format(table)))) for table in rollups.TABLES}


class Killed(Exception):
    """The roller ends here."""


def killed_at(engine: Engine, patch: pytest.MonkeyPatch, call: int) -> None:
    """Work until the given computation of a portion, which ends with its rows already written."""
    real, calls = levels.recompute, 0

    def recompute(*arguments: Any) -> None:
        nonlocal calls
        real(*arguments)
        calls += 1
        if calls == call:
            raise Killed

    with patch.context() as context:
        context.setattr(levels, "recompute", recompute)
        with suppress(Killed), engine.connect() as conn:
            rollups.roll_up(conn, LATEST)


BURSTS = st.builds(
    Burst,
    st.sampled_from(Schema),
    st.integers(1, 2),
    st.sampled_from([0, 1, 59]),
    st.sampled_from([0, 30, 850, 86_380]),
    st.sampled_from([NS_PER_S // 10, NS_PER_S, 4 * NS_PER_S, 61 * NS_PER_S, 900 * NS_PER_S]),
    st.integers(1, 70),
    st.integers(0, 3),
)
NOWS = st.sampled_from([DAY0_NS + h * 3_600 * NS_PER_S for h in (-9_000, 0, 1, 24, 25, 1_440, 90_000)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), BURSTS),
        st.tuples(st.just("store"), BURSTS),
        st.tuples(st.just("again"), st.integers(0, 9)),
        st.tuples(st.just("roll"), NOWS),
        st.tuples(st.just("name"), NOWS),
        st.tuples(st.just("kill"), st.integers(1, 6)),
    ),
    min_size=2,
    max_size=14,
)


HOUR_NS = 3_600 * NS_PER_S
M, P = Schema.METER, Schema.PHASOR
# Everything at once: dense and sparse devices, rows 59 days late, duplicates, kills, and a clock that leaps 10 years.
EVENTFUL: list[tuple[str, Any]] = [
    ("store", Burst(M, 1, 0, 0, NS_PER_S, 70, 0)),
    ("store", Burst(M, 2, 0, 30, 900 * NS_PER_S, 70, 1)),
    ("store", Burst(P, 1, 0, 30, NS_PER_S // 10, 70, 2)),
    ("name", DAY0_NS + HOUR_NS),
    ("store", Burst(M, 1, 0, 30, 4 * NS_PER_S, 70, 3)),
    ("kill", 2),
    ("again", 1),
    ("roll", DAY0_NS + 90_000 * HOUR_NS),
    ("store", Burst(P, 1, 0, 850, NS_PER_S // 10, 70, 0)),
    ("store", Burst(P, 2, 1, 0, NS_PER_S, 70, 1)),
    ("kill", 5),
    ("roll", DAY0_NS + 25 * HOUR_NS),
    ("store", Burst(M, 1, 1, 86_380, NS_PER_S, 70, 2)),
    ("roll", DAY0_NS + 1_440 * HOUR_NS),
    ("store", Burst(M, 2, 59, 0, 61 * NS_PER_S, 70, 3)),
    ("store", Burst(M, 1, 0, 850, NS_PER_S, 70, 1)),
    ("store", Burst(P, 1, 0, 0, NS_PER_S, 70, 3)),
    ("again", 9),
    ("kill", 1),
]


def follow(engine: Engine, patch: pytest.MonkeyPatch, steps: list[tuple[str, Any]]) -> Truth:
    truth, sent = Truth(), [Burst(Schema.METER, 1, 0, 0, NS_PER_S, 70, 9).block()]
    for what, value in steps:
        if what in ("store", "again"):
            block = value.block() if what == "store" else sent[value % len(sent)]
            if what == "again":
                block = block.take(slice(len(block) // 3, None))
            store(engine, block)
            truth.note(block)
            sent.append(block)
        elif what == "roll":
            with engine.connect() as conn:
                rollups.roll_up(conn, to_datetime(value), steps=3)
        elif what == "name":  # killed between the frontier's commit and the computation
            with engine.connect() as conn:
                for schema in Schema:
                    frontier.advance(conn, schema, to_datetime(value))
        else:
            killed_at(engine, patch, value)
    settle(engine)
    return truth


def check_any_history(database: str, examples: int) -> None:
    with opened(database) as engine, pytest.MonkeyPatch.context() as patch:

        @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
        @example(EVENTFUL)
        @given(STEPS)
        def any_history(steps: list[tuple[str, Any]]) -> None:
            clear(engine)
            truth = follow(engine, patch, steps)
            with engine.begin() as conn:
                for schema in Schema:
                    for level in Level:
                        compare(conn, truth, schema, level)
            before = bits(engine)
            with engine.begin() as conn:  # the same bits, if all is computed anew
                conn.execute(text(f"TRUNCATE {', '.join(rollups.TABLES)}"))
                conn.execute(text("UPDATE rollup_frontiers SET frontier = 'epoch'"))
            settle(engine)
            assert bits(engine) == before

        any_history()


@timescale_in_the_long_run
def test_any_history_ends_in_a_full_recompute(database: str) -> None:
    check_any_history(database, 1)


@pytest.mark.slow
def test_many_histories_end_in_a_full_recompute(database: str) -> None:
    check_any_history(database, 100)
