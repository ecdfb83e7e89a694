"""Blocks of all links gathered, committed, told to the bus; then, and only then, their senders are acknowledged.

Acknowledgement point B: one transaction stores blocks and quarantined bytes of a batch; after its commit the stored
blocks go to the bus; after that the futures of the batch resolve. A queue that is full makes links wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from model.block import Block, Quality, concatenate, encode_block
from model.errors import DecodeError, PeerError
from model.time import NS_PER_S, to_datetime
from smc.bus import BusDown, BusFull, publish_when_free
from smc.context import StageContext
from smc.gateway.registry import Registry
from smc.store import ingest, quarantine

PAST_NS = 60 * 86_400 * NS_PER_S
FUTURE_NS = 300 * NS_PER_S
MAX_WAITING_ROWS = 100_000
MAX_BLOCK_ROWS = 20_000  # of one message on the bus
RETRY_S = 1.0
TOPIC = "blocks"


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes for quarantine: the link and peer they came by, and the peer's fault."""

    link: str
    peer: str
    error: PeerError
    data: bytes
    received_ns: int


Item = Block | Refused


class Stopped(Exception):
    """The stage ends before this could be committed; nobody was acknowledged."""


def split_window(block: Block, now_ns: int) -> tuple[Block, Block]:
    """Rows whose stamp is plausible now, and the others. Rows marked as kept on purpose are always plausible."""
    kept = block.quality & Quality.OUT_OF_WINDOW != 0
    inside = (block.time_ns >= now_ns - PAST_NS) & (block.time_ns <= now_ns + FUTURE_NS)
    good = inside | kept
    return (block, block.take(slice(0, 0))) if good.all() else (block.take(good), block.take(~good))


def merge(blocks: Sequence[Block]) -> list[Block]:
    """Blocks of one schema, columns and origin put together, up to a size that suits a message."""
    groups: dict[object, list[Block]] = {}
    for block in blocks:
        if len(block):
            groups.setdefault((block.schema, block.columns, block.origin), []).append(block)
    merged = (concatenate(group) for group in groups.values())
    return [
        block.take(slice(start, start + MAX_BLOCK_ROWS))
        for block in merged
        for start in range(0, len(block), MAX_BLOCK_ROWS)
    ]


