"""A sender whose own record is the truth, the real intake process to kill, and the judge. See test_kill_intake.py."""

from __future__ import annotations

import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from redis import Redis
from sqlalchemy import Engine, text

from host.child import command
from host.database import engine
from host.processes import Server
from model.block import METER_COLUMNS, decode_block
from model.device import Device, DeviceKind, Protocol, Provenance
from model.ids import new_id
from model.time import NS_PER_S
from smc.store import devices
from tests.commands.running import ROOT, environment
from tests.servers.brokers import Mosquitto
from wire.meter import encode_meter_pack

METERS = 20
PER_SECOND = 100
RESENT = 0.02  # share of messages that the sender publishes a second time
# How far the sender may be ahead of the table: three times what Mosquitto hands out unanswered, and far below the 1,000
# messages beyond which it would drop some. So the load lasts as long as the faults, however slow the machine.
MAX_AHEAD = 60
PATIENCE_S = 90.0
SETTLED_S = 3.0

Key = tuple[str, int]


@dataclass(frozen=True)
class Load:
    """Numbered messages of one site: pack `number` holds `rows` readings of meter `number % METERS`."""

    messages: int
    rows: int = 3
    site: str = field(default_factory=lambda: f"DSO-{new_id().hex[:12]}")
    start_s: int = field(default_factory=lambda: int(time.time()) - 86_400)

    def devices(self) -> list[Device]:
        """The meters, to be enrolled."""
        simulated = Provenance.SIMULATED
        return [
            Device(0, meter(unit), DeviceKind.METER, Protocol.SENML_MQTT, self.site, simulated, unit=unit)
            for unit in map(unit_of, range(METERS))
        ]

    def times_s(self, number: int) -> np.ndarray:
        """Stamps of a message's readings, shape (rows,)."""
        return self.start_s + number // METERS * self.rows + np.arange(self.rows)

    def message(self, number: int) -> tuple[str, bytes]:
        """Topic and pack."""
        unit, times_s = unit_of(number % METERS), self.times_s(number)
        values = expected(np.full(self.rows, number % METERS), times_s)
        return f"smc/{self.site}/{unit}/meter", encode_meter_pack(meter(unit), times_s * NS_PER_S, values)

    def keys(self, numbers: Sequence[int] | set[int]) -> set[Key]:
        """Meter and second of every reading in these messages."""
        return {(meter(unit_of(n % METERS)), int(second)) for n in numbers for second in self.times_s(n)}


def unit_of(index: int) -> str:
    return f"norm-{index:04d}"


def meter(unit: str) -> str:
    return f"urn:dev:norm:{unit}:meter"


def expected(index: np.ndarray, time_s: np.ndarray) -> np.ndarray:
    """What a meter says at a time, shape (n, columns): exact in float32, so that anybody can tell what is wrong."""
    values: np.ndarray = (index * 1_000 + time_s % 997)[:, None] + np.arange(float(len(METER_COLUMNS)))
    return values


class Publisher:
    """MQTT 3.1.1 at QoS 1, one message at a time: `publish` returns when the broker has answered for this message."""

    def __init__(self, broker: Mosquitto) -> None:
        self._stream = socket.create_connection((broker.host, broker.port), timeout=PATIENCE_S)
        body = _text("MQTT") + struct.pack(">BBH", 4, 0xC2, 600)  # 3.1.1; user, password, clean session; keep alive
        body += _text(f"sender-{new_id().hex[:12]}") + _text(broker.user) + _text(broker.password)
        self._stream.sendall(b"\x10" + _length(len(body)) + body)
        assert self._stream.recv(4, socket.MSG_WAITALL) == b"\x20\x02\x00\x00", "the broker refused the sender"
        self._last = 0

    def publish(self, topic: str, payload: bytes) -> None:
        self._last = self._last % 65_535 + 1
        body = _text(topic) + struct.pack(">H", self._last) + payload
        self._stream.sendall(b"\x32" + _length(len(body)) + body)
        assert self._stream.recv(4, socket.MSG_WAITALL) == b"\x40\x02" + struct.pack(">H", self._last)

    def close(self) -> None:
        self._stream.close()


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def _length(size: int) -> bytes:
    head, rest = size & 0x7F, size >> 7
    return bytes([head | 0x80]) + _length(rest) if rest else bytes([head])


