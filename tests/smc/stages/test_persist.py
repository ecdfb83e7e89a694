"""Store workers on a real bus and a real database: shared out, killed, cut off; nothing lost, doubled, out of order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from host.database import engine
from model.block import METER_COLUMNS, Block, Schema, decode_block, encode_block
from model.errors import DecodeError
from model.time import NS_PER_S
from smc import persist, refusal, stage
from smc.bus import OLDEST, RedisBus
from smc.context import StageContext
from smc.gateway.sender import BusSender
from smc.partition import topics_of
from smc.publisher import Publisher
from smc.refusal import Refused
from smc.store import health, quarantine
from tests.smc.gateway.kill_intake import Process
from tests.smc.stages.line import SITE, centre, until
from tests.smc.store.blocks import START_NS, block_of

DEVICES, PER_MESSAGE = 60, 300
PATIENCE_S = 30.0


@dataclass
class Numbered:
    """Messages whose rows tell by device and time what their values must be; each device's times only go forward."""

    sender: BusSender
    messages: int = 0

    def send(self, count: int = 1) -> None:
        """The next messages, into the partitions of their devices."""
        for _ in range(count):
            self.sender.commit([self.message(self.messages)], [])
            self.messages += 1

    def message(self, number: int) -> Block:
        row = number * PER_MESSAGE + np.arange(PER_MESSAGE)
        device, time_ns = row % DEVICES + 1, START_NS + row // DEVICES * NS_PER_S
        return block_of(Schema.METER, METER_COLUMNS, device, time_ns, value(device, time_ns))

    def rows(self) -> list[tuple[int, int]]:
        """Device and time of all rows sent so far, sorted."""
        row = np.arange(self.messages * PER_MESSAGE)
        return sorted(zip((row % DEVICES + 1).tolist(), (START_NS + row // DEVICES * NS_PER_S).tolist(), strict=True))


def value(device: np.ndarray, time_ns: np.ndarray) -> np.ndarray:
    """Exact in float32, shape (n, columns)."""
    return (device * 1_000.0 + time_ns // NS_PER_S % 997)[:, None] + np.arange(float(len(METER_COLUMNS)))


@pytest.fixture
def context(smc_embedded: str, valkey_url: str, tmp_path: Path) -> Iterator[StageContext]:
    made = centre(smc_embedded, RedisBus(valkey_url, SITE), tmp_path)
    settings = replace(made.settings, redis_url=valkey_url, ack="bus", flush_s=0.02, flush_rows=1_000)
    yield replace(made, settings=settings)
    made.engine.dispose()


@pytest.fixture
def numbered(context: StageContext) -> Numbered:
    return Numbered(sender_of(context))


def sender_of(context: StageContext) -> BusSender:
    return BusSender(Publisher(context, threading.Event(), "test"), context.settings.partitions)


@dataclass
class Crew:
    """Store workers as threads, each with connections of its own; stopped in order, their failures raised."""

    context: StageContext
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(8))
    working: list[tuple[threading.Event, Future[None]]] = field(default_factory=list)

    def hire(self, count: int) -> None:
        for _ in range(count):
            stop = threading.Event()
            self.working.append((stop, self.pool.submit(self._work, stop)))

    def dismiss(self, count: int) -> None:
        leaving, self.working = self.working[:count], self.working[count:]
        for stop, _ in leaving:
            stop.set()
        for _, work in leaving:
            work.result(PATIENCE_S)

    def _work(self, stop: threading.Event) -> None:
        own = engine(self.context.settings.database_url, "worker")
        try:
            persist.run(replace(self.context, engine=own), stop)
        finally:
            own.dispose()


@contextmanager
def crew(context: StageContext, count: int) -> Iterator[Crew]:
    made = Crew(context)
    with made.pool:
        made.hire(count)
        try:
            yield made
        finally:
            for stop, _ in made.working:
                stop.set()
        made.dismiss(len(made.working))


def stored(context: StageContext) -> list[tuple[int, int]]:
    """Device and time of every stored row, sorted; values are compared on the way."""
    query = text(f"SELECT device_id, extract(epoch FROM time)::bigint, {', '.join(METER_COLUMNS)} FROM meter_readings")
    with context.engine.connect() as conn:
        rows = np.array([tuple(row) for row in conn.execute(query)], dtype=float).reshape(-1, 2 + len(METER_COLUMNS))
    device, time_ns = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64) * NS_PER_S
    assert (rows[:, 2:] == value(device, time_ns)).all(), "a value that nobody sent"
    return sorted(zip(device.tolist(), time_ns.tolist(), strict=True))


def told(context: StageContext) -> list[tuple[int, int]]:
    """Device and time of every row on `blocks`, in the order of the bus."""
    rows: list[tuple[int, int]] = []
    place = OLDEST
    while found := context.bus.read({"blocks": place}, 100, 0).get("blocks"):
        place = found[-1].entry
        for block in (decode_block(delivery.body) for delivery in found):
            rows += zip(block.device.tolist(), block.time_ns.tolist(), strict=True)
    return rows


def in_order(rows: list[tuple[int, int]]) -> bool:
    """Whether each device's times only go forward."""
    newest: dict[int, int] = {}
    for device, time_ns in rows:
        if time_ns <= newest.get(device, 0):
            return False
        newest[device] = time_ns
    return True


def waiting(context: StageContext) -> int:
    return sum(context.bus.length(topic) for topic in [*context.bus.topics("readings"), refusal.TOPIC])


def drained(context: StageContext) -> Callable[[], bool]:
    return lambda: waiting(context) == 0


def names(context: StageContext) -> list[str]:
    with context.engine.connect() as conn:
        return [found.stage for found in health.all_stages(conn)]


def test_how_much_waits_is_shown_while_nobody_judges(
    context: StageContext, numbered: Numbered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The detectors are behind, so storing waits for them; what is left grows, and the worker goes on reporting."""
    monkeypatch.setattr(stage, "BEAT_S", 0.1)
    numbered.send(3)
    expected = float(waiting(context))
    unread = context.bus.publish("blocks", b"unread")
    behind = replace(context, bus=RedisBus(context.settings.redis_url, SITE, max_messages=1))
    with crew(behind, 1):
        until(lambda: shown(context, "waiting") == expected, "the number of waiting messages")
        context.bus.discard("blocks", [unread])
        until(lambda: shown(context, "waiting") == 0, "nothing waiting")


def shown(context: StageContext, what: str) -> float | None:
    with context.engine.connect() as conn:
        return next((found.counters.get(what) for found in health.all_stages(conn)), None)


def test_workers_come_and_go_while_data_flow(context: StageContext, numbered: Numbered) -> None:
    """2, then 4, then 1: all is stored once, and no device's rows change places on the way to the detectors."""
    with crew(context, 2) as workers:
        until(lambda: names(context) == ["store-1", "store-2"], "two workers")
        for change in (lambda: workers.hire(2), lambda: workers.dismiss(3), lambda: None):
            for _ in range(15):
                numbered.send(2)
                threading.Event().wait(0.03)
            change()
        until(drained(context), "everything stored")
        assert len(names(context)) == 1, "a worker that was taken away is still expected to report"
    assert names(context) == []
    assert stored(context) == numbered.rows()
    rows = told(context)
    assert sorted(rows) == numbered.rows(), "lost or doubled for the detectors"
    assert in_order(rows)


def test_a_changed_number_of_partitions_lets_nothing_wait_or_overtake(
    context: StageContext, numbered: Numbered
) -> None:
    """Old topics are emptied first: their rows are older than those of the same devices in the new ones."""
    for partitions in (8, 3, 8):
        context = replace(context, settings=replace(context.settings, partitions=partitions))
        numbered.sender = sender_of(context)
        numbered.send(20)
    assert len(context.bus.topics("readings")) == 8 + 3 + 8
    with crew(context, 2):
        until(drained(context), "everything stored")
    assert stored(context) == numbered.rows()
    rows = told(context)
    assert sorted(rows) == numbered.rows()
    assert in_order(rows)


def test_a_worker_killed_in_its_transaction_loses_and_doubles_nothing(
    context: StageContext, numbered: Numbered, tmp_path: Path
) -> None:
    variables = {
        "SMC_SITE": SITE, "SMC_COUNTRY": "DE", "SMC_AREA": "DE-BY", "SMC_ACK": "bus", "SMC_FLUSH_S": "0.02",
        "SMC_DATA": str(tmp_path), "DATABASE_URL": context.settings.database_url,
        "REDIS_URL": context.settings.redis_url,
    }  # fmt: skip
    worker = Process(("app.py", "smc", "store"), variables, tmp_path / "store.log")
    try:
        until(lambda: names(context) == ["store-1"], "a worker")
        with context.engine.begin() as lock:
            lock.execute(text("LOCK TABLE latest IN ACCESS EXCLUSIVE MODE"))  # it stops half way through its work
            numbered.send(10)
            until(lambda: blocked(context) == 1, "a transaction half done")
            worker.kill()
        numbered.send(10)
        until(drained(context), "everything stored")
    finally:
        worker.stop()
    assert worker.starts == 2
    assert stored(context) == numbered.rows()
    assert sorted(set(told(context))) == numbered.rows()
    assert in_order(told(context))


def blocked(context: StageContext) -> int:
    """Transactions that wait for a lock of somebody else and have written already."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' "
        "AND backend_xid IS NOT NULL"
    )
    with context.engine.connect() as conn:
        return int(conn.execute(query).scalar_one())


def test_a_crash_between_commit_and_publication_is_told_later(context: StageContext, numbered: Numbered) -> None:
    """The database has the rows, the detectors do not: the message is still there, so they get them."""

    class Crash(Exception):
        pass

    class Mortal(RedisBus):
        def publish_all(self, messages: Mapping[str, bytes]) -> dict[str, bytes]:
            raise Crash

    numbered.send(3)
    dying = replace(context, bus=Mortal(context.settings.redis_url, SITE))
    with pytest.raises(Crash):
        persist.run(dying, threading.Event())
    assert stored(context), "nothing was committed: then this test proves nothing"
    assert told(context) == []
    with crew(context, 1):
        until(drained(context), "everything told")
    assert stored(context) == numbered.rows()
    assert sorted(told(context)) == numbered.rows()


def test_a_lost_connection_is_made_anew_and_nothing_is_stored_without_its_locks(
    context: StageContext, numbered: Numbered
) -> None:
    kill = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'worker'")
    with crew(context, 2):
        for _ in range(4):
            numbered.send(5)
            with context.engine.connect() as conn:
                conn.execute(kill)
        numbered.send(5)
        until(drained(context), "everything stored")
    assert stored(context) == numbered.rows()
    assert sorted(set(told(context))) == numbered.rows()


def test_poison_goes_to_quarantine_and_everything_else_is_stored(context: StageContext, numbered: Numbered) -> None:
    """Bytes that are no block, a block of columns nobody can store, and one row that the database refuses."""
    with context.engine.begin() as conn:
        conn.execute(text("ALTER TABLE meter_readings ADD CONSTRAINT odd CHECK (power_w <> 4242)"))
    (topic, *_) = topics_of(context.settings.partitions)
    poisoned = numbered.message(1)
    poisoned.values[17, METER_COLUMNS.index("power_w")] = 4242
    strange = replace(numbered.message(2), columns=(*METER_COLUMNS[1:], "moon_phase"))
    context.bus.publish(topic, b"no block at all")
    context.bus.publish(topic, encode_block(strange))
    numbered.send()
    numbered.sender.commit([poisoned], [])
    error = DecodeError("json", "pack", "\ud800 \x00", "SenML")
    numbered.sender.commit([], [Refused("mqtt", "smc/a/b/meter", error, b"{", START_NS), refused_again()])
    context.bus.publish(refusal.TOPIC, b"no refusal either")
    with crew(context, 1):
        until(drained(context), "everything handled")
    numbered.messages = 2
    bad = (int(poisoned.device[17]), int(poisoned.time_ns[17]))
    assert stored(context) == [key for key in numbered.rows() if key != bad]
    with context.engine.connect() as conn:
        found = {(kept.reason, kept.link, kept.peer): kept for kept in quarantine.recent(conn, 20)}
    assert found.keys() == {
        ("truncated", "bus", topic),
        ("columns", "bus", topic),
        ("store", "test", "tests"),
        ("json", "mqtt", "smc/a/b/meter"),
        ("refusal", "bus", "refused"),
    }
    row = decode_block(found["store", "test", "tests"].data)
    assert list(zip(row.device.tolist(), row.time_ns.tolist(), strict=True)) == [bad]
    assert found["json", "mqtt", "smc/a/b/meter"].count == 2, "equal refusals are one row with a count"


def refused_again() -> Refused:
    return Refused("mqtt", "smc/a/b/meter", DecodeError("json", "pack", "?", "SenML"), b"{", START_NS)


def test_what_the_bus_refuses_the_intake_waits_for(context: StageContext, numbered: Numbered) -> None:
    """A full bus makes the sender wait; a worker that comes frees it, and nothing was dropped."""
    small = replace(context, bus=RedisBus(context.settings.redis_url, SITE, max_messages=2))
    numbered.sender = sender_of(small)
    sending = threading.Thread(target=numbered.send, args=(12,))
    sending.start()
    until(lambda: waiting(context) >= 8, "a full bus")
    sending.join(timeout=0.3)
    assert sending.is_alive(), "it did not wait"
    with crew(context, 1):
        sending.join(timeout=PATIENCE_S)
        until(drained(context), "everything stored")
    assert stored(context) == numbered.rows()