class Batcher:
    """Put items from the event loop; `run` commits them by rows or age in a worker thread."""

    def __init__(self, context: StageContext, registry: Registry, stop: threading.Event) -> None:
        self.counts: Counter[str] = Counter()
        self._context = context
        self._registry = registry
        self._stop = stop
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._rows = 0
        self._changed = asyncio.Condition()
        self._ended = False

    async def put(self, item: Item) -> asyncio.Future[None]:
        """Queue an item; waits while the queue is full. The future resolves after commit and publication."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._rows < MAX_WAITING_ROWS or self._ended)
            if self._ended:
                raise Stopped
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((item, done))
            self._rows += _rows_of(item)
            self._changed.notify_all()
        return done

    async def run(self) -> None:
        """Commit batch after batch until `finish`; what is queued by then is still committed."""
        while not (self._ended and not self._waiting):
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._waiting) or self._ended)
                if not self._full():
                    await self._fill()
                batch, self._waiting, self._rows = self._waiting, [], 0
                self._changed.notify_all()
            try:
                await self._commit(batch)
            except Stopped:  # nobody of this batch was answered: their senders keep it
                self._context.log.warning("intake.stopped_while_away", messages=len(batch))
                return

    async def finish(self) -> None:
        """Take in nothing more; `run` returns after the rest."""
        async with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _full(self) -> bool:
        return self._ended or self._rows >= self._context.settings.flush_rows

    async def _fill(self) -> None:
        try:
            await asyncio.wait_for(self._changed.wait_for(self._full), self._context.settings.flush_s)
        except TimeoutError:
            return  # old enough: commit what there is

    async def _commit(self, batch: Sequence[tuple[Item, asyncio.Future[None]]]) -> None:
        if not batch:
            return
        try:
            await asyncio.to_thread(self.commit, [item for item, _ in batch])
        except BaseException:
            for _, done in batch:
                done.cancel()
            raise
        for _, done in batch:
            if not done.done():
                done.set_result(None)

    def commit(self, items: Sequence[Item]) -> None:
        """Store, publish, count; retries while database or bus are away. Raises Stopped when told to end meanwhile."""
        now_ns = self._context.clock.now_ns()
        refused = [item for item in items if isinstance(item, Refused)]
        blocks: list[Block] = []
        for block in merge([item for item in items if isinstance(item, Block)]):
            good, bad = split_window(block, now_ns)
            blocks += [good] if len(good) else []
            refused += self._out_of_window(bad, now_ns)
        stored = self._store(blocks, refused)
        for block in stored:
            self._publish(encode_block(block))

    def _out_of_window(self, bad: Block, now_ns: int) -> list[Refused]:
        """One refusal per device whose stamps lie outside the window, with its rows as bytes."""
        refused = []
        for index in np.unique(bad.device):
            rows = bad.take(bad.device == index)
            error = PeerError(
                "window",
                f"stamp of {self._registry.name_of(int(index))}",
                f"{(int(rows.time_ns[0]) - now_ns) / NS_PER_S:+.3f} s from now, {len(rows)} rows",
                f"-{PAST_NS // NS_PER_S} to +{FUTURE_NS // NS_PER_S} s",
            )
            refused.append(Refused(bad.origin.link, bad.origin.peer, error, encode_block(rows), now_ns))
        return refused

    def _store(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> list[Block]:
        """Store all in one transaction; where the database refuses the content, each by itself."""
        while True:
            try:
                self._transaction(blocks, refused)
            except OperationalError as error:
                self._context.log.warning("intake.database_away", error=str(error.orig)[:200])
                self._wait()
            except (DataError, IntegrityError):
                return self._store_each(blocks, refused)
            else:
                return list(blocks)

    def _store_each(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> list[Block]:
        if len(blocks) + len(refused) == 1:
            return self._dead_letter(blocks, refused)
        stored = [kept for block in blocks for kept in self._store([block], [])]
        for item in refused:
            self._store([], [item])
        return stored

    def _dead_letter(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> list[Block]:
        """The one item that the database refuses goes to quarantine; a refused quarantine entry is our own fault."""
        if refused:
            raise ValueError(f"quarantine refuses the bytes of {refused[0].link}")
        block = blocks[0]
        error = DecodeError("store", "block", f"{len(block)} rows the database refuses", "storable values")
        now_ns = self._context.clock.now_ns()
        self._store([], [Refused(block.origin.link, block.origin.peer, error, encode_block(block), now_ns)])
        return []

    def _transaction(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> None:
        counts: Counter[str] = Counter()
        with self._context.engine.begin() as conn:
            for block in blocks:
                stored = ingest.store_block(conn, block)
                counts[f"rows_{block.schema.name.lower()}"] += len(block)
                counts["rows_new"] += stored.rows_new
                counts["rows_duplicate"] += stored.rows_duplicate
                counts["rows_conflicting"] += stored.rows_conflicting
            for item in refused:
                _quarantine(conn, item)
                counts["quarantined"] += 1
        self.counts.update(counts)

    def _publish(self, body: bytes) -> None:
        while True:
            try:
                publish_when_free(self._context.bus, TOPIC, body, self._stop)
            except BusFull as error:  # full until the very end
                raise Stopped from error
            except BusDown as error:
                self._context.log.warning("intake.bus_away", error=str(error)[:200])
                self._wait()
            else:
                self.counts["blocks"] += 1
                return

    def _wait(self) -> None:
        if self._stop.wait(RETRY_S):
            raise Stopped


def _quarantine(conn: Connection, item: Refused) -> None:
    quarantine.put(conn, item.link, item.peer, item.error, item.data, to_datetime(item.received_ns))


def _rows_of(item: Item) -> int:
    """Weight of an item in the queue: rows, or the KiB that a refusal holds."""
    return max(1, len(item)) if isinstance(item, Block) else 1 + len(item.data) // 1024
