"""Killing the store (kill -9) during intake: what was acknowledged is stored once and on the bus; and the test can
tell if it is not.

The sender's own record of acknowledgements is the truth. It keeps a window of unacknowledged messages, sends them again
after a kill, cut anew, and now and then sends something twice.
"""

from __future__ import annotations

import random
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text

from model.block import METER_COLUMNS, Block, Schema, decode_block, encode_block, phasor_columns
from model.time import NS_PER_S, to_datetime
from smc.bus import Bus, RedisBus
from smc.store.telemetry import phasors, readings
from tests.servers.databases import timescale_in_the_long_run
from tests.smc.store.blocks import START_NS, block_of, transaction
from tests.smc.store.kill_store import HEAD, SITE

ROOT = Path(__file__).resolve().parents[3]
KILLS = 5
KILLS_OF_CONTROL = 2  # it loses at the first one already
ACKS_BETWEEN_KILLS = (10, 40)
MESSAGES = 300
WINDOW = 16
METERS, PMUS = 40, 4


@dataclass(frozen=True)
class Verdict:
    """Rows acknowledged and not stored; acknowledged and not on the bus; stored more than once; stored with values
    that nobody sent."""

    acknowledged: int
    lost: int
    untold: int
    doubled: int
    wrong: int


@dataclass
class Sender:
    """Sends messages 0, 1, 2, ...; `acknowledged` is its own record."""

    acknowledged: set[int] = field(default_factory=set)
    sent: set[int] = field(default_factory=set)
    random: random.Random = field(default_factory=lambda: random.Random(7))

    def until(self, path: Path, acknowledgements: int) -> None:
        """Send until so many more messages are acknowledged (or all are), then return at once."""
        goal = min(len(self.acknowledged) + acknowledgements, MESSAGES)
        with connected(path) as stream:
            waiting: list[int] = []
            following = iter(sorted(set(range(MESSAGES)) - self.acknowledged))
            while len(self.acknowledged) < goal:
                while len(waiting) < WINDOW and (number := next(following, None)) is not None:
                    self._send(stream, number)
                    waiting.append(number)
                    if self.random.random() < 0.05:
                        self._send(stream, self.random.choice(sorted(self.sent)))
                (number,) = struct.unpack("<I", stream.recv(4, socket.MSG_WAITALL))
                self.acknowledged.add(number)
                waiting = [n for n in waiting if n != number]

    def _send(self, stream: socket.socket, number: int) -> None:
        body = encode_block(message(number))
        stream.sendall(HEAD.pack(number, len(body)) + body)
        self.sent.add(number)


