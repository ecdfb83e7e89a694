"""Blocks and refused bytes into the store, then told to the next stages: the committer of both ways of acknowledging.

One transaction stores all that is handed over, with a finding for each device that contradicted itself. Where the
database refuses the content, halves are tried until the refused rows stand alone: they go to quarantine, the rest is
stored. After the commit the stored blocks go to `blocks`, the findings to `findings`; only then `commit` returns.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection
from sqlalchemy.exc import DataError, IntegrityError, OperationalError

from model.block import Block, encode_block
from model.errors import DecodeError
from model.finding import Finding
from model.time import to_datetime
from smc.context import StageContext
from smc.publisher import AWAY_S, Publisher, Stopped
from smc.refusal import Refused
from smc.store import conflicts, findings, ingest, quarantine

BLOCKS, FINDINGS = "blocks", "findings"

Begin = Callable[[], AbstractContextManager[Connection]]


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a transaction stored and found; what became of the rows."""

    stored: tuple[Block, ...] = ()
    found: tuple[Finding, ...] = ()

    def __add__(self, other: _Outcome) -> _Outcome:
        return _Outcome(self.stored + other.stored, self.found + other.found)


class Committer:
    """Stores for one stage. `begin` opens a transaction: OperationalError from it means that the database is away, to
    be waited for; whatever else it raises goes to the caller. `counts` are rows and messages since the start."""

    def __init__(
        self, context: StageContext, stop: threading.Event, stage: str, begin: Begin, publisher: Publisher
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._context = context
        self._stop = stop
        self._stage = stage
        self._begin = begin
        self._publisher = publisher

    def commit(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> None:
        """Store, then tell; waits while database or bus are away. Raises Stopped when told to end meanwhile."""
        outcome = self._store(blocks, refused)
        for block in outcome.stored:
            self._publisher.publish(BLOCKS, encode_block(block))
            self.counts["blocks"] += 1
        for finding in outcome.found:
            self._tell(finding)

    def tell_owed(self) -> None:
        """Publish findings of an earlier life that no incident has yet: it may have ended between commit and
        publication. Triage knows a finding that comes twice."""
        with self._begin() as conn:
            owed = conflicts.untold(conn)
        for finding in owed:
            self._tell(finding)

    def _tell(self, finding: Finding) -> None:
        self._publisher.publish(FINDINGS, msgspec.json.encode(finding))
        self._context.log.info(f"{self._stage}.found", kind=finding.kind, devices=finding.devices, title=finding.title)

    def _store(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> _Outcome:
        while True:
            try:
                return self._transaction(blocks, refused)
            except OperationalError as error:
                self._context.log.warning(f"{self._stage}.database_away", error=str(error.orig)[:200])
                if self._stop.wait(AWAY_S):
                    raise Stopped from error
            except (DataError, IntegrityError) as error:
                return self._store_parts(blocks, refused, error)

    def _store_parts(self, blocks: Sequence[Block], refused: Sequence[Refused], error: Exception) -> _Outcome:
        """Halves of what the database refused: of the list, then of the rows of the one block that is left."""
        if blocks and refused:
            return self._store(blocks, []) + self._store([], refused)
        if len(refused) == 1:
            raise ValueError(f"quarantine refuses the bytes of {refused[0].link}") from error
        if refused:
            half = len(refused) // 2
            return self._store([], refused[:half]) + self._store([], refused[half:])
        if len(blocks) > 1:
            half = len(blocks) // 2
            return self._store(blocks[:half], []) + self._store(blocks[half:], [])
        (block,) = blocks
        if len(block) == 1:
            return self._dead_letter(block, error)
        half = len(block) // 2
        return self._store([block.take(slice(0, half))], []) + self._store([block.take(slice(half, None))], [])

    def _dead_letter(self, row: Block, error: Exception) -> _Outcome:
        self._context.log.warning(f"{self._stage}.row_refused", device=int(row.device[0]), error=str(error)[:200])
        reason = DecodeError("store", "row", f"{row.schema.name} the database refuses", "storable values")
        now_ns = self._context.clock.now_ns()
        return self._store([], [Refused(row.origin.link, row.origin.peer, reason, encode_block(row), now_ns)])

    def _transaction(self, blocks: Sequence[Block], refused: Sequence[Refused]) -> _Outcome:
        counts: Counter[str] = Counter()
        found: list[Finding] = []
        with self._begin() as conn:
            for block in blocks:
                stored = ingest.store_block(conn, block)
                counts[f"rows_{block.schema.name.lower()}"] += len(block)
                counts["rows_new"] += stored.rows_new
                counts["rows_duplicate"] += stored.rows_duplicate
                counts["rows_conflicting"] += stored.rows_conflicting
                if stored.rows_conflicting:
                    found += findings.add(conn, conflicts.judge(conn, self._context.settings.site, block))
            for item in refused:
                quarantine.put(conn, item.link, item.peer, item.error, item.data, to_datetime(item.received_ns))
                counts["quarantined"] += 1
        counts["findings"] += len(found)
        self.counts.update(counts)
        return _Outcome(tuple(blocks), tuple(found))
