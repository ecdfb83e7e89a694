"""The design load at its pace: 1,000 PMUs at 50 frames/s of 6 phasors and 1,000,000 meters at 15 min, for a minute.

Through the intake's own batcher into PostgreSQL with fsync and on to the bus, where a reader takes them off. Once as
blocks, once from the bytes of C37.118 streams of 20 concentrators. Cores are CPU seconds of all sides / wall-clock
time; this process makes the load too. Lag is the time from when a frame is due until it is committed and told.
"""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import structlog
from sqlalchemy import text

from bench.measure import Spent, cpu_s
from bench.servers import DATABASE, PLAIN, off_the_bus, postgres, scratch
from bench.synthetic import FRAMES_PER_S, meter_rows, phasor_frames
from bench.table import Row, row
from host.database import engine
from host.postgres import Postgres
from host.valkey import Valkey
from model.block import Block, Origin
from model.device import Provenance
from model.time import NS_PER_S, SystemClock
from smc.bus import RedisBus
from smc.context import StageContext
from smc.gateway.batcher import Batcher
from smc.gateway.registry import Registry
from smc.settings import SmcSettings
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu
from wire.c37118.data import DataLayout
from wire.c37118.session import Batch, Session

AREA = "load"
SECONDS = 60
PMUS, PHASORS, CONCENTRATORS = 1_000, 6, 20
FRAMES = PMUS * FRAMES_PER_S  # a second
METERS, METER_PERIOD_S = 1_000_000, 900
FIRST_METER = 10_000
CORES = 2.0
EDGE_S = 10.0  # the lags of the first and of the last seconds are compared
FLUSH_ROWS, FLUSH_S = 50_000, 1.0  # a second of frames at a time: fewer and longer rows
SITE = "DSO-0001"
_ORIGIN = Origin("c37.118", "bench", Provenance.SIMULATED)
_FLOAT = Format.FLOAT_PHASORS | Format.FLOAT_FREQUENCY | Format.FLOAT_ANALOGS | Format.POLAR


class Source(Protocol):
    """What is due in a step of `step_s` seconds."""

    step_s: float
    decode_s: float  # CPU seconds spent on decoding so far

    def blocks(self, step: int, begin_ns: int) -> list[Block]:
        """The frames of a step, counted from 0."""


