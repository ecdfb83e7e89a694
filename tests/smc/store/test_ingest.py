"""Blocks in, tables out: new, known and contradicting rows, whatever the cut and the order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from model.block import METER_COLUMNS, Block, Quality, Schema, concatenate
from model.time import NS_PER_S, to_datetime
from smc.store.ingest import Stored, in_order, store_block
from smc.store.latest import latest
from smc.store.telemetry import phasors, readings
from tests.smc.store.blocks import START_NS, block_of, engine_of, meter_block, phasor_block, transaction

START, END = to_datetime(START_NS - 3600 * NS_PER_S), to_datetime(START_NS + 86_400 * NS_PER_S)
EXAMPLES = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


def changed(block: Block, row: int, column: int = 0, by: float = 1.0) -> Block:
    values = block.values.copy()
    values[row, column] += by
    return replace(block, values=values)


def contents(conn: Connection, block: Block) -> dict[int, dict[str, Any]]:
    """Everything stored of a block's devices, but when it was received."""
    read = readings if block.columns == METER_COLUMNS else phasors
    found = {int(d): read(conn, int(d), START, END, 100_000) for d in np.unique(block.device)}
    return {d: {k: repr(v.tolist()) for k, v in columns.items() if k != "received_ns"} for d, columns in found.items()}


def clear(conn: Connection) -> None:
    conn.execute(text("TRUNCATE meter_readings, phasor_seconds, phasors, latest, reading_conflicts"))


BLOCKS = [pytest.param(meter_block(3, 8), id="meter"), pytest.param(phasor_block(2, 25), id="phasor")]


@pytest.mark.parametrize("block", BLOCKS)
def test_what_was_stored_is_what_came(database: str, block: Block) -> None:
    with transaction(database) as conn:
        assert store_block(conn, block) == Stored(len(block), 0, 0)
        for device in np.unique(block.device).tolist():
            mine = block.take(block.device == device)
            mine = mine.take(np.argsort(mine.time_ns))
            if block.columns == METER_COLUMNS:
                found = readings(conn, device, START, END, 1_000)
                got = np.column_stack([found[name] for name in METER_COLUMNS])
                expected = mine.values.copy()
                expected[:, 2:] = expected[:, 2:].astype(np.float32)
                np.testing.assert_array_equal(got, expected)
            else:
                found = phasors(conn, device, START, END, 1_000)
                expected = mine.values.astype(np.float32)
                np.testing.assert_array_equal(found["frequency_hz"], expected[:, 0])
                np.testing.assert_array_equal(found["rocof_hz_per_s"], expected[:, 1])
                np.testing.assert_array_equal(found["magnitude"], expected[:, [2, 4, 6]])
                np.testing.assert_array_equal(found["angle_rad"][:, :2], expected[:, [3, 5]])
                assert np.isnan(found["angle_rad"][:, 2]).all(), "an analog has no angle"
            np.testing.assert_array_equal(found["time_ns"], mine.time_ns)
            np.testing.assert_array_equal(found["time_error_ns"], mine.time_error_ns)
            np.testing.assert_array_equal(found["quality"], mine.quality)


@pytest.mark.parametrize("block", BLOCKS)
def test_the_same_block_again_changes_nothing(database: str, block: Block) -> None:
    with transaction(database) as conn:
        store_block(conn, block)
        before = contents(conn, block)
        again = replace(block, received_ns=block.received_ns + 60 * NS_PER_S)
        assert store_block(conn, again) == Stored(0, len(block), 0)
        assert contents(conn, block) == before
        assert conn.execute(text("SELECT count(*) FROM reading_conflicts")).scalar_one() == 0


@pytest.mark.parametrize("block", BLOCKS)
def test_another_content_for_a_known_time_is_kept_beside_and_changes_nothing(database: str, block: Block) -> None:
    with transaction(database) as conn:
        store_block(conn, block)
        before = contents(conn, block)
        assert store_block(conn, changed(block, 3)) == Stored(0, len(block) - 1, 1)
        assert contents(conn, block) == before
        query = text("SELECT device_id, time, stored, offered, columns FROM reading_conflicts")
        found = conn.execute(query).one()
        assert (found.device_id, found.time) == (block.device[3], to_datetime(block.time_ns[3]))
        assert found.offered[0] - found.stored[0] == pytest.approx(1, abs=1e-4)
        assert found.columns[0] == block.columns[0]
        assert store_block(conn, changed(block, 3)).rows_conflicting == 1
        assert len(conn.execute(query).all()) == 1, "the same contradiction again is no second one"


@pytest.mark.parametrize("block", BLOCKS)
def test_a_contradiction_inside_one_block_is_found(database: str, block: Block) -> None:
    twice = concatenate([block, changed(block.take(np.arange(4)), 2), block.take(np.arange(1))])
    with transaction(database) as conn:
        assert store_block(conn, twice) == Stored(len(block), 4, 1)
        assert contents(conn, block) == _fresh(conn, block)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(-3, 3))
        | st.tuples(st.integers(0, 2**31 - 1), st.integers(-(2**60), 2**60)),
        min_size=1,
    ),
    st.sampled_from([(), (0,), (1,), (1, 0)]),
)
def test_rows_are_put_in_the_order_of_the_key_and_equal_ones_stay(
    keys: list[tuple[int, int]], by: tuple[int, ...]
) -> None:
    keys = sorted(keys, key=lambda key: [key[i] for i in by])
    device, time_us = np.array(keys).T
    rows = np.arange(len(keys))
    found = in_order(block_of(Schema.METER, ("power_w",), device, time_us * 1_000 + rows % 7, rows))
    assert found.values[:, 0].tolist() == np.lexsort((rows, time_us, device)).tolist()


