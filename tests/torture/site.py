"""A whole site under fire: all its processes and servers, the load of tests/smc/gateway/sender.py, random faults."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import text

from host.database import migrate
from host.postgres import ADMINISTRATOR, Postgres
from host.processes import running_in
from host.valkey import Valkey
from smc.bus import RedisBus
from smc.partition import FAMILY
from tests.servers.brokers import Broker
from tests.smc.gateway.kill_intake import Line, Load, Verdict
from tests.torture.centre import idle
from tests.torture.power import Disk

DATABASE, BUS = "database", "bus"  # acknowledgement points
WORKERS = 2
UNLIMITED = ("max_queued_messages 0", "max_inflight_messages 100")
ENDLESS = 1_000_000  # messages: the load lasts as long as the faults
ROWS = 10
AWAY_MOST_S = 1.0
HELD_S = 0.4
RESUMED_S = 30.0
INTAKE = ("app.py", "smc", "intake")
CARELESS = ("-m", "tests.torture.careless_intake")
# Somebody must read what the store tells, or the bus is full after a while.
READING, ALL = ("detect",), ("detect", "stages")
STORE = ("app.py", "smc", "store")


@dataclass
class Site:
    """`ack` is the acknowledgement point. `slowest_s`: the longest time from a fault to the next stored message."""

    url: str
    database: Postgres
    bus: Valkey
    broker: Broker
    folder: Path
    ack: str
    seed: int
    intake: Sequence[str] = INTAKE
    store: Sequence[str] = STORE
    stages: Sequence[str] = ALL
    more: Mapping[str, str] = field(default_factory=dict)
    slowest_s: float = 0.0

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.line = Line(
            self.url,
            self.bus.url,
            self.broker.address,
            Load(ENDLESS, ROWS),
            self.folder,
            self.intake,
            self.seed,
            more={"SMC_ACK": self.ack, **self.more},
            max_ahead=None,
        )
        workers = WORKERS if self.ack == BUS else 0
        self.workers = [self.line.run(self.store, f"store-{number}") for number in range(workers)]
        self.behind = [self.line.run(("app.py", "smc", stage), stage) for stage in self.stages]

    @property
    def faults(self) -> dict[str, Callable[[], None]]:
        """What can happen here, by name."""
        killed = {"intake": self.line.intake.kill}
        killed |= {process.log.stem: process.kill for process in (*self.workers, *self.behind)}
        others = {
            "amid storing": self.kill_storing,
            "postmaster": lambda: self.strike(self.database),
            "backend": self.kill_backend,
            "bus": self.kill_bus,
            "broker": self.restart_broker,
        }
        return killed | others

    def suffer(self, fault: Callable[[], None]) -> None:
        """The fault at a random moment with work in hand; returns when messages are stored again."""
        self.line.after(5, 40)
        fault()
        before, since = self.line.sender.stored, time.monotonic()
        self.line.until(lambda: self.line.stored() > before, "stored again")
        self.slowest_s = max(self.slowest_s, time.monotonic() - since)

    def strike(self, server: Postgres | Valkey) -> None:
        """kill -9, away for a moment, started again as its supervisor would."""
        os.kill(server.pid, signal.SIGKILL)
        server.stop()
        time.sleep(self.chance.uniform(0, AWAY_MOST_S))
        server.start()

    def kill_backend(self) -> None:
        """kill -9 of one connection's process: the server ends all others and recovers by itself."""
        with psycopg.connect(self.database.url("postgres", ADMINISTRATOR)) as connection:
            query = "SELECT pid FROM pg_stat_activity WHERE datname = 'smc' ORDER BY pid"
            found = [pid for (pid,) in connection.execute(query)]
        os.kill(self.chance.choice(found), signal.SIGKILL)

    def kill_storing(self) -> None:
        """kill -9 of whoever stores, in the middle of a transaction: it waits there for a lock that we hold."""
        with self.line.store.connect() as conn:
            conn.execute(text("LOCK TABLE meter_readings IN SHARE ROW EXCLUSIVE MODE"))
            time.sleep(HELD_S)
            for process in self.workers or [self.line.intake]:
                process.kill()

    def kill_bus(self) -> None:
        with self.held_workers():
            self.strike(self.bus)

    def restart_broker(self, by: signal.Signals = signal.SIGTERM) -> None:
        """In order: kill -9 makes Mosquitto forget what it has answered for, see the controls."""
        self.broker.stop(by)
        time.sleep(self.chance.uniform(0, AWAY_MOST_S))
        self.broker.start()

    def kill_broker(self) -> None:
        """While it holds what nobody has taken yet."""
        self.line.intake.hold()
        time.sleep(HELD_S)
        self.restart_broker(signal.SIGKILL)
        self.line.intake.go_on()

    @contextmanager
    def held_workers(self) -> Iterator[None]:
        """For a moment nobody stores, so that something acknowledged is on the bus alone."""
        for worker in self.workers:
            worker.hold()
        if self.workers:
            bus = RedisBus(self.bus.url, self.line.load.site)
            before = _length(bus)  # may be stored already, and not yet taken off
            self.line.until(lambda: _length(bus) > before, "something on the bus alone")
            bus.close()
            time.sleep(self.chance.uniform(0, HELD_S))
        yield
        for worker in self.workers:
            worker.go_on()

    def lose_power(self, disk: Disk) -> None:
        """The machine of the servers and of all our processes; the broker stands elsewhere."""
        with self.held_workers():
            disk.cut()
            for process in self.line.processes:
                process.die()
        for pid in [*running_in(self.database.data), *running_in(self.bus.data)]:
            with suppress(ProcessLookupError):  # many end by themselves when their disk is gone
                os.kill(pid, signal.SIGKILL)
        self.database.stop()
        self.bus.stop()
        disk.off()
        disk.on()
        self.database.start()
        self.bus.start()
        for process in self.line.processes:
            process.start()

    def finish(self) -> Verdict:
        """Nothing new is sent; what there is comes to its end, or as far as it gets."""
        self.line.sender.enough.set()
        return self.line.finish()

    def settle(self) -> None:
        """Nothing new is sent; everything is stored, and judged by all stages."""
        self.line.sender.enough.set()
        sender, bus = self.line.sender, RedisBus(self.bus.url, self.line.load.site)
        self.line.until(lambda: not sender.is_alive() and self.line.stored() >= len(sender.acknowledged), "all stored")
        self.line.until(lambda: idle(bus), "all topics empty")
        bus.close()

    def __enter__(self) -> Site:
        self.line.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.line.close()
        self.line.store.dispose()


