"""Blocks put together and cut up for the bus: by size, and by partition of their devices.

A device's rows always go to one partition: its index is scattered by a fixed 32-bit mixing function (the finaliser of
MurmurHash3, by Austin Appleby, public domain), so that neighbours in the inventory do not share one. The topic names
the number of partitions too: after a change of that number the old topics are told apart from the new ones.
"""

from __future__ import annotations

from collections.abc import Sequence

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


def topic_of(partition: int, partitions: int) -> str:
    """Topic of one partition out of so many: readings.8.3."""
    return f"{FAMILY}.{partitions}.{partition}"


def partitions_of(topic: str) -> int:
    """How many partitions there were when this topic was one of them: 8 of readings.8.3."""
    return int(topic.split(".")[1])


def topics_of(partitions: int) -> list[str]:
    """Topics of all partitions."""
    return [topic_of(partition, partitions) for partition in range(partitions)]
