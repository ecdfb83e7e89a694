"""What the desk asks of 50 million stored values, against the naive way to ask it, and against a limit in ms.

500 meters: 30 days at 15 min, then 36 hours at 20 s; rows of 11 values. Stored by our own path on TimescaleDB's Apache
edition and rolled up by our own roller, which begins 26 hours back to save time: what lies before is read raw, which is
slower. Then vacuumed and analysed. The naive ways read raw rows with plain SQL, bounded in time as far as they can be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

import numpy as np
from sqlalchemy import Connection, Engine, text

from bench.measure import Contender, in_turn
from bench.servers import DATABASE, TIMESCALE, postgres, scratch
from bench.synthetic import START_NS, meter_rows
from bench.table import Row, row
from host.database import engine
from model.block import I64, METER_COLUMNS, Block, Schema
from model.time import NS_PER_S, to_datetime
from smc.store import fleet, rollups, telemetry
from smc.store.ingest import store_block

AREA = "queries"
METERS = 500
HISTORY_DAYS, HISTORY_STEP_S = 30, 900
RECENT_HOURS, RECENT_STEP_S = 36, 20
BLOCK_ROWS = 100_000
DEVICE = 7
COLUMN = "power_w"
SPLIT_NS = START_NS + HISTORY_DAYS * 86_400 * NS_PER_S
END_NS = SPLIT_NS + RECENT_HOURS * 3_600 * NS_PER_S
END = to_datetime(END_NS)
ROLLED = timedelta(hours=26)
DAY, HOUR, MONTH = timedelta(days=1), timedelta(hours=1), timedelta(days=30)

_LATEST = "SELECT DISTINCT ON (device_id) * FROM meter_readings WHERE time >= :start ORDER BY device_id, time DESC"
_BUCKETS = f"""
SELECT date_bin(:width, time, TIMESTAMPTZ '2000-01-01 00:00Z') AS bucket, min({COLUMN}), max({COLUMN}),
       (array_agg({COLUMN} ORDER BY time DESC))[1]
FROM meter_readings WHERE device_id = :device AND time >= :start AND time < :end GROUP BY bucket ORDER BY bucket
"""  # noqa: S608 (own names)
_RANKING = f"""
SELECT device_id, (recent - usual) / nullif(deviation, 0) AS score FROM (
    SELECT device_id, avg({COLUMN}) FILTER (WHERE time >= :split) AS recent,
           avg({COLUMN}) FILTER (WHERE time < :split) AS usual,
           stddev_pop({COLUMN}) FILTER (WHERE time < :split) AS deviation
    FROM meter_readings WHERE time >= :start AND time < :end GROUP BY device_id) AS judged
ORDER BY abs((recent - usual) / nullif(deviation, 0)) DESC NULLS LAST LIMIT 50
"""  # noqa: S608 (own names)


@dataclass(frozen=True)
class Question:
    """What is asked, our way and the naive way, the most it may take, and how much cheaper than the naive way it is."""

    name: str
    ours: Callable[[Connection], object]
    naive: Callable[[Connection], object]
    most_ms: float
    goal: str


def run() -> list[Row]:
    """All questions on TimescaleDB's Apache edition."""
    with scratch() as folder, postgres(folder, TIMESCALE) as server:
        store = engine(server.url(DATABASE), "bench")
        rows = list(_answers(store, _fill(store)))
        store.dispose()
    return rows


def _answers(store: Engine, count: int) -> Iterator[Row]:
    for question in _questions():
        contenders = {
            "ours": Contender(partial(_ask, store, question.ours)),
            "naive": Contender(partial(_ask, store, question.naive)),
        }
        for contender in contenders.values():
            contender.work()  # once before: connection, plan, cache
        found = in_turn(contenders)
        ours_ms, naive_ms = found["ours"].wall_s * 1e3, found["naive"].wall_s * 1e3
        name = f"{question.name}, {count / 1e6:.1f} M values"
        yield row(AREA, name, ours_ms, "ms", "limit", question.most_ms, "<= 1")
        yield row(AREA, name, ours_ms, "ms", "naive query", naive_ms, question.goal)


def _questions() -> list[Question]:
    devices = list(range(1, METERS + 1))
    series = partial(telemetry.meter_series, device=DEVICE, column=COLUMN, end=END)
    bound = {"device": DEVICE, "end": END}
    return [
        Question(
            f"newest rows of {METERS} meters",
            partial(fleet.latest_of, devices=devices),
            partial(_rows, _LATEST, {"start": END - DAY}),
            10.0,
            "<= 0.1",
        ),
        Question(
            "a meter's day in 1-min buckets",
            partial(series, start=END - DAY, buckets=1_440),
            partial(_rows, _BUCKETS, bound | {"start": END - DAY, "width": timedelta(minutes=1)}),
            20.0,
            "<= 1.5",
        ),
        Question(
            "fleet ranking, 1 h against 24 h",
            partial(fleet.ranking, schema=Schema.METER, column=COLUMN, limit=50),
            partial(_rows, _RANKING, {"start": END - DAY - HOUR, "split": END - HOUR, "end": END}),
            400.0,
            "<= 0.2",
        ),
        Question(
            "30 days of a meter, 1,000 buckets",
            partial(series, start=END - MONTH, buckets=1_000),
            partial(_rows, _BUCKETS, bound | {"start": END - MONTH, "width": MONTH / 1_000}),
            50.0,
            "<= 1.5",
        ),
    ]


def _ask(store: Engine, question: Callable[[Connection], object]) -> None:
    with store.connect() as conn:
        question(conn)


def _rows(statement: str, values: dict[str, object], conn: Connection) -> object:
    return conn.execute(text(statement), values).all()


def _fill(store: Engine) -> int:
    """Store all rows; returns the number of values."""
    count = 0
    for number, times_ns in enumerate(_slices()):
        block = _readings(times_ns, number)
        with store.begin() as conn:
            store_block(conn, block)
        count += len(block) * len(METER_COLUMNS)
    _roll_up(store, END + timedelta(minutes=1))
    with store.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.execute(text("VACUUM ANALYZE"))
    return count


def _roll_up(store: Engine, now: datetime) -> None:
    with store.begin() as conn:
        conn.execute(text("UPDATE rollup_frontiers SET frontier = :start"), {"start": END - ROLLED})
    with store.connect() as conn:
        while rollups.roll_up(conn, now).behind:
            pass


def _slices() -> Iterator[I64]:
    """Times of a block each, in their order."""
    history = np.arange(START_NS, SPLIT_NS, HISTORY_STEP_S * NS_PER_S)
    recent = np.arange(SPLIT_NS, END_NS, RECENT_STEP_S * NS_PER_S)
    for times_ns in (history, recent):
        yield from np.array_split(times_ns, max(1, len(times_ns) * METERS // BLOCK_ROWS))


def _readings(times_ns: I64, seed: int) -> Block:
    """One reading of every meter at each time."""
    device = np.tile(np.arange(1, METERS + 1), len(times_ns))
    return meter_rows(device, np.repeat(times_ns, METERS), seed)
