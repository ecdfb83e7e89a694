"""Questions about telemetry: bounds, limits, shrinking for plots, and how the database answers them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, event, text

from model.block import METER_COLUMNS
from model.time import NS_PER_S, to_datetime
from smc.store import telemetry
from smc.store.ingest import store_block
from tests.smc.store.blocks import START_NS, meter_block, phasor_block, transaction

START = to_datetime(START_NS)
MINUTE = timedelta(minutes=1)


def later(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def test_readings_keep_the_bounds_the_order_and_the_limit(database: str) -> None:
    with transaction(database) as conn:
        store_block(conn, meter_block(2, 60))
        found = telemetry.readings(conn, 2, later(100), later(200), 1_000)
        assert found["time_ns"].tolist() == [START_NS + s * NS_PER_S for s in range(100, 200, 10)]
        first = telemetry.readings(conn, 2, later(100), later(200), 3)
        assert first["time_ns"].tolist() == found["time_ns"].tolist()[:3]
        newest = telemetry.readings(conn, 2, later(100), later(200), 3, newest=True)
        assert {n: v.tolist() for n, v in newest.items()} == {n: v.tolist()[-3:] for n, v in found.items()}
        nothing = telemetry.readings(conn, 99, later(0), later(1_000), 10)
        assert {name: (len(v), v.dtype) for name, v in nothing.items()} == {n: (0, v.dtype) for n, v in found.items()}


def test_phasors_keep_bounds_inside_a_second_and_the_limit(database: str) -> None:
    block = phasor_block(2, 50)
    with transaction(database) as conn:
        store_block(conn, block)
        expected = [START_NS + f * NS_PER_S // 10 for f in range(50)]
        found = telemetry.phasors(conn, 1, later(0.55), later(3.1), 1_000)
        assert found["time_ns"].tolist() == expected[6:31]
        assert found["magnitude"].shape == found["angle_rad"].shape == (25, 3)
        for limit in (1, 4, 5, 14, 15, 24):
            part = telemetry.phasors(conn, 1, later(0.55), later(3.1), limit)
            assert part["time_ns"].tolist() == expected[6 : 6 + limit], f"limit {limit}"
        nothing = telemetry.phasors(conn, 3, later(0), later(9), 10)
        assert nothing["magnitude"].shape == (0, 0)
        assert nothing["time_ns"].tolist() == []


def test_counts_are_rows_per_device_and_minute(database: str) -> None:
    with transaction(database) as conn:
        store_block(conn, meter_block(2, 12))
        frames = phasor_block(1, 700)
        store_block(conn, replace(frames, device=frames.device + 10))
        found = telemetry.counts(conn, START, later(120))
        rows = zip(found.minute_ns.tolist(), found.device.tolist(), found.rows.tolist(), strict=True)
        next_ns = START_NS + 60 * NS_PER_S
        expected = [(START_NS, 1, 6), (START_NS, 2, 6), (START_NS, 11, 600)]
        assert sorted(rows) == [*expected, (next_ns, 1, 6), (next_ns, 2, 6), (next_ns, 11, 100)]
        assert telemetry.counts(conn, later(-60), START).rows.size == 0


def test_a_meter_s_series_has_extremes_and_last_value_of_each_bucket(database: str) -> None:
    block = meter_block(1, 60, seed=3)
    block = block.take(np.argsort(block.time_ns))
    power = block.column("power_w").astype(np.float32)
    power[[7, 59]] = np.nan
    values = block.values.copy()
    values[:, METER_COLUMNS.index("power_w")] = power
    with transaction(database) as conn:
        store_block(conn, replace(block, values=values))
        found = telemetry.meter_series(conn, 1, "power_w", START, later(600), 5)
    buckets = power.reshape(5, 12)
    assert found.time_ns.tolist() == [START_NS + n * 120 * NS_PER_S for n in range(5)]
    np.testing.assert_array_equal(found.minimum, np.nanmin(buckets, axis=1))
    np.testing.assert_array_equal(found.maximum, np.nanmax(buckets, axis=1))
    np.testing.assert_array_equal(found.last, [*buckets[:4, 11], buckets[4, 10]])


@pytest.mark.parametrize("signal", ["frequency_hz", "rocof_hz_per_s", "magnitude", "angle_rad"])
def test_a_pmu_s_series_agrees_with_its_frames(database: str, signal: str) -> None:
    with transaction(database) as conn:
        store_block(conn, phasor_block(2, 100, seed=5))
        frames = telemetry.phasors(conn, 2, later(0.5), later(8.5), 1_000)
        found = telemetry.phasor_series(conn, 2, signal, 1, later(0.5), later(8.5), 4)
    values = frames[signal] if frames[signal].ndim == 1 else frames[signal][:, 1]
    buckets = values.reshape(4, 20)
    np.testing.assert_array_equal(found.minimum, buckets.min(axis=1))
    np.testing.assert_array_equal(found.maximum, buckets.max(axis=1))
    np.testing.assert_array_equal(found.last, buckets[:, -1])


def test_unknown_signals_and_no_buckets_are_refused(database: str) -> None:
    with transaction(database) as conn:
        with pytest.raises(ValueError, match="colour"):
            telemetry.meter_series(conn, 1, "colour", START, later(1), 10)
        with pytest.raises(ValueError, match="colour"):
            telemetry.phasor_series(conn, 1, "colour", 0, START, later(1), 10)
        with pytest.raises(ValueError, match="at least 1"):
            telemetry.meter_series(conn, 1, "power_w", START, later(1), 0)


def plans(conn: Connection, ask: Any) -> Iterator[dict[str, Any]]:
    """Every node of the plans of the statements that `ask()` executes, explained with their values."""
    asked: list[tuple[str, Any]] = []

    def note(_conn: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        asked.append((statement, parameters))

    event.listen(conn, "before_cursor_execute", note)
    ask()
    event.remove(conn, "before_cursor_execute", note)
    assert asked
    for statement, parameters in asked:
        answer = conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
        stack = [(json.loads(answer) if isinstance(answer, str) else answer)[0]["Plan"]]
        while stack:
            node = stack.pop()
            yield node
            stack += node.get("Plans", [])


def test_a_device_s_range_is_never_read_by_scanning_the_fleet(database: str) -> None:
    """No plan is forced: there are enough rows to make scanning the worse way."""
    with transaction(database) as conn:
        for day in range(3):
            shift = day * 86_400 * NS_PER_S
            meters, frames = meter_block(400, 60), phasor_block(40, 600)
            store_block(conn, replace(meters, time_ns=meters.time_ns + shift))
            store_block(conn, replace(frames, time_ns=frames.time_ns + shift))
    with transaction(database) as conn:
        conn.execute(text("ANALYZE"))
        begin, end = later(86_400 + 60), later(86_400 + 120)
        asks = {
            "readings": lambda: telemetry.readings(conn, 7, begin, end, 1_000),
            "phasors": lambda: telemetry.phasors(conn, 7, begin, end, 10_000),
            "meter_series": lambda: telemetry.meter_series(conn, 7, "power_w", begin, end, 100),
            "phasor_series": lambda: telemetry.phasor_series(conn, 7, "magnitude", 0, begin, end, 100),
        }
        for name, ask in asks.items():
            read = [n for n in plans(conn, ask) if "Relation Name" in n]
            assert read, name
            assert [n["Relation Name"] for n in read if n["Node Type"] == "Seq Scan"] == [], name
            days = {n["Relation Name"] for n in read}
            assert len(days) <= 2, f"{name} reads {days}: one day's part of a series, and of a second series, is enough"
