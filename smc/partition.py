"""Blocks put together and cut up for the bus: by size, and by partition of their devices.

A device's rows always go to one partition: its index is scattered by a fixed 32-bit mixing function (the finaliser of
MurmurHash3, by Austin Appleby, public domain), so that neighbours in the inventory do not share one.

With another number of partitions most devices change theirs. So each change begins a new generation of topics, told
apart by their names, and the old ones are emptied first: readings.GENERATION.PARTITIONS.PARTITION.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from model.block import I32, Block, concatenate

FAMILY = "readings"
MAX_BLOCK_ROWS = 20_000  # of one message on the bus


def partition_of(device: I32, partitions: int) -> npt.NDArray[np.intp]:
    """Partition of each device index, 0 to partitions - 1; shape (n,) as given. The same on every machine, for ever."""
    mixed = device.astype(np.uint32)
    mixed ^= mixed >> np.uint32(16)
    mixed *= np.uint32(0x85EBCA6B)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0xC2B2AE35)
    mixed ^= mixed >> np.uint32(16)
    return (mixed % np.uint32(partitions)).astype(np.intp)


def split(block: Block, partitions: int) -> list[tuple[int, Block]]:
    """The rows of each partition that has some, in the order they had."""
    if not len(block):
        return []
    of_row = partition_of(block.device, partitions).astype(np.uint16)  # numpy sorts these by counting
    if (of_row == of_row[0]).all():
        return [(int(of_row[0]), block)]
    order = np.argsort(of_row, kind="stable")
    grouped, of_row = block.take(order), of_row[order]
    starts = np.flatnonzero(np.diff(of_row, prepend=of_row[0] + 1))
    ends = np.append(starts[1:], len(block))
    return [(int(of_row[start]), grouped.take(slice(start, end))) for start, end in zip(starts, ends, strict=True)]


def merge(blocks: Sequence[Block]) -> list[Block]:
    """Blocks of one schema, columns and origin put together, up to a size that suits a message."""
    groups: dict[object, list[Block]] = {}
    for block in blocks:
        if len(block):
            groups.setdefault((block.schema, block.columns, block.origin), []).append(block)
    merged = (group[0] if len(group) == 1 else concatenate(group) for group in groups.values())
    return [
        block if len(block) <= MAX_BLOCK_ROWS else block.take(slice(start, start + MAX_BLOCK_ROWS))
        for block in merged
        for start in range(0, len(block), MAX_BLOCK_ROWS)
    ]


def topic_of(partition: int, partitions: int, generation: int = 0) -> str:
    """Topic of one partition out of so many: readings.0.8.3."""
    return f"{FAMILY}.{generation}.{partitions}.{partition}"


def topics_of(partitions: int, generation: int = 0) -> list[str]:
    """Topics of all partitions."""
    return [topic_of(partition, partitions, generation) for partition in range(partitions)]


def generation_of(topic: str) -> int:
    """Which division of the readings this topic belongs to: 0 of readings.0.8.3."""
    return int(topic.split(".")[1])


def partitions_of(topic: str) -> int:
    """Out of how many partitions this topic is one: 8 of readings.0.8.3."""
    return int(topic.split(".")[2])


def generation_for(topics: Sequence[str], partitions: int) -> int:
    """The generation that a sender of so many partitions goes on with, given all topics there are: the newest one if it
    has that number, else the next. An older one with the same number is not continued: its rows would be older."""
    newest = max(map(generation_of, topics), default=0)
    others = [topic for topic in topics if generation_of(topic) == newest and partitions_of(topic) != partitions]
    return newest + 1 if others else newest


def oldest_waiting(lengths: Mapping[str, int], partitions: int) -> list[str]:
    """Topics that may be stored now, given all there are with their lengths: those of the oldest generation that holds
    anything; where all are empty, those of the newest. `partitions` is what to expect where there are none yet."""
    waiting = [generation_of(topic) for topic, length in lengths.items() if length]
    generation = min(waiting) if waiting else max(map(generation_of, lengths), default=0)
    numbers = {partitions_of(topic) for topic in lengths if generation_of(topic) == generation} or {partitions}
    return [topic for number in sorted(numbers) for topic in topics_of(number, generation)]