def message(number: int) -> Block:
    """Message `number`: readings of all meters at one time, or half a second of frames of all PMUs; values are made
    from device and time, so that anybody can tell what they should be."""
    if number % 2 == 0:
        device = np.arange(1, METERS + 1)
        time_ns = np.full(METERS, START_NS + number * NS_PER_S)
        columns, schema = METER_COLUMNS, Schema.METER
    else:
        device = np.tile(np.arange(101, 101 + PMUS), 5)
        time_ns = START_NS + np.repeat(number * 5 + np.arange(5), PMUS) * (NS_PER_S // 10)
        columns, schema = phasor_columns(2), Schema.PHASOR
    values = value(device, time_ns)[:, None] + np.arange(len(columns))
    return block_of(schema, columns, device, time_ns, values)


def value(device: np.ndarray, time_ns: np.ndarray) -> np.ndarray:
    """Exact in float32."""
    return (device * 1_000 + (time_ns // (NS_PER_S // 10)) % 997).astype(np.float64)


@contextmanager
def connected(path: Path) -> Iterator[socket.socket]:
    deadline = time.monotonic() + 20
    while True:
        stream = socket.socket(socket.AF_UNIX)
        try:
            stream.connect(str(path))
            break
        except (FileNotFoundError, ConnectionRefusedError):
            stream.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    stream.settimeout(20)
    with stream:
        yield stream


def start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "tests.smc.store.kill_store", *arguments], cwd=ROOT)


def run(url: str, bus_url: str, mode: str, kills: int) -> Verdict:
    """Kills at random moments, then send the rest and look."""
    sender = Sender()
    with tempfile.TemporaryDirectory(prefix="grid-smc-kill-") as folder:
        path = Path(folder) / "s"
        for turn in range(kills + 1):
            process = start(str(path), url, bus_url, mode)
            try:
                sender.until(path, sender.random.randint(*ACKS_BETWEEN_KILLS) if turn < kills else MESSAGES)
            finally:
                process.kill()
                process.wait(timeout=10)
            path.unlink()
    return judge(url, bus_url, sender)


def judge(url: str, bus_url: str, sender: Sender) -> Verdict:
    acknowledged, sent = rows_of(sender.acknowledged), rows_of(sender.sent)
    with transaction(url) as conn:
        _wait_for_orphans(conn)
        begin, end = to_datetime(START_NS - NS_PER_S), to_datetime(START_NS + 86_400 * NS_PER_S)
        stored: list[tuple[int, int, bool]] = []
        for device in range(1, METERS + 1):
            found = readings(conn, device, begin, end, 1_000_000)
            values = np.column_stack([found[name] for name in METER_COLUMNS])
            stored += as_rows(device, found["time_ns"], values)
        for device in range(101, 101 + PMUS):
            found = phasors(conn, device, begin, end, 1_000_000)
            if not len(found["time_ns"]):  # everything of it is lost, and counted so
                continue
            magnitude, angle = found["magnitude"], found["angle_rad"]
            values = np.column_stack([found["frequency_hz"], found["rocof_hz_per_s"], magnitude[:, :1], angle[:, :1]])
            stored += as_rows(device, found["time_ns"], values)
        conflicts = conn.execute(text("SELECT count(*) FROM reading_conflicts")).scalar_one()
    keys = [(device, time_ns) for device, time_ns, _ in stored]
    wrong = sum(not right for _, _, right in stored) + len(set(keys) - sent) + conflicts
    untold = acknowledged - rows_on(RedisBus(bus_url, SITE))
    return Verdict(len(acknowledged), len(acknowledged - set(keys)), len(untold), len(keys) - len(set(keys)), wrong)


def rows_on(bus: Bus) -> set[tuple[int, int]]:
    """What the next stage would see."""
    found: set[tuple[int, int]] = set()
    while deliveries := bus.receive("blocks", "detect", "detect", 100, 0):
        for block in (decode_block(d.body) for d in deliveries):
            found |= set(zip(block.device.tolist(), block.time_ns.tolist(), strict=True))
    return found


def _wait_for_orphans(conn: object) -> None:
    """A killed client's backend may still finish what it had received."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'killed' AND datname = current_database()"
    )
    deadline = time.monotonic() + 10
    while conn.execute(query).scalar_one():  # type: ignore[attr-defined]
        assert time.monotonic() < deadline, "a backend of a killed client did not end"
        time.sleep(0.05)


def rows_of(numbers: set[int]) -> set[tuple[int, int]]:
    return {
        (device, time_ns)
        for block in map(message, numbers)
        for device, time_ns in zip(block.device.tolist(), block.time_ns.tolist(), strict=True)
    }


def as_rows(device: int, time_ns: np.ndarray, values: np.ndarray) -> list[tuple[int, int, bool]]:
    expected = value(np.full(len(time_ns), device), time_ns)[:, None] + np.arange(values.shape[1])
    right = (values == expected).all(axis=1)
    return [(device, int(t), bool(r)) for t, r in zip(time_ns, right, strict=True)]


@timescale_in_the_long_run
@pytest.mark.timeout(60)
def test_five_kills_lose_nothing_acknowledged_and_double_nothing(database: str, valkey_url: str) -> None:
    verdict = run(database, valkey_url, "after", KILLS)
    assert verdict == Verdict(len(rows_of(set(range(MESSAGES)))), lost=0, untold=0, doubled=0, wrong=0)


@pytest.mark.timeout(60)
def test_acknowledging_before_the_commit_is_found_out(database: str, valkey_url: str) -> None:
    verdict = run(database, valkey_url, "before", KILLS_OF_CONTROL)
    assert verdict.lost > 0, "the control lost nothing: then the test above proves nothing"