@dataclass
class Blocks:
    """Frames as blocks, all PMUs together; nothing to decode."""

    step_s: float = 0.1
    decode_s: float = 0.0
    made: Block = field(default_factory=lambda: phasor_frames(PMUS, FRAMES_PER_S // 10, PHASORS, 0))

    def blocks(self, step: int, begin_ns: int) -> list[Block]:
        """Five frames of every PMU."""
        time_ns = self.made.time_ns + begin_ns + step * round(self.step_s * NS_PER_S)
        return [replace(self.made, time_ns=time_ns, received_ns=np.broadcast_to(time_ns[-1], time_ns.shape))]


class Streams:
    """Frames as the bytes of concentrators, one frame of each per step; made before the clock starts."""

    def __init__(self, begin_ns: int, seconds: int) -> None:
        self.step_s = 1.0 / FRAMES_PER_S
        self.decode_s = 0.0
        self._sessions = []
        self._bytes = []
        for number in range(CONCENTRATORS):
            layout = _layout(number)
            self._sessions.append(Session({layout.configuration.idcode: layout}))
            self._bytes.append(_frames(layout, begin_ns, seconds * FRAMES_PER_S, number))
        self._devices = np.arange(1, PMUS + 1, dtype=np.int32).reshape(CONCENTRATORS, -1)

    def blocks(self, step: int, begin_ns: int) -> list[Block]:
        """One frame of every concentrator through splitter, checksum and decoder, each by itself."""
        began_s = time.thread_time()
        received_ns = begin_ns + round(step * self.step_s * NS_PER_S)
        found: list[Block] = []
        for session, frames, devices in zip(self._sessions, self._bytes, self._devices, strict=True):
            for event in session.feed(frames[step]):
                if not isinstance(event, Batch):
                    raise ValueError(f"the benchmark's own frames gave {event}")
                found += event.layout.decode(event.frames, devices, received_ns, _ORIGIN)
        self.decode_s += time.thread_time() - began_s
        return found


@dataclass(frozen=True)
class Outcome:
    """CPU seconds of the parts, wall-clock seconds, and the lag of each step in s."""

    cost: Spent  # its server is PostgreSQL
    bus_s: float
    decode_s: float
    lags_s: list[float]
    step_s: float

    @property
    def cores(self) -> float:
        """CPU of everybody per second."""
        return (self.cost.cpu_s + self.bus_s) / self.cost.wall_s

    def lag_s(self, last: bool) -> float:
        """Median lag of the first or of the last seconds."""
        steps = round(EDGE_S / self.step_s)
        return statistics.median(self.lags_s[-steps:] if last else self.lags_s[:steps])


def run() -> list[Row]:
    """A minute of blocks, then a minute of bytes."""
    rows: list[Row] = []
    with scratch() as folder, postgres(folder, PLAIN) as database, Valkey(folder, max_memory_bytes=1 << 29) as bus:
        rows += _rows("blocks", _measure(database, bus, Blocks()))
        begin_ns = (SystemClock().now_ns() // NS_PER_S + 30) * NS_PER_S
        rows += _rows("C37.118 bytes", _measure(database, bus, Streams(begin_ns, SECONDS), begin_ns))
    return rows


def cores_row(what: str) -> str:
    """Name of the row that tells the cores used."""
    return f"design load from {what} for {SECONDS} s: cores used"


def _rows(what: str, outcome: Outcome) -> list[Row]:
    name = f"design load from {what}"
    cores, wall_s = outcome.cores, outcome.cost.wall_s
    intake_s = outcome.cost.client_s - outcome.decode_s
    shares = {"PostgreSQL": outcome.cost.server_s, "intake": intake_s, "bus": outcome.bus_s}
    shares |= {"decoding": outcome.decode_s} if outcome.decode_s else {}
    at_start, at_end = outcome.lag_s(last=False), outcome.lag_s(last=True)
    return [
        row(AREA, cores_row(what), cores, "cores", "the machine", CORES, "<= 1"),
        *(row(AREA, f"{name}: {part}", s / wall_s, "cores", "all", cores, "<= 1") for part, s in shares.items()),
        row(AREA, f"{name}: lag at the end", at_end, "s", "lag at the start", at_start, "<= 1.5"),
        row(AREA, f"{name}: what 2 cores carry", FRAMES * CORES / cores, "frames/s", "design load", FRAMES, ">= 1"),
    ]


def _measure(database: Postgres, bus: Valkey, source: Source, begin_ns: int | None = None) -> Outcome:
    """Run the load. Raises ValueError if not every frame is stored once."""
    settings = SmcSettings(
        site=SITE,
        country="DE",
        area="DE-BY",
        database_url=database.url(DATABASE),
        redis_url=bus.url,
        flush_rows=FLUSH_ROWS,
        flush_s=FLUSH_S,
    )
    store = engine(settings.database_url, "bench")
    context = StageContext(settings, store, RedisBus(bus.url, SITE), SystemClock(), structlog.get_logger())
    before = _stored(context)
    with off_the_bus(RedisBus(bus.url, SITE)):
        server_s, bus_s, client_s = cpu_s([database.pid]), cpu_s([bus.pid]), time.process_time()
        wall_s, lags_s = asyncio.run(_pace(context, source, begin_ns))
        client_s = time.process_time() - client_s
        cost = Spent(wall_s, client_s, cpu_s([database.pid]) - server_s)
        bus_s = cpu_s([bus.pid]) - bus_s
    stored = _stored(context) - before
    store.dispose()
    if stored != FRAMES * SECONDS:
        raise ValueError(f"{stored} frames stored, expected {FRAMES * SECONDS}")
    return Outcome(cost, bus_s, source.decode_s, lags_s, source.step_s)


async def _pace(context: StageContext, source: Source, begin_ns: int | None) -> tuple[float, list[float]]:
    """(Wall-clock seconds, lag of each step): every step is put when it is due, or as soon after as the queue takes
    it."""
    if begin_ns is None:
        begin_ns = context.clock.now_ns()
    await asyncio.sleep(max(0.0, (begin_ns - context.clock.now_ns()) / NS_PER_S))
    stop = threading.Event()
    batcher = Batcher(context, Registry(context.engine, context.settings, context.clock), stop)
    committing = asyncio.create_task(batcher.run())
    loop = asyncio.get_running_loop()
    steps = round(SECONDS / source.step_s)
    lags_s = [0.0] * steps
    begin_s = loop.time()

    def noted(step: int, _done: asyncio.Future[None]) -> None:
        lags_s[step] = loop.time() - begin_s - step * source.step_s

    for step in range(steps):
        await asyncio.sleep(max(0.0, begin_s + step * source.step_s - loop.time()))
        for block in (*source.blocks(step, begin_ns), *_meters(step, source.step_s, begin_ns)):
            done = await batcher.put(block)
        done.add_done_callback(lambda done, step=step: noted(step, done))  # type: ignore[misc]
    await batcher.finish()
    await committing
    return loop.time() - begin_s, lags_s


def _meters(step: int, step_s: float, begin_ns: int) -> list[Block]:
    """The meters that report in a step, one after the other all of them."""
    first, last = (round(n * step_s * METERS / METER_PERIOD_S) for n in (step, step + 1))
    if first == last:
        return []
    device = FIRST_METER + np.arange(first, last) % METERS
    return [meter_rows(device, np.full(last - first, begin_ns + round(step * step_s * NS_PER_S)), step)]


def _stored(context: StageContext) -> int:
    with context.engine.connect() as conn:
        return int(conn.execute(text("SELECT coalesce(sum(frames), 0) FROM phasor_seconds")).scalar_one())


def _layout(number: int) -> DataLayout:
    per_stream = PMUS // CONCENTRATORS
    phasors = tuple(Phasor(f"V{i}") for i in range(PHASORS))
    pmus = tuple(Pmu(f"PMU {number} {i}", i + 1, Format(_FLOAT), phasors) for i in range(per_stream))
    return DataLayout(Configuration(number + 1, 1_000_000, pmus, FRAMES_PER_S))


def _frames(layout: DataLayout, begin_ns: int, count: int, seed: int) -> list[bytes]:
    generator = np.random.default_rng(seed)
    pmus = len(layout.configuration.pmus)
    times_ns = begin_ns + np.arange(count) * (NS_PER_S // FRAMES_PER_S)
    frames: list[bytes] = []
    for part in np.array_split(times_ns, max(1, count // 500)):
        shape = (len(part), pmus)
        phasors = generator.uniform(80, 90, (*shape, PHASORS)) * np.exp(
            1j * generator.uniform(-3, 3, (*shape, PHASORS))
        )
        frequency_hz = 50 + generator.normal(0, 0.01, shape)
        frames += layout.encode(part, np.zeros(shape, np.uint16), phasors, frequency_hz, np.zeros(shape))
    return frames
