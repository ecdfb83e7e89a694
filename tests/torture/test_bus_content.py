"""F11, F12: what no stage can read, and more than the bus can hold."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from host.valkey import Valkey
from model.block import encode_block
from smc.bus import RedisBus
from smc.store import health, quarantine
from tests.servers.brokers import Mosquitto
from tests.smc.gateway.kill_intake import Line, Load, Process, Verdict
from tests.smc.gateway.test_kill_intake import running
from tests.torture.centre import Centre, Outcome, centre, missing
from tests.torture.conftest import Fault, server_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

POISON = 300  # on each of three topics
SMALL_BYTES = 5 << 20
MESSAGES = 2_000
STALLED_S = 3.0


def poisoned(line: Centre) -> None:
    """Cut, scrambled and foreign bytes among the good blocks, and nothing readable on two more topics."""
    chance = random.Random(11)
    good = encode_block(line.blocks[0])
    for number in range(POISON):
        half = good[: chance.randrange(len(good))]
        line.publish([half, chance.randbytes(200), b"\0" * number, b'{"finding_id": 7}'][number % 4])
        line.publish(chance.randbytes(100) if number % 2 else b"{}", "findings")
        line.publish(b'{"incident_id": %d}' % number if number % 2 else b"[" * 5_000, "incidents")


def test_poison_on_every_topic(
    smc_embedded: str, valkey_url: str, tmp_path: Path, truth: Outcome, fault: Fault
) -> None:
    with centre(smc_embedded, valkey_url, tmp_path) as line:
        half = len(line.blocks) // 2
        line.feed({half: lambda: poisoned(line)})
        found = line.finish()
        with line.store.connect() as conn:
            kept = sum(quarantine.counts(conn).values())
    lost, extra = missing(truth, found)
    counted = f"{3 * POISON} poisoned messages dead-lettered; {len(truth.incidents)} incidents by key, as without"
    fault("F11", "unreadable messages on three topics between good ones", counted, lost + abs(kept - 3 * POISON), extra)
    assert found == truth
    assert kept == 3 * POISON
    assert (line.detect.ended, line.stages.ended) == (0, 0)


def stalled(line: Line) -> bool:
    """Whether messages are in hand and nothing is stored for a while."""
    before, end = line.stored(), time.monotonic() + STALLED_S
    while time.monotonic() < end:
        time.sleep(0.05)
        if line.stored() > before:
            return False
    return len(line.sender.acknowledged) > before


def test_a_full_bus_with_its_reader_stopped(
    smc_embedded: str, mosquitto: Mosquitto, tmp_path: Path, fault: Fault
) -> None:
    load = Load(MESSAGES, rows=40)
    with (
        server_folder() as folder,
        Valkey(folder, max_memory_bytes=SMALL_BYTES) as bus,
        running(Line(smc_embedded, bus.url, mosquitto, load, tmp_path, seed=12)) as line,
    ):
        line.until(lambda: stalled(line), "the bus full")
        line.intake.kill()
        line.until(lambda: stalled(line), "the bus still full: one more batch is stored, none is told")
        detect = Process(("app.py", "smc", "detect"), line.variables(), tmp_path / "detect.log")
        try:
            verdict = line.finish()
            left = RedisBus(bus.url, load.site)
            line.until(lambda: left.length("blocks") == 0, "all blocks read")
            heard = judged(line)
        finally:
            detect.stop()
    counted = f"{verdict.acknowledged} readings acknowledged to the sender: in the table, and judged"
    how = f"bus of {SMALL_BYTES >> 20} MB full, its reader stopped, the intake killed meanwhile"
    lost = verdict.lost + max(0, verdict.acknowledged - heard)
    fault("F12", how, counted, lost, verdict.doubled + verdict.wrong)
    assert verdict == Verdict(MESSAGES * load.rows, lost=0, doubled=0, wrong=0)
    assert heard >= verdict.acknowledged
    assert (detect.ended, line.intake.ended) == (0, 0)


def judged(line: Line) -> int:
    """Readings that detect has read; a message told twice counts twice."""
    deadline = time.monotonic() + 10
    before = -1.0
    while True:
        with line.store.connect() as conn:
            (told,) = [s.counters.get("readings", 0) for s in health.all_stages(conn) if s.stage == "detect"]
        if told == before or time.monotonic() > deadline:
            return int(told)
        before = told
        time.sleep(2.5)  # a heartbeat
