"""A load that goes on while something else happens: numbered readings, committed as a stage does, each acknowledged.

What was acknowledged must be in the store once and with its value, whatever happened meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import structlog
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from host.database import engine
from model.block import METER_COLUMNS, Block, Schema
from model.time import NS_PER_S, SystemClock
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.publisher import Publisher
from smc.settings import SmcSettings
from smc.store.commit import Committer
from tests.smc.store.blocks import START_NS, block_of, transaction

DEVICES = 20


def numbered(number: int) -> Block:
    """Reading `number` of every device: its energy and power say which one it is."""
    values = np.full((DEVICES, len(METER_COLUMNS)), float(number))
    times = np.full(DEVICES, START_NS + number * NS_PER_S)
    block = block_of(Schema.METER, METER_COLUMNS, np.arange(1, DEVICES + 1), times, values)
    return replace(block, received_ns=np.full(DEVICES, time.time_ns()))


class Load:
    """Writes until stopped. `acknowledged` readings of every device were committed, numbers 0 and up."""

    def __init__(self, url: str, data: Path) -> None:
        settings = SmcSettings(
            site="DSO-0001", country="DE", area="DE-BY", database_url=url, redis_url="unix:///none", data=data
        )  # fmt: skip
        self._pool = engine(url, "load", pool_size=1)
        self._stop = threading.Event()
        log = structlog.get_logger()
        self._context = StageContext(settings, self._pool, MemoryBus(), SystemClock(), log)
        self._committer = self._fresh()
        self._thread = threading.Thread(target=self._run)
        self.acknowledged = 0
        self.restarts = 0

    def _fresh(self) -> Committer:
        publisher = Publisher(self._context, self._stop, "load")
        return Committer(self._context, self._stop, "load", self._pool.begin, publisher)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._committer.commit([numbered(self.acknowledged)], [])
            except ProgrammingError:  # the schema is not that of this program: a stage ends and is started again
                self.restarts += 1
                self._committer = self._fresh()
                self._stop.wait(0.1)
            else:
                self.acknowledged += 1
                for delivery in self._context.bus.receive("blocks", "detect", "detect", 10, 0.0):
                    self._context.bus.acknowledge("blocks", "detect", [delivery.entry])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._pool.dispose()

    def more(self, readings: int) -> None:
        """Wait until that many more are acknowledged."""
        until = self.acknowledged + readings
        for _ in range(600):
            if self.acknowledged >= until:
                return
            assert self._thread.is_alive()
            threading.Event().wait(0.1)
        raise AssertionError(f"the load stands still at {self.acknowledged}")


@contextmanager
def load(url: str, data: Path) -> Iterator[Load]:
    """A load that runs from here to the end of the block."""
    made = Load(url, data)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def lost_doubled_wrong(url: str, acknowledged: int) -> tuple[int, int, int]:
    """Of that many acknowledged readings of each device: how many are missing, there twice, or of another value."""
    with transaction(url) as conn:
        found = conn.execute(
            text("SELECT device_id, (extract(epoch FROM time) - :start)::bigint AS number, energy_import_wh, power_w "
                 "FROM meter_readings"),
            {"start": START_NS // NS_PER_S},
        ).all()  # fmt: skip
        conflicts = int(conn.execute(text("SELECT count(*) FROM reading_conflicts")).scalar_one())
    stored = {(row.device_id, row.number) for row in found}
    wanted = {(device, number) for device in range(1, DEVICES + 1) for number in range(acknowledged)}
    wrong = sum(not row.number == row.energy_import_wh == row.power_w for row in found)
    return len(wanted - stored), len(found) - len(stored) + conflicts, wrong
