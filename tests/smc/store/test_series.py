"""Series over rollups: the coarsest level that serves, no gap at the live edge, the same extremes as the rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, event, text

from model.block import METER_COLUMNS, Schema
from model.time import NS_PER_S, to_datetime
from smc.store import fleet, rollups, telemetry
from smc.store.ingest import store_block
from smc.store.levels import Level
from tests.smc.store.blocks import START_NS, engine_of, meter_block, phasor_block

START = to_datetime(START_NS)
HOUR = timedelta(hours=1)
POWER = METER_COLUMNS.index("power_w")


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    made = engine_of(database)
    yield made
    made.dispose()


def roll(engine: Engine, until: datetime) -> None:
    with engine.connect() as conn:
        while rollups.roll_up(conn, until + timedelta(minutes=1)).behind:
            pass


def asked(conn: Connection, ask: Any) -> tuple[Any, list[str]]:
    """What `ask()` gives, and the statements that it needed."""
    statements: list[str] = []

    def note(_conn: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(conn, "before_cursor_execute", note)
    found = ask()
    event.remove(conn, "before_cursor_execute", note)
    return found, statements


def test_a_meter_s_hours_agree_with_its_rows_up_to_the_live_edge(engine: Engine) -> None:
    block = meter_block(2, 3 * 3600, step_s=1)  # three hours, the roller has seen two and a half
    with engine.begin() as conn:
        store_block(conn, block)
    roll(engine, START + 2.5 * HOUR)
    mine = block.take(block.device == 2)
    power = mine.column("power_w")[np.argsort(mine.time_ns)].astype(np.float32).reshape(180, 60)
    with engine.begin() as conn:
        found = telemetry.meter_series(conn, 2, "power_w", START, START + 3 * HOUR, 180)
    assert found.time_ns.tolist() == [START_NS + n * 60 * NS_PER_S for n in range(180)]
    np.testing.assert_array_equal(found.minimum, power.min(axis=1))
    np.testing.assert_array_equal(found.maximum, power.max(axis=1))
    np.testing.assert_array_equal(found.last, power[:, -1])


def test_a_window_that_begins_and_ends_inside_buckets_has_nothing_from_outside(engine: Engine) -> None:
    block = meter_block(1, 7200, step_s=1)
    with engine.begin() as conn:
        store_block(conn, block)
    roll(engine, START + 2 * HOUR)
    begin, end = START + timedelta(seconds=100), START + timedelta(seconds=6_500)
    power = block.column("power_w")[np.argsort(block.time_ns)].astype(np.float32)[100:6_500]
    with engine.begin() as conn:
        found = telemetry.meter_series(conn, 1, "power_w", begin, end, 4)
    assert len(found.time_ns) == 4
    assert found.time_ns[0] == START_NS + 100 * NS_PER_S
    assert (found.minimum.min(), found.maximum.max(), found.last[-1]) == (power.min(), power.max(), power[-1])


@pytest.mark.parametrize(("signal", "channel"), [("frequency_hz", 0), ("rocof_hz_per_s", 0), ("magnitude", 2)])
def test_a_pmu_s_minutes_agree_with_its_frames(engine: Engine, signal: str, channel: int) -> None:
    block = phasor_block(2, 3000)  # five minutes at 10 frames/s, four of them rolled up
    with engine.begin() as conn:
        store_block(conn, block)
    roll(engine, START + timedelta(minutes=4))
    mine = block.take(block.device == 1)
    column = {"frequency_hz": 0, "rocof_hz_per_s": 1, "magnitude": 6}[signal]
    values = mine.values[:, column].astype(np.float32).reshape(5, 600)
    with engine.begin() as conn:
        ask = lambda: telemetry.phasor_series(conn, 1, signal, channel, START, START + timedelta(minutes=5), 5)  # noqa: E731
        found, statements = asked(conn, ask)
        stored = conn.scalar(text("SELECT count(*) FROM phasor_minutes"))
    assert stored == 8
    assert any("phasor_minutes" in s for s in statements)
    np.testing.assert_array_equal(found.minimum, values.min(axis=1))
    np.testing.assert_array_equal(found.maximum, values.max(axis=1))
    np.testing.assert_array_equal(found.last, values[:, -1])


def test_a_week_takes_the_coarsest_level_that_serves_and_no_rows(engine: Engine) -> None:
    step_s, days = 60, 8
    block = meter_block(1, days * 1440, step_s=step_s)
    with engine.begin() as conn:
        for part in np.array_split(np.argsort(block.time_ns), 10):
            store_block(conn, block.take(part))
    end = START + timedelta(days=days)
    roll(engine, end)
    power = block.column("power_w")[np.argsort(block.time_ns)].astype(np.float32)
    with engine.begin() as conn:
        levels = {
            Level.DAY: ("meter_days", 8),
            Level.QUARTER: ("meter_quarters", 300),
            Level.MINUTE: ("meter_minutes", 6_000),
        }
        for level, (table, buckets) in levels.items():
            ask = lambda n=buckets: telemetry.meter_series(conn, 1, "power_w", START, end, n)  # noqa: E731
            found, statements = asked(conn, ask)
            assert table in statements[0], level
            assert (found.minimum.min(), found.maximum.max()) == (power.min(), power.max()), level
            if level is Level.QUARTER:
                assert "meter_readings" not in "".join(statements), "quarter hours cover the week: no row is needed"


def test_angles_of_a_long_time_are_refused(engine: Engine) -> None:
    with engine.begin() as conn, pytest.raises(ValueError, match="frame by frame"):
        telemetry.phasor_series(conn, 1, "angle_rad", 0, START, START + 2 * HOUR, 100)


def test_envelopes_have_the_extremes_of_every_signal(engine: Engine) -> None:
    meters, frames = meter_block(1, 3600, step_s=1), phasor_block(1, 1200)
    frames = replace(frames, device=frames.device + 10)
    with engine.begin() as conn:
        store_block(conn, meters)
        store_block(conn, frames)
    roll(engine, START + 0.5 * HOUR)
    with engine.begin() as conn:
        found = telemetry.meter_envelope(conn, 1, START, START + HOUR, 6)
        assert len(found["time_ns"]) == 12
        assert (np.diff(found["time_ns"]) > 0).all()
        for name in METER_COLUMNS:
            values = meters.column(name) if name.startswith("energy") else meters.column(name).astype(np.float32)
            assert (found[name].min(), found[name].max()) == (values.min(), values.max())
            assert (found[name][::2] <= found[name][1::2]).all()
        of_pmu = telemetry.phasor_envelope(conn, 11, START, START + timedelta(minutes=2), 2)
        assert of_pmu["magnitude"].shape == (4, 3)
        assert of_pmu["magnitude"][:, 1].max() == frames.column("magnitude_1").astype(np.float32).max()
        nothing = telemetry.phasor_envelope(conn, 99, START, START + HOUR, 6)
        assert (len(nothing["time_ns"]), nothing["magnitude"].shape[0]) == (0, 0)


def test_the_latest_of_some_devices(engine: Engine) -> None:
    with engine.begin() as conn:
        store_block(conn, meter_block(5, 3))
        everyone = telemetry.latest(conn)
        found = fleet.latest_of(conn, [4, 2, 99])
    assert found.keys() == {2, 4}
    for device, newest in found.items():
        assert newest.time == everyone[device].time
        np.testing.assert_array_equal(newest.values, everyone[device].values)


def test_the_device_that_is_unlike_itself_ranks_first(engine: Engine) -> None:
    hours, step_s, devices = 26, 20, 6
    rows = hours * 3600 // step_s
    block = meter_block(devices, rows, step_s=step_s, seed=4)
    recent = block.time_ns >= START_NS + 25 * 3600 * NS_PER_S
    values = block.values.copy()
    values[(block.device == 3) & recent, POWER] += 25  # five of its standard deviations
    values[block.device == 5, POWER] = 100.0
    values[(block.device == 5) & recent, POWER] = 101.0
    values[block.device == 6, POWER] = 100.0
    block = replace(block, values=values)
    with engine.begin() as conn:
        store_block(conn, block)
    roll(engine, START + hours * HOUR)
    with engine.begin() as conn:
        found = fleet.ranking(conn, Schema.METER, "power_w", 5)
        assert fleet.ranking(conn, Schema.PHASOR, "frequency_hz", 5).device.tolist() == []
        with pytest.raises(ValueError, match="energy_import_wh"):
            fleet.ranking(conn, Schema.METER, "energy_import_wh", 5)
    assert found.end == START + hours * HOUR
    assert found.device[:2].tolist() == [5, 3]
    assert found.score[0] == np.inf
    mine = block.device == 3
    age = (START_NS + hours * 3600 * NS_PER_S - block.time_ns) / NS_PER_S / 3600
    now, before = (values[mine & within, POWER].astype(np.float32) for within in (age <= 1, (age > 1) & (age <= 25)))
    row = 1
    assert found.recent[row] == pytest.approx(now.mean(dtype=float), rel=1e-9)
    assert found.usual[row] == pytest.approx(before.mean(dtype=float), rel=1e-9)
    assert found.deviation[row] == pytest.approx(before.std(dtype=float), rel=1e-6)
    assert found.score[row] == pytest.approx((found.recent[row] - found.usual[row]) / found.deviation[row])
    assert 6 not in found.device[:4], "a device that never changes is not unlike itself"
