"""The real intake process to kill, under the load of a sender whose own record is the truth, and the judge.

See test_kill_intake.py, and tests/torture for more processes and servers of the same line.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from redis import Redis
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from host.child import command
from host.database import engine
from host.processes import Server
from model.block import METER_COLUMNS, decode_block
from model.time import NS_PER_S
from smc.store import devices
from tests.commands.running import ROOT, environment
from tests.servers.brokers import Mosquitto
from tests.smc.gateway.sender import MAX_AHEAD, Key, Load, Sender, expected

__all__ = ["Key", "Line", "Load", "Process", "Verdict", "judge", "told"]

PATIENCE_S = 90.0
SETTLED_S = 3.0
POLL_S = 0.03


class Process:
    """One command of app.py (or a module standing in for it), to be killed and started again like by a supervisor."""

    def __init__(self, line: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self._line, self._variables, self.log = [sys.executable, *line], environment(**variables), log
        self.starts = 0
        self.ends: list[str] = []  # last words before it ended by itself, which no fault around it may lead to
        self.start()

    @property
    def ended(self) -> int:
        """How often it ended by itself."""
        return len(self.ends)

    def start(self) -> None:
        self.starts += 1
        self._server = Server(command(self._line, at_end="KILL"), self.log, self._variables, ROOT)

    def die(self) -> None:
        """kill -9, and nobody starts it again."""
        self._server.send(signal.SIGKILL)
        self._server.finish()

    def kill(self) -> None:
        """kill -9; the next one starts at once."""
        self.die()
        self.start()

    def hold(self) -> None:
        """It stands still until `go_on`, as if it hung or the machine were busy."""
        self._server.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._server.send(signal.SIGCONT)

    def watch(self) -> None:
        """Start it again if it ended by itself."""
        if not self._server.running():
            self.ends.append(self._server.output()[-800:])
            self._server.finish()
            self.start()

    def stop(self) -> None:
        self._server.stop((signal.SIGTERM, 20.0))

    def says(self, event: str) -> bool:
        """Whether it wrote this since its last start."""
        return event in self._server.output()


@dataclass
class Line:
    """Sender, broker, intake, database, bus of one run. `in_hand`: messages sent but not stored at each fault.

    `more` are settings beside the usual ones. Without `max_ahead` the sender minds nobody: only for a broker without a
    limit of its own.
    """

    url: str
    bus_url: str
    broker: Mosquitto
    load: Load
    folder: Path
    runner: Sequence[str] = ("app.py", "smc", "intake")
    seed: int = 7
    more: Mapping[str, str] = field(default_factory=dict)
    max_ahead: int | None = MAX_AHEAD
    in_hand: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store: Engine = engine(self.url, "judge")
        with self.store.begin() as conn:
            devices.enrol(conn, self.load.devices())
        self.random = random.Random(self.seed)
        self.sender = Sender(self.broker, self.load, self.seed, self.max_ahead)
        self.processes: list[Process] = []
        self.intake = self.run(self.runner, "intake")

    def run(self, runner: Sequence[str], name: str) -> Process:
        """One more process of this line, started again whenever it ends."""
        process = Process(runner, self.variables(), self.folder / f"{name}.log")
        self.processes.append(process)
        return process

    def variables(self) -> dict[str, str]:
        return {
            "SMC_SITE": self.load.site,
            "SMC_COUNTRY": "DE",
            "SMC_AREA": "DE-BY",
            "SMC_DATA": str(self.folder),
            "SMC_SIMULATED": "1",
            "DATABASE_URL": self.url,
            "REDIS_URL": self.bus_url,
            "SMC_MQTT": f"{self.broker.host}:{self.broker.port}",
            "SMC_MQTT_USER": self.broker.user,
            "SMC_MQTT_PASSWORD_FILE": str(self.broker.password_file),
            "SMC_FLUSH_S": "0.1",
            **self.more,
        }

    def start(self) -> None:
        """Begin to send once a first message has passed: from then on the broker keeps what the intake misses."""

        def passed() -> bool:
            self.sender.publish(0)
            return self.stored() > 0

        self.until(passed, "a first message stored")
        self.sender.start()

    def stored(self) -> int:
        """Messages whose readings are in the database; as last known while it is away."""
        try:
            with self.store.connect() as conn:
                rows = int(conn.execute(text("SELECT count(*) FROM meter_readings")).scalar_one())
        except OperationalError:
            return self.sender.stored
        self.sender.stored = rows // self.load.rows
        return self.sender.stored

    def after(self, least: int, most: int) -> None:
        """Return at a random moment, when a random number of further messages is stored and others are in hand."""
        goal = self.stored() + self.random.randint(least, most)
        self.until(lambda: self.stored() >= goal, f"{goal} messages stored")
        time.sleep(self.random.uniform(0, 0.1))
        self.until(lambda: len(self.sender.acknowledged) > self.stored(), "work in hand")
        self.in_hand.append(len(self.sender.acknowledged) - self.sender.stored)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}; {self.last_words()}"
            for process in self.processes:
                process.watch()
            time.sleep(POLL_S)

    def last_words(self) -> str:
        """The end of each process's log; the folder may be gone before anybody can look."""
        return "; ".join(f"{process.log.stem}: …{process.log.read_text()[-400:]}" for process in self.processes)

    def finish(self) -> Verdict:
        """Everything sent, and stored as far as it comes; then all processes stop and the tables are judged."""
        self.until(lambda: self.stored() >= 0 and not self.sender.is_alive(), "everything sent")
        self.until(lambda: self.intake.says("mqtt.connected"), "the intake connected")
        stored, since = self.stored(), time.monotonic()
        while stored < len(self.sender.acknowledged) and time.monotonic() - since < SETTLED_S:
            time.sleep(POLL_S)
            if (now := self.stored()) > stored:
                stored, since = now, time.monotonic()
        self.close()
        return judge(self)

    def close(self) -> None:
        """End sender and processes; may be called twice."""
        self.sender.stop.set()
        for process in self.processes:
            process.stop()


