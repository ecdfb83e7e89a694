"""The storing stage of acknowledgement point A: readings that the bus holds safely, into the database.

Several workers may run; each owns some partitions (smc/store/ownership.py) and gives them back when others come. Order
of work for a batch: read, commit, publish to `blocks`, discard. A crash at any point leaves the messages where they
are, and the next owner of their topics reads them again, in order; unique keys make the repetition change nothing.

After a change of the number of partitions the old topics are emptied first: as long as one of them holds a message,
nobody owns a newer one. So no message is lost, and none overtakes an older one of its device.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import OperationalError

from model.block import METER_COLUMNS, Block, Schema, decode_block, phasor_columns
from model.errors import DecodeError
from smc import refusal
from smc.bus import OLDEST, BusDown, Delivery
from smc.context import StageContext
from smc.partition import FAMILY, merge, oldest_waiting
from smc.publisher import AWAY_S, Publisher, Stopped
from smc.refusal import Refused
from smc.stage import Heart
from smc.store import health
from smc.store.commit import Committer
from smc.store.ownership import Ownership, OwnershipLost

STAGE = "store"
READ_COUNT = 4  # messages of one topic per read: a long one must not keep the others waiting
BALANCE_S = 1.0
IDLE_S = 0.25


def run(context: StageContext, stop: threading.Event) -> None:
    """Store what comes until told to stop, then give the partitions back. A lost connection is made anew."""
    heart: Heart | None = None
    while not stop.is_set():
        try:
            with Ownership(context.engine) as owner:
                heart = _heart_of(context, owner.slot, heart)
                Worker(context, stop, owner, heart).run()
                _end(context, heart)
        except (OwnershipLost, OperationalError) as error:
            context.log.warning("store.database_away", error=str(error)[:200])
            stop.wait(AWAY_S)


def _heart_of(context: StageContext, slot: int, before: Heart | None) -> Heart:
    """The heart of a slot: after a lost connection a worker may find its former slot taken by another one."""
    if before is not None and before.stage == name_of(slot):
        return before
    if before is not None:
        _end(context, before)
    return Heart(context, name_of(slot))


def _end(context: StageContext, heart: Heart) -> None:
    with context.engine.begin() as conn:
        health.end(conn, heart.stage)


def name_of(slot: int) -> str:
    """Name of a worker among the stages: store-1, store-2, ..."""
    return f"{STAGE}-{slot}"


@dataclass
class Hand:
    """Messages read and not yet committed: their content in order, and their entries by topic."""

    rows: int = 0
    blocks: list[Block] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    entries: dict[str, list[str]] = field(default_factory=dict)

    def places(self, topics: Sequence[str]) -> dict[str, str]:
        """Where to read on: behind what is in hand, else from the oldest."""
        return {topic: self.entries[topic][-1] if topic in self.entries else OLDEST for topic in topics}


class Worker:
    """Works as long as its ownership lasts."""

    def __init__(self, context: StageContext, stop: threading.Event, owner: Ownership, heart: Heart) -> None:
        self._context = context
        self._stop = stop
        self._owner = owner
        self._heart = heart
        publisher = Publisher(context, stop, STAGE, waiting=heart.beat)
        self._committer = Committer(context, stop, STAGE, owner.transaction, publisher)
        self._balanced_s = float("-inf")

    def run(self) -> None:
        """Until told to stop. Raises OwnershipLost."""
        while not self._stop.is_set():
            try:
                self._balance_if_due()
                self._settle(self._gather())
            except BusDown as error:
                self._context.log.warning("store.bus_away", error=str(error)[:200], wait_s=AWAY_S)
                self._stop.wait(AWAY_S)
            except Stopped:
                return  # what is in hand stays on the bus
            self._heart.beat()

    def _balance_if_due(self) -> None:
        now_s = self._context.clock.monotonic_s()
        if now_s - self._balanced_s < BALANCE_S:
            return
        self._balanced_s = now_s
        before = self._owner.topics
        gained = self._owner.balance(self._wanted())
        if self._owner.topics != before:
            self._context.log.info("store.owns", slot=self._owner.slot, topics=self._owner.topics, gained=gained)
        if gained:
            self._committer.tell_owed()

    def _wanted(self) -> list[str]:
        """What there is to share among the workers now: one generation of topics, and the refused bytes. How much
        waits, whoever owns it, is shown."""
        bus, partitions = self._context.bus, self._context.settings.partitions
        lengths = {topic: bus.length(topic) for topic in bus.topics(FAMILY)}
        self._heart.show("waiting", sum(lengths.values()))
        return [*oldest_waiting(lengths, partitions), refusal.TOPIC]

    def _gather(self) -> Hand:
        """Messages of all own topics: until there are rows enough, or the first has waited long enough."""
        settings, clock, hand = self._context.settings, self._context.clock, Hand()
        if not self._owner.topics:
            self._stop.wait(IDLE_S)
            return hand
        wait_s, until_s = IDLE_S, float("inf")
        while wait_s > 0 and hand.rows < settings.flush_rows:
            found = self._context.bus.read(hand.places(self._owner.topics), READ_COUNT, wait_s)
            for topic, deliveries in found.items():
                self._take(hand, topic, deliveries)
            if not hand.entries:
                break
            until_s = min(until_s, clock.monotonic_s() + settings.flush_s)
            wait_s = 0.0 if self._stop.is_set() else until_s - clock.monotonic_s()
        return hand

    def _take(self, hand: Hand, topic: str, deliveries: Sequence[Delivery]) -> None:
        for delivery in deliveries:
            hand.entries.setdefault(topic, []).append(delivery.entry)
            try:
                if topic == refusal.TOPIC:
                    hand.refused.append(refusal.decode(delivery.body))
                    hand.rows += 1
                else:
                    hand.blocks.append(decode(delivery.body))
                    hand.rows += len(hand.blocks[-1])
            except DecodeError as error:
                self._context.log.warning("store.message_refused", topic=topic, reason=error.reason)
                hand.refused.append(Refused("bus", topic, error, delivery.body, self._context.clock.now_ns()))

    def _settle(self, hand: Hand) -> None:
        if not hand.entries:
            return
        before = Counter(self._committer.counts)
        self._committer.commit(merge(hand.blocks), hand.refused)
        self._context.bus.discard_all(hand.entries)
        self._heart.count(self._committer.counts - before)
        self._heart.count({"messages": sum(map(len, hand.entries.values()))})


def decode(body: bytes) -> Block:
    """The block of a message. Raises DecodeError, also for columns that this version cannot store."""
    block = decode_block(body)
    if block.schema is Schema.METER:
        known, expected = set(block.columns) <= set(METER_COLUMNS), f"some of {METER_COLUMNS}"
    else:
        first = phasor_columns(0)
        known, expected = block.columns[: len(first)] == first, f"{first} first"
    if not known:
        raise DecodeError("columns", f"columns of a {block.schema.name} block", block.columns, expected)
    return block
