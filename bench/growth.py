"""More store workers on one bus: 1, 2 and 4 processes of `app.py smc store` on filled partition topics.

The workers divide the topics among themselves and are stopped (SIGSTOP) while the topics are filled; the time runs from
when they go on until every topic is empty. Database, bus, workers and the reader of the stored blocks share the
machine's cores, so that past one worker per core nothing can be gained here. Their files lie in memory where there is
such a folder: one disk does not get faster by more workers. At last workers come and go while readings flow, and every
row must be stored once.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from sqlalchemy import Engine, text

from bench.measure import ROUNDS, Spent, cpu_s, median
from bench.servers import DATABASE, MEMORY, PLAIN, off_the_bus, postgres, scratch
from bench.synthetic import START_NS, meter_rows
from bench.table import Row, row
from host.database import engine
from host.postgres import Postgres
from host.valkey import Valkey
from model.block import encode_block
from model.time import NS_PER_S
from smc.bus import RedisBus
from smc.partition import split, topic_of, topics_of
from smc.store.ownership import TOPIC_SPACE

AREA = "growth"
WORKERS = (1, 2, 4)
PARTITIONS = 8
SITE = "DSO-0001"
METERS, BLOCK_ROWS, BLOCKS = 5_000, 20_000, 20
PATIENCE_S = 120.0
_ROOT = Path(__file__).resolve().parent.parent
_OWNERS = text(
    "SELECT count(DISTINCT pid), count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted "
    "AND classid = CAST(CAST(:space AS bigint) AS oid)"
)


@dataclass
class Line:
    """Servers, the bus as the intake uses it, and how many rows were published so far."""

    database: Postgres
    valkey: Valkey
    store: Engine
    bus: RedisBus
    log: Path
    workers: list[psutil.Popen] = field(default_factory=list)
    rows: int = 0

    def start(self) -> None:
        """One more worker."""
        variables = {
            "SMC_SITE": SITE,
            "SMC_COUNTRY": "DE",
            "SMC_AREA": "DE-BY",
            "SMC_ACK": "bus",
            "SMC_PARTITIONS": str(PARTITIONS),
            "SMC_FLUSH_ROWS": str(BLOCK_ROWS),
            "SMC_FLUSH_S": "0.02",  # the last batch must not wait for rows that never come
            "SMC_DATA": str(self.log.parent / "smc"),
            "DATABASE_URL": self.database.url(DATABASE),
            "REDIS_URL": self.valkey.url,
            "PATH": os.defpath,
        }
        line = [sys.executable, "app.py", "smc", "store"]
        with self.log.open("ab") as log:
            self.workers.append(psutil.Popen(line, cwd=_ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT))

    def stop(self, worker: psutil.Popen) -> None:
        """Let a worker end in order."""
        self.workers.remove(worker)
        worker.terminate()
        worker.wait(PATIENCE_S)

    def shared(self) -> bool:
        """Whether every worker owns topics and every topic has an owner (the one of refused bytes too)."""
        with self.store.connect() as conn:
            owners, owned = conn.execute(_OWNERS, {"space": TOPIC_SPACE}).one()
        return bool(owners == len(self.workers) and owned > PARTITIONS)

    def fill(self) -> int:
        """Publish blocks as the intake does, cut by partition; returns their rows."""
        count = np.arange(BLOCK_ROWS)
        for _ in range(BLOCKS):
            reading = self.rows + count
            block = meter_rows(reading % METERS + 1, START_NS + reading // METERS * 10 * NS_PER_S, self.rows)
            for partition, part in split(block, PARTITIONS):
                self.bus.publish(topic_of(partition, PARTITIONS), encode_block(part))
            self.rows += BLOCK_ROWS
        return BLOCKS * BLOCK_ROWS

    def empty(self) -> bool:
        """Whether everything that was published is stored and discarded."""
        return not any(self.bus.length(topic) for topic in topics_of(PARTITIONS))

    def until(self, condition: str) -> None:
        """Wait for `shared` or `empty`. Raises TimeoutError with the end of the workers' log."""
        deadline_s = time.monotonic() + PATIENCE_S
        while not getattr(self, condition)():
            if time.monotonic() > deadline_s or any(worker.poll() is not None for worker in self.workers):
                raise TimeoutError(f"not {condition}: {self.log.read_text()[-2_000:]}")
            time.sleep(0.01)

    def stored(self) -> int:
        """Rows in the database."""
        with self.store.connect() as conn:
            return int(conn.execute(text("SELECT count(*) FROM meter_readings")).scalar_one())


def run() -> list[Row]:
    """Scaling, cost per row, and workers that come and go."""
    with _line() as line:
        found = {count: _measure(line, count) for count in WORKERS}
        share = _come_and_go(line)
    rows = BLOCKS * BLOCK_ROWS
    alone = found[1]
    result: list[Row] = []
    for count, cost in found.items():
        name = "1 store worker" if count == 1 else f"{count} store workers"
        goal = ">= 1" if count == 1 else ">= 1.2"
        result += [
            row(AREA, name, rows / cost.wall_s, "rows/s", "1 worker", rows / alone.wall_s, goal),
            row(AREA, f"{name}, all parts", _us(cost, rows), "CPU us/row", "1 worker", _us(alone, rows), "<= 1.3"),
        ]
    return [*result, row(AREA, "workers come and go: rows stored once", share, "", "published", 1.0, ">= 1")]


def _us(cost: Spent, rows: int) -> float:
    return cost.cpu_s / rows * 1e6


def _measure(line: Line, count: int) -> Spent:
    """Medians of some rounds; the client's CPU is that of the workers."""
    while len(line.workers) < count:
        line.start()
    line.until("shared")
    return median([_round(line) for _ in range(ROUNDS)])


def _round(line: Line) -> Spent:
    for worker in line.workers:
        worker.suspend()
    line.fill()
    servers, workers = [line.database.pid, line.valkey.pid], [worker.pid for worker in line.workers]
    server_s, worker_s, wall_s = cpu_s(servers), cpu_s(workers), time.perf_counter()
    for worker in line.workers:
        worker.resume()
    line.until("empty")
    wall_s = time.perf_counter() - wall_s
    return Spent(wall_s, cpu_s(workers) - worker_s, cpu_s(servers) - server_s)


def _come_and_go(line: Line) -> float:
    """Rows stored / rows published, with a worker less and one more while readings flow."""
    for worker in line.workers[2:]:
        line.stop(worker)
    line.fill()
    line.stop(line.workers[0])
    line.fill()
    line.start()
    line.fill()
    line.until("shared")
    line.until("empty")
    return line.stored() / line.rows


@contextmanager
def _line() -> Iterator[Line]:
    with ExitStack() as stack:
        folder = stack.enter_context(scratch(MEMORY))
        database = stack.enter_context(postgres(folder, PLAIN))
        valkey = stack.enter_context(Valkey(folder, max_memory_bytes=1 << 30))
        store = engine(database.url(DATABASE), "bench")
        stack.callback(store.dispose)
        stack.enter_context(off_the_bus(RedisBus(valkey.url, SITE)))
        line = Line(database, valkey, store, RedisBus(valkey.url, SITE, max_bytes=1 << 40), folder / "workers.log")
        stack.callback(_kill, line.workers)
        yield line


def _kill(workers: Sequence[psutil.Popen]) -> None:
    for worker in workers:
        worker.kill()
        worker.wait()