@dataclass(frozen=True)
class Verdict:
    """Readings acknowledged by the broker: how many, how many are absent, stored twice, or stored though never sent or
    with other values."""

    acknowledged: int
    lost: int
    doubled: int
    wrong: int


def judge(line: Line) -> Verdict:
    """Compare the table with the sender's record."""
    columns = ", ".join(f"r.{name}" for name in METER_COLUMNS)
    query = text(f"SELECT d.name, extract(epoch FROM r.time)::bigint, {columns} FROM meter_readings r "
                 "JOIN devices d ON d.index = r.device_id")  # fmt: skip
    refused = text("SELECT (SELECT count(*) FROM reading_conflicts) + (SELECT count(*) FROM quarantine)")
    with line.store.connect() as conn:
        rows = conn.execute(query).all()
        wrong = int(conn.execute(refused).scalar_one())
    keys = [(row[0], row[1]) for row in rows]
    acknowledged = line.load.keys(line.sender.acknowledged)
    values = np.array([row[2:] for row in rows])
    index = np.array([int(name.split(":")[3].removeprefix("norm-")) for name, _ in keys])
    wrong += int((values != expected(index, np.array([second for _, second in keys]))).any(axis=1).sum())
    wrong += len(set(keys) - line.load.keys(line.sender.sent | {0}))
    return Verdict(len(acknowledged), len(acknowledged - set(keys)), len(keys) - len(set(keys)), wrong)


def told(line: Line) -> tuple[set[Key], int]:
    """Readings that a bus nobody reads holds, and how many of them it holds more than once."""
    with line.store.connect() as conn:
        names = {device.index: device.name for device in devices.all_devices(conn)}
    with Redis.from_url(line.bus_url) as client:
        blocks = [decode_block(fields[b"b"]) for _, fields in client.xrange(f"{line.load.site}:blocks")]
    found = [
        (names[index], time_ns // NS_PER_S)
        for block in blocks
        for index, time_ns in zip(block.device.tolist(), block.time_ns.tolist(), strict=True)
    ]
    return set(found), len(found) - len(set(found))
