"""A sender of numbered messages whose own record is the truth: what the broker answered for must be in the table."""

from __future__ import annotations

import random
import select
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from model.block import METER_COLUMNS
from model.device import Device, DeviceKind, Protocol, Provenance
from model.ids import new_id
from model.time import NS_PER_S
from tests.servers.brokers import Mosquitto
from wire.meter import encode_meter_pack

METERS = 20
PER_SECOND = 100
WINDOW = 64  # messages without an answer
REPEATED = 0.01  # share of messages that the sender publishes a second time
DELAYED = 0.01  # share of messages that some later ones overtake
OVERTAKING = 10  # how many on average
RETRY_S = 0.1
TICK_S = 0.005
# How far the sender may be ahead of the table: three times what Mosquitto hands out unanswered, and far below the 1,000
# messages beyond which it would drop some. So the load lasts as long as the faults, however slow the machine.
MAX_AHEAD = 60

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

    def keys(self, numbers: Iterable[int]) -> set[Key]:
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


def disordered(numbers: Iterable[int], chance: random.Random) -> Iterator[int]:
    """All the numbers, some of them twice, some after others that they should precede."""
    late: list[int] = []
    for number in numbers:
        if chance.random() < DELAYED:
            late.append(number)
            continue
        yield number
        if chance.random() < REPEATED:
            yield chance.randrange(number + 1)
        if late and chance.random() < 1 / OVERTAKING:
            yield late.pop(0)
    yield from late


class Connection:
    """MQTT 3.1.1 at QoS 1 over one TCP connection. OSError when the broker is away or hangs up."""

    def __init__(self, broker: Mosquitto) -> None:
        self._stream = socket.create_connection((broker.host, broker.port), 30)
        self._stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        body = _text("MQTT") + struct.pack(">BBH", 4, 0xC2, 600)  # 3.1.1; user, password, clean session; keep alive
        body += _text(f"sender-{new_id().hex[:12]}") + _text(broker.user) + _text(broker.password)
        self._stream.sendall(b"\x10" + _length(len(body)) + body)
        answer = self._stream.recv(4, socket.MSG_WAITALL)
        if len(answer) < 4:
            raise ConnectionError("the broker hung up")
        assert answer == b"\x20\x02\x00\x00", "the broker refused the sender"
        self._last = 0
        self._part = b""

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def publish(self, topic: str, payload: bytes) -> int:
        """Send; returns the packet number that the broker will answer with."""
        self._last = self._last % 65_535 + 1
        body = _text(topic) + struct.pack(">H", self._last) + payload
        self._stream.sendall(b"\x32" + _length(len(body)) + body)
        return self._last

    def answers(self, wait_s: float) -> list[int]:
        """Packet numbers that the broker has answered for, waiting for a first one."""
        if not select.select([self._stream], [], [], wait_s)[0]:
            return []
        data = self._stream.recv(65_536)
        if not data:
            raise ConnectionError("the broker hung up")
        data = self._part + data
        whole = len(data) // 4 * 4
        self._part = data[whole:]
        packets = list(struct.iter_unpack(">HH", data[:whole]))
        assert all(head == 0x4002 for head, _ in packets), "an answer that is no PUBACK"
        return [number for _, number in packets]


def _text(value: str) -> bytes:
    return struct.pack(">H", len(value)) + value.encode()


def _length(size: int) -> bytes:
    head, rest = size & 0x7F, size >> 7
    return bytes([head | 0x80]) + _length(rest) if rest else bytes([head])


class Sender(threading.Thread):
    """Publishes the load at a steady rate, disordered, with a window of unanswered messages; sends these again after a
    lost connection. `acknowledged` is its own record of the numbers that the broker answered for, `sent` of all tried.
    """

    def __init__(self, broker: Mosquitto, load: Load, seed: int, max_ahead: int | None = MAX_AHEAD) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[int, None] = {}
        self.sent: set[int] = set()
        self.stored = 0  # messages, told by the test: keeps the sender from outrunning the broker
        self.enough = threading.Event()  # send nothing new; what is unanswered is still seen to
        self.stop = threading.Event()
        self._broker, self._load, self._max_ahead = broker, load, max_ahead
        self._numbers = disordered(range(load.messages), random.Random(seed))
        self._unanswered: list[int] = []
        self._at_end = False
        self._due_s = time.monotonic()

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                with Connection(self._broker) as connection:
                    self._talk(connection)
                return
            except OSError:  # the broker is away
                self.stop.wait(RETRY_S)

    def publish(self, number: int) -> None:
        """One message on a connection of its own; returns when the broker has answered."""
        with Connection(self._broker) as connection:
            packet = connection.publish(*self._load.message(number))
            while packet not in connection.answers(1.0):
                pass

    def _talk(self, connection: Connection) -> None:
        """Until everything is answered, or told to stop."""
        waiting = {connection.publish(*self._load.message(number)): number for number in self._unanswered}
        while not self.stop.is_set() and (waiting or not self._done):
            number = self._next()
            if number is not None:
                waiting[connection.publish(*self._load.message(number))] = number
            for packet in connection.answers(TICK_S if number is None else 0.0):
                self._answered(waiting.pop(packet))

    @property
    def _done(self) -> bool:
        """Whether nothing new is to be sent."""
        return self._at_end or self.enough.is_set()

    def _next(self) -> int | None:
        """The next number, once it is due and there is room for it."""
        now_s = time.monotonic()
        ahead = len(self.acknowledged) + len(self._unanswered) - self.stored
        held = self._max_ahead is not None and ahead > self._max_ahead
        if now_s < self._due_s or held or len(self._unanswered) >= WINDOW or self._done:
            return None
        number = next(self._numbers, None)
        if number is None:
            self._at_end = True
            return None
        self._due_s = max(self._due_s + 1 / PER_SECOND, now_s - WINDOW / PER_SECOND)
        self._unanswered.append(number)
        self.sent.add(number)
        return number

    def _answered(self, number: int) -> None:
        self._unanswered.remove(number)
        self.acknowledged[number] = None