def _length(bus: RedisBus) -> int:
    """Messages that wait for the store."""
    return sum(map(bus.length, bus.topics(FAMILY)))


@contextmanager
def site(
    place: Path,
    ack: str,
    seed: int,
    *,
    database: Mapping[str, Any] | None = None,
    bus: Mapping[str, Any] | None = None,
    on: Path | None = None,
    **wanted: Any,
) -> Iterator[Site]:
    """Servers of its own in `place` (those that hold data in `on`), and the site on them, sending."""
    on = on or place
    with ExitStack() as stack:
        broker_folder, logs = place / "broker", place / "logs"
        for folder in (broker_folder, logs):
            folder.mkdir()
        server = stack.enter_context(Postgres(on / "postgres", **(database or {})))
        valkey = stack.enter_context(Valkey(on / "bus", **(bus or {})))
        broker = stack.enter_context(Broker(broker_folder, persistent=True, limits=UNLIMITED))
        url = server.create_database("smc")
        migrate(url, "smc")
        yield stack.enter_context(Site(url, server, valkey, broker, logs, ack, seed, **wanted))


def drawn(faults: Sequence[str], count: int, chance: random.Random) -> list[str]:
    """`count` random faults in random order, each at least once where there is room."""
    names = [*faults, *chance.choices(faults, k=max(0, count - len(faults)))][:count]
    chance.shuffle(names)
    return names