def _fresh(conn: Connection, block: Block) -> dict[int, dict[str, Any]]:
    clear(conn)
    store_block(conn, block)
    return contents(conn, block)


def test_flags_of_our_own_are_no_contradiction(database: str) -> None:
    block = meter_block(1, 5)
    flagged = replace(block, quality=block.quality | np.uint32(Quality.OUT_OF_WINDOW))
    other = replace(block, quality=block.quality | np.uint32(1))
    with transaction(database) as conn:
        store_block(conn, block)
        assert store_block(conn, flagged) == Stored(0, 5, 0)
        assert store_block(conn, other) == Stored(0, 0, 5)


@pytest.mark.parametrize("block", BLOCKS)
def test_any_cut_and_any_order_with_repeats_leaves_the_same_tables(database: str, block: Block) -> None:
    with transaction(database) as conn:
        expected, newest = _fresh(conn, block), {d: repr(row.values) for d, row in latest(conn).items()}

        @EXAMPLES
        @given(st.data())
        def check(data: st.DataObject) -> None:
            clear(conn)
            order = data.draw(st.permutations(range(len(block))))
            cuts = sorted(data.draw(st.lists(st.integers(0, len(block)), max_size=6)))
            pieces = [np.array(p, np.intp) for p in np.split(np.array(order), cuts) if len(p)]
            repeats = data.draw(st.lists(st.sampled_from(pieces), max_size=3))
            results = [store_block(conn, block.take(piece)) for piece in (*pieces, *repeats)]
            assert sum(r.rows_new for r in results) == len(block)
            assert sum(r.rows_duplicate for r in results) == sum(map(len, repeats))
            assert contents(conn, block) == expected
            assert {d: repr(row.values) for d, row in latest(conn).items()} == newest

        check()


def test_frames_are_cut_by_utc_second_and_kept_to_the_nanosecond(database: str) -> None:
    block = phasor_block(1, 30, rate=10)
    block = replace(block, time_ns=block.time_ns + 123_456_789 + np.arange(30))
    with transaction(database) as conn:
        store_block(conn, block)
        assert conn.execute(text("SELECT frames FROM phasor_seconds ORDER BY time")).scalars().all() == [9, 10, 10, 1]
        assert phasors(conn, 1, START, END, 100)["time_ns"].tolist() == block.time_ns.tolist()


def test_late_frames_between_known_ones_are_stored_alone(database: str) -> None:
    block = phasor_block(2, 20)
    odd, even = block.take(np.arange(len(block)) // 2 % 2 == 1), block.take(np.arange(len(block)) // 2 % 2 == 0)
    with transaction(database) as conn:
        assert store_block(conn, odd) == Stored(20, 0, 0)
        assert store_block(conn, even) == Stored(20, 0, 0)
        assert contents(conn, block) == _fresh(conn, block)


def test_columns_that_did_not_come_are_missing_values(database: str) -> None:
    whole = meter_block(1, 3)
    part = replace(whole, columns=("power_w", "frequency_hz"), values=whole.values[:, [2, 10]])
    with transaction(database) as conn:
        store_block(conn, part)
        found = readings(conn, 1, START, END, 10)
        assert np.isnan(found["energy_import_wh"]).all()
        assert not np.isnan(found["power_w"]).any()
        with pytest.raises(ValueError, match="colour"):
            store_block(conn, replace(part, columns=("power_w", "colour")))


def test_latest_keeps_the_newest_row_whatever_arrives_later(database: str) -> None:
    block = meter_block(4, 10)
    newest = block.time_ns == block.time_ns.max()
    with transaction(database) as conn:
        store_block(conn, block.take(newest))
        store_block(conn, block.take(~newest))
        found = latest(conn)
        assert sorted(found) == [1, 2, 3, 4]
        assert {row.time for row in found.values()} == {to_datetime(int(block.time_ns.max()))}
        mine = block.take(newest & (block.device == 2))
        np.testing.assert_array_equal(found[2].values, mine.values[0])


def test_a_rolled_back_block_leaves_nothing(database: str) -> None:
    engine = engine_of(database)
    with engine.connect() as conn:
        for block in (meter_block(2, 3), phasor_block(2, 3)):
            with conn.begin() as outer:
                store_block(conn, block)
                outer.rollback()
        for table in ("meter_readings", "phasor_seconds", "phasors", "latest"):
            assert conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() == 0
    engine.dispose()


def test_times_far_apart_and_before_1970_are_stored(database: str) -> None:
    block = meter_block(1, 4)
    block = replace(block, time_ns=np.array([-5 * NS_PER_S - 1, 0, START_NS, START_NS + 400 * 86_400 * NS_PER_S]))
    with transaction(database) as conn:
        assert store_block(conn, block).rows_new == 4
        found = readings(conn, 1, to_datetime(-(10**12)), START + timedelta(days=500), 10)
        assert found["time_ns"].tolist() == [-5 * NS_PER_S - 1_000, *block.time_ns.tolist()[1:]]


def test_an_empty_block_is_nothing(database: str) -> None:
    with transaction(database) as conn:
        assert store_block(conn, meter_block(1, 1).take(slice(0, 0))) == Stored(0, 0, 0)