class Sender(threading.Thread):
    """Publishes the load at a steady rate, some of it twice; `acknowledged` is its own record, in order."""

    def __init__(self, broker: Mosquitto, load: Load, seed: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: list[int] = []
        self.stored = 0  # messages, told by the test: keeps the sender from outrunning the broker
        self.stop = threading.Event()
        self._load, self._random = load, random.Random(seed)
        self._publisher = Publisher(broker)

    def run(self) -> None:
        for number in range(self._load.messages):
            while len(self.acknowledged) - self.stored > MAX_AHEAD and not self.stop.wait(0.02):
                pass
            if self.stop.wait(1 / PER_SECOND):
                break
            self.publish(number)
            self.acknowledged.append(number)
            if self._random.random() < RESENT:
                self.publish(self._random.choice(self.acknowledged))
        self._publisher.close()

    def publish(self, number: int) -> None:
        self._publisher.publish(*self._load.message(number))


class Process:
    """One command of app.py (or a module standing in for it), to be killed and started again like by a supervisor."""

    def __init__(self, line: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self._line, self._variables, self.log = [sys.executable, *line], environment(**variables), log
        self.starts = self.ended = 0  # `ended`: by itself, which no fault of its surroundings may lead to
        self._server = self._start()

    def kill(self) -> None:
        """kill -9; the next one starts at once."""
        self._server.send(signal.SIGKILL)
        self._server.finish()
        self._server = self._start()

    def watch(self) -> None:
        """Start it again if it ended by itself."""
        if not self._server.running():
            self.ended += 1
            self._server.finish()
            self._server = self._start()

    def stop(self) -> None:
        self._server.stop((signal.SIGTERM, 20.0))

    def says(self, event: str) -> bool:
        """Whether it wrote this since its last start."""
        return event in self._server.output()

    def _start(self) -> Server:
        self.starts += 1
        return Server(command(self._line, at_end="KILL"), self.log, self._variables, ROOT)


@dataclass
class Line:
    """Sender, broker, intake, database, bus of one run. `in_hand`: messages sent but not stored at each fault."""

    url: str
    bus_url: str
    broker: Mosquitto
    load: Load
    folder: Path
    runner: Sequence[str] = ("app.py", "smc", "intake")
    seed: int = 7
    in_hand: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store: Engine = engine(self.url, "judge")
        with self.store.begin() as conn:
            devices.enrol(conn, self.load.devices())
        self.random = random.Random(self.seed)
        self.sender = Sender(self.broker, self.load, self.seed)
        self.intake = Process(self.runner, self.variables(), self.folder / "intake.log")

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
        }

    def start(self) -> None:
        """Begin to send once a first message has passed: from then on the broker keeps what the intake misses."""

        def passed() -> bool:
            self.sender.publish(0)
            return self.stored() > 0

        self.until(passed, "a first message stored")
        self.sender.start()

    def stored(self) -> int:
        """Messages whose readings are in the database."""
        with self.store.connect() as conn:
            rows = int(conn.execute(text("SELECT count(*) FROM meter_readings")).scalar_one())
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
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}; see {self.intake.log}"
            self.intake.watch()
            time.sleep(0.02)

    def finish(self) -> Verdict:
        """Everything sent, and stored as far as it comes; then the intake stops and the tables are judged."""
        self.until(lambda: self.stored() >= 0 and not self.sender.is_alive(), "everything sent")
        self.until(lambda: self.intake.says("mqtt.connected"), "the intake connected")
        stored, since = self.stored(), time.monotonic()
        while stored < self.load.messages and time.monotonic() - since < SETTLED_S:
            time.sleep(0.05)
            if (now := self.stored()) > stored:
                stored, since = now, time.monotonic()
        self.close()
        return judge(self)

    def close(self) -> None:
        """End sender and intake; may be called twice."""
        self.sender.stop.set()
        self.intake.stop()


@dataclass(frozen=True)
class Verdict:
    """Readings acknowledged by the broker: how many, how many are absent, stored twice, or stored with other values."""

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
    wrong += len(set(keys) - acknowledged)
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
