"""Blocks of all links gathered and handed over; then, and only then, their senders are acknowledged.

Two ways, by the setting SMC_ACK. `database`: handed over is what the database has committed and the bus was told.
`bus`: what the bus has synced to its disk (smc/gateway/sender.py); `app.py smc store` commits it later. A queue that is
full makes links wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.block import I64, Block, Quality, encode_block
from model.errors import PeerError
from model.time import NS_PER_S
from smc.context import StageContext
from smc.gateway.registry import Registry
from smc.gateway.sender import BusSender
from smc.partition import merge
from smc.publisher import Publisher, Stopped
from smc.refusal import Refused
from smc.settings import ACK_BUS
from smc.store.commit import Committer

STAGE = "intake"
PAST_NS = 60 * 86_400 * NS_PER_S
FUTURE_NS = 300 * NS_PER_S
MAX_WAITING_ROWS = 100_000
RETRY_S = 1.0

Item = Block | Refused

__all__ = ["RETRY_S", "Batcher", "Item", "Refused", "Stopped", "direct"]


class Handover(Protocol):
    """Where a batch goes before its senders are acknowledged. `counts` are rows and messages since the start."""

    counts: Counter[str]

    def commit(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> None:
        """Return when all of it is durable. Raises Stopped when told to end meanwhile."""


def handover(context: StageContext, stop: threading.Event) -> Handover:
    """The way that SMC_ACK says."""
    if context.settings.ack == ACK_BUS:
        return BusSender(Publisher(context, stop, STAGE), context.settings.partitions)
    return direct(context, stop)


def direct(context: StageContext, stop: threading.Event) -> Committer:
    """Into the database at once."""
    return Committer(context, stop, STAGE, context.engine.begin, Publisher(context, stop, STAGE))


def in_window(time_ns: I64, now_ns: int) -> npt.NDArray[np.bool_]:
    """Which stamps are plausible now, shape (n,) as given."""
    return (time_ns >= now_ns - PAST_NS) & (time_ns <= now_ns + FUTURE_NS)


def split_window(block: Block, now_ns: int) -> tuple[Block, Block]:
    """Rows whose stamp is plausible now, and the others. Rows marked as kept on purpose are always plausible."""
    kept = block.quality & Quality.OUT_OF_WINDOW != 0
    good = in_window(block.time_ns, now_ns) | kept
    return (block, block.take(slice(0, 0))) if good.all() else (block.take(good), block.take(~good))


class Batcher:
    """Put items from the event loop; `run` hands them over by rows or age in a worker thread."""

    def __init__(
        self, context: StageContext, registry: Registry, stop: threading.Event, way: Handover | None = None
    ) -> None:
        self._context = context
        self._registry = registry
        self._handover = way or handover(context, stop)
        self._waiting: list[tuple[Item, asyncio.Future[None]]] = []
        self._rows = 0
        self._changed = asyncio.Condition()
        self._ended = False

    @property
    def counts(self) -> Counter[str]:
        """Rows and messages handed over, and what became of them as far as it is known here."""
        return self._handover.counts

    async def put(self, item: Item) -> asyncio.Future[None]:
        """Queue an item; waits while the queue is full. The future resolves once it is handed over."""
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
        """Hand over batch after batch until `finish`; what is queued by then still goes."""
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
        """Check the stamps, then hand over; waits while database or bus are away. Raises Stopped when told to end
        meanwhile."""
        now_ns = self._context.clock.now_ns()
        refused = [item for item in items if isinstance(item, Refused)]
        blocks: list[Block] = []
        for block in merge([item for item in items if isinstance(item, Block)]):
            good, bad = split_window(block, now_ns)
            blocks += [good] if len(good) else []
            refused += self._out_of_window(bad, now_ns)
        self._handover.commit(blocks, refused)

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


def _rows_of(item: Item) -> int:
    """Weight of an item in the queue: rows, or the KiB that a refusal holds."""
    return max(1, len(item)) if isinstance(item, Block) else 1 + len(item.data) // 1024
