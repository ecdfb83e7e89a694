"""Which partition a device's rows take: the same for ever, evenly, and nothing lost or turned round on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.block import METER_COLUMNS, Block, Schema, concatenate
from smc.partition import (
    MAX_BLOCK_ROWS,
    generation_for,
    merge,
    oldest_waiting,
    partition_of,
    split,
    topic_of,
    topics_of,
)
from tests.smc.store.blocks import START_NS, block_of

DEVICES = np.array([0, 1, 2, 3, 4, 5, 100, 1_000, 123_456, 2**31 - 1], np.int32)


def rows_of(devices: list[int], first_s: int = 0) -> Block:
    """Readings of these devices, each row one second after the last."""
    times = START_NS + (first_s + np.arange(len(devices))) * 1_000_000_000
    values = np.arange(len(devices) * len(METER_COLUMNS), dtype=float)
    return block_of(Schema.METER, METER_COLUMNS, devices, times, values)


@pytest.mark.parametrize(
    ("partitions", "expected"),
    [(8, [0, 7, 6, 7, 5, 5, 2, 0, 3, 0]), (5, [0, 2, 3, 2, 3, 0, 0, 3, 2, 0]), (1, [0] * 10)],
)
def test_a_device_keeps_its_partition_for_ever(partitions: int, expected: list[int]) -> None:
    """Pinned: another function would send a device's rows past those that wait in its old partition."""
    assert partition_of(DEVICES, partitions).tolist() == expected


def test_the_mixing_function_is_the_published_one() -> None:
    """fmix32(1) of MurmurHash3 is 0x514E28B7."""
    assert partition_of(np.array([1], np.int32), 2**31)[0] == 0x514E28B7


def test_devices_spread_evenly() -> None:
    found = np.bincount(partition_of(np.arange(1, 8_001, dtype=np.int32), 8), minlength=8)
    assert found.min() > 850
    assert found.max() < 1_150


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.integers(1, 9))
def test_split_keeps_every_row_once_and_in_order(devices: list[int], partitions: int) -> None:
    block = rows_of(devices)
    parts = split(block, partitions)
    assert [p for p, _ in parts] == sorted({int(p) for p in partition_of(block.device, partitions)})
    for partition, part in parts:
        assert (partition_of(part.device, partitions) == partition).all()
        assert (np.diff(part.time_ns) > 0).all(), "rows changed places"
    together = concatenate([part for _, part in parts])
    order = np.argsort(together.time_ns)
    assert (together.time_ns[order] == block.time_ns).all()
    assert (together.values[order] == block.values).all()
    assert (together.device[order] == block.device).all()


def test_merge_puts_equal_kinds_together_and_bounds_a_message() -> None:
    first, second = rows_of([1, 2, 3]), rows_of([2, 1], first_s=3)
    (merged,) = merge([first, first.take(slice(0, 0)), second])
    assert merged.device.tolist() == [1, 2, 3, 2, 1]
    large = rows_of([1] * (2 * MAX_BLOCK_ROWS + 1))
    parts = merge([large])
    assert [len(part) for part in parts] == [MAX_BLOCK_ROWS, MAX_BLOCK_ROWS, 1]
    assert (concatenate(parts).time_ns == large.time_ns).all()


def test_a_new_number_of_partitions_begins_a_new_generation() -> None:
    assert topics_of(2) == ["readings.0.2.0", "readings.0.2.1"]
    known: list[str] = []
    for partitions, generation in ((8, 0), (8, 0), (3, 1), (3, 1), (8, 2), (8, 2)):
        assert generation_for(known, partitions) == generation
        known.append(topic_of(0, partitions, generation))


def test_the_oldest_generation_that_holds_anything_is_stored_first() -> None:
    first, second, third = topics_of(3, 0), topics_of(2, 9), topics_of(3, 10)  # 10 comes after 9, not before
    empty = dict.fromkeys([*third, *first, *second[:1]], 0)
    assert oldest_waiting({}, 3) == first
    assert oldest_waiting(empty, 8) == third
    assert oldest_waiting(empty | {third[0]: 5}, 8) == third
    assert oldest_waiting(empty | {third[0]: 5, second[0]: 1}, 8) == second, "also those that had no message yet"
    assert oldest_waiting(empty | {third[0]: 5, second[0]: 1, first[2]: 1}, 8) == first
