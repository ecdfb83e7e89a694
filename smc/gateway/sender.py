"""Acknowledgement point A: readings and refused bytes are handed to the bus, which syncs them before it answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from model.block import Block, encode_block
from smc import refusal
from smc.partition import FAMILY, generation_for, split, topic_of
from smc.publisher import Publisher
from smc.refusal import Refused


class BusSender:
    """Cuts blocks by partition and publishes them. A device's rows stay in order: one partition, one sender."""

    def __init__(self, publisher: Publisher, partitions: int) -> None:
        self.counts: Counter[str] = Counter()
        self._publisher = publisher
        self._partitions = partitions
        self._generation: int | None = None

    def commit(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> None:
        """Returns when the bus has all; waits while it is full or away. Raises Stopped when told to end meanwhile."""
        for block in blocks:
            parts = {self._topic(p): encode_block(part) for p, part in split(block, self._partitions)}
            self._publisher.publish_all(parts)
            self.counts["messages_sent"] += len(parts)
            self.counts[f"rows_{block.schema.name.lower()}"] += len(block)
        for item in refused:
            self._publisher.publish(refusal.TOPIC, refusal.encode(item))
            self.counts["quarantined"] += 1

    def _topic(self, partition: int) -> str:
        if self._generation is None:
            topics = self._publisher.ask(lambda bus: bus.topics(FAMILY))
            self._generation = generation_for(topics, self._partitions)
        return topic_of(partition, self._partitions, self._generation)
