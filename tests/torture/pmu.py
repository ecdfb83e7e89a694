"""A PMU that sends numbered frames by its own clock whether anybody listens or not, and the judge of what is stored."""

from __future__ import annotations

import select
import socket
import threading
import time
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Engine, text

from model.time import NS_PER_S
from smc.store import health
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu, encode_cfg2
from wire.c37118.data import DataLayout
from wire.c37118.messages import CommandCode, decode_command
from wire.c37118.stream import Stream

RATE = 50
STEP_NS = NS_PER_S // RATE
TICK_S = 0.05
IDCODE = 60
UNITS = 2


def configuration() -> Configuration:
    form = Format.POLAR | Format.FLOAT_PHASORS | Format.FLOAT_FREQUENCY
    units = tuple(Pmu(f"P{unit}", IDCODE + 1 + unit, form, (Phasor("V"),)) for unit in range(UNITS))
    return Configuration(IDCODE, 1_000_000, units, RATE)


def expected_hz(unit: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Frequency of a PMU in a frame: exact in float32."""
    return np.asarray(50 + unit + (number % 1_024) / 1_024)


def expected_v(unit: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Voltage of a PMU in a frame: exact in float32."""
    return np.asarray(10_000 * (1 + unit) + number % 997, np.float64)


class NumberedPmu(threading.Thread):
    """A server for one client at a time; frame `number` is stamped start_ns + number * STEP_NS."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.start_ns = (time.time_ns() // NS_PER_S) * NS_PER_S
        self.stop = threading.Event()
        self._layout = DataLayout(configuration())
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._client: socket.socket | None = None
        self._commands, self._on, self._next = Stream(), False, 0

    def __enter__(self) -> NumberedPmu:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.join(10)
        self._listener.close()
        self._hang_up()

    def run(self) -> None:
        while not self.stop.is_set():
            ready = select.select([self._client or self._listener], [], [], TICK_S)[0]
            try:
                if ready:
                    self._listen()
                self._send()
            except OSError:  # the client is gone: its frames are lost
                self._hang_up()

    def _listen(self) -> None:
        if self._client is None:
            self._client, _ = self._listener.accept()
            return
        data = self._client.recv(4096)
        if not data:
            raise ConnectionError("hung up")
        for frame in self._commands.feed(data):
            code = decode_command(frame).code
            if code == CommandCode.CFG2:
                self._client.sendall(encode_cfg2(configuration(), time.time_ns()))
            elif code in (CommandCode.ON, CommandCode.OFF):
                self._on = code == CommandCode.ON

    def _send(self) -> None:
        """The frames since the last time; nobody keeps them for a client that is not there."""
        due = (time.time_ns() - self.start_ns) // STEP_NS
        number, self._next = np.arange(self._next, due), max(self._next, due)
        if self._client is not None and self._on and len(number):
            self._client.sendall(b"".join(self._frames(number)))

    def _frames(self, number: np.ndarray) -> list[bytes]:
        unit, times_ns = np.arange(UNITS), self.start_ns + number * STEP_NS
        values = expected_v(unit, number[:, None])[:, :, None] + 0j
        stat = np.zeros((len(number), UNITS), np.uint16)
        return self._layout.encode(
            times_ns, stat, values, expected_hz(unit, number[:, None]), np.zeros((len(number), UNITS))
        )

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
        self._client, self._on, self._commands = None, False, Stream()


@dataclass(frozen=True)
class FrameVerdict:
    """Frames of all PMUs: stored, missing between the first and the last one, twice there, with other values."""

    stored: int
    missing: int
    doubled: int
    wrong: int


def judge_frames(store: Engine, pmu: NumberedPmu) -> FrameVerdict:
    """Compare the tables with the PMU's own time line."""
    query = text("""
        SELECT right(d.name, 1)::integer, (extract(epoch FROM s.time) * 1000000)::bigint, s.offset_ns, s.frequency_hz,
               p.magnitude
        FROM phasor_seconds s JOIN devices d ON d.index = s.device_id
        LEFT JOIN phasors p ON p.device_id = s.device_id AND p.time = s.time AND p.channel = 0
    """)
    with store.connect() as conn:
        parts = conn.execute(query).all()
    lengths = [len(part[2]) for part in parts]
    unit = np.repeat([part[0] for part in parts], lengths)
    start_ns = np.repeat([part[1] * 1_000 for part in parts], lengths)
    time_ns = start_ns + np.concatenate([part[2] for part in parts])
    number, rest = np.divmod(time_ns - pmu.start_ns, STEP_NS)
    found_hz, found_v = (np.concatenate([part[column] for part in parts]).astype(np.float32) for column in (3, 4))
    wrong = (found_hz != expected_hz(unit, number)) | (found_v != expected_v(unit, number)) | (rest != 0)
    frames = set(zip(unit.tolist(), number.tolist(), strict=True))
    span = int(number.max() - number.min() + 1) * UNITS
    return FrameVerdict(len(frames), span - len(frames), len(number) - len(frames), int(wrong.sum()))


class GapCounter:
    """What every run of the intake has told about missing frames; a run's counters die with it."""

    def __init__(self, store: Engine) -> None:
        self._store = store
        self._runs: dict[object, float] = {}

    def heard(self) -> float:
        """Frames that the present run has counted; read it often, the next run begins at nothing."""
        with self._store.connect() as conn:
            found = [stage for stage in health.all_stages(conn) if stage.stage == "intake"]
        for stage in found:
            self._runs[stage.started] = stage.counters.get("frames_missing", 0.0)
        return found[0].counters.get("frames", 0.0) if found else 0.0

    @property
    def missing(self) -> int:
        """Frames of the stream that somebody counted as missing; a frame holds all its PMUs."""
        return int(sum(self._runs.values()))
