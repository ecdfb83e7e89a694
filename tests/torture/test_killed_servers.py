"""F2, F3: database and bus killed and stopped under load; nobody restarts the intake, it waits by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from host.postgres import Postgres
from host.valkey import Valkey
from tests.servers.brokers import Mosquitto
from tests.smc.gateway.kill_intake import Line, Load, Verdict, told
from tests.smc.gateway.test_kill_intake import running
from tests.torture.centre import Outcome, centre, missing, moments
from tests.torture.conftest import Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MESSAGES = 2_000
AWAY_S = 3.0
RESUMED_S = 10.0


def kill(server: Postgres | Valkey) -> None:
    """kill -9, away for some seconds, started again."""
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    time.sleep(AWAY_S)
    server.start()


def stop(server: Postgres | Valkey) -> None:
    """Stopped in order, away for some seconds, started again."""
    server.stop()
    time.sleep(AWAY_S)
    server.start()


def stored(line: Line, messages: int) -> bool:
    return line.stored() >= messages


def under_load(line: Line, faults: list[Callable[[], None]]) -> tuple[Verdict, float]:
    """Each fault while messages are in hand; returns the longest time from its end to the next stored message."""
    slowest_s = 0.0
    for fault in faults:
        line.after(10, 80)
        next_message = line.sender.stored + 1
        fault()
        since = time.monotonic()
        line.until(partial(stored, line, next_message), "stored again")
        slowest_s = max(slowest_s, time.monotonic() - since)
    return line.finish(), slowest_s


def test_the_database_killed_and_stopped(
    own_postgres: Postgres, own_database: str, valkey_url: str, mosquitto: Mosquitto, tmp_path: Path, fault: Fault
) -> None:
    load = Load(MESSAGES)
    faults = [lambda: kill(own_postgres), lambda: stop(own_postgres), lambda: kill(own_postgres)]
    with running(Line(own_database, valkey_url, mosquitto, load, tmp_path, seed=2)) as line:
        verdict, resumed_s = under_load(line, faults)
    counted = f"{verdict.acknowledged} readings acknowledged to the sender; storing goes on within {RESUMED_S:.0f} s"
    how = f"postmaster killed (-9) twice and stopped once, {AWAY_S:.0f} s each, during intake"
    fault("F2", how, counted, verdict.lost, verdict.doubled + verdict.wrong)
    assert verdict == Verdict(MESSAGES * load.rows, lost=0, doubled=0, wrong=0)
    assert line.intake.ended == 0, "the intake did not wait, it ended"
    assert resumed_s < RESUMED_S


def test_the_bus_killed_under_the_intake(
    smc_embedded: str, own_valkey: Valkey, mosquitto: Mosquitto, tmp_path: Path, fault: Fault
) -> None:
    load = Load(MESSAGES)
    with running(Line(smc_embedded, own_valkey.url, mosquitto, load, tmp_path, seed=3)) as line:
        verdict, resumed_s = under_load(line, [lambda: kill(own_valkey)] * 3)
        heard, _ = told(line)
    lost = verdict.lost + len(load.keys(set(range(MESSAGES))) - heard)
    counted = f"{verdict.acknowledged} readings acknowledged to the sender: in the table and on the bus"
    how = f"bus killed (-9) 3 times, {AWAY_S:.0f} s each, during intake"
    fault("F3", how, counted, lost, verdict.doubled + verdict.wrong)
    assert verdict == Verdict(MESSAGES * load.rows, lost=0, doubled=0, wrong=0)
    assert lost == 0
    assert line.intake.ended == 0
    assert resumed_s < RESUMED_S


def test_the_bus_killed_under_detect_and_stages(
    smc_embedded: str, own_valkey: Valkey, tmp_path: Path, truth: Outcome, fault: Fault
) -> None:
    with centre(smc_embedded, own_valkey.url, tmp_path) as line:
        line.feed({place: lambda: kill(own_valkey) for place in moments(3, line.blocks, seed=3)})
        found = line.finish()
    lost, extra = missing(truth, found)
    counted = f"{len(truth.findings)} findings and {len(truth.incidents)} incidents by key, as without faults"
    fault("F3", f"bus killed (-9) 3 times, {AWAY_S:.0f} s each, during detect and stages", counted, lost, extra)
    assert found == truth
    assert (line.detect.ended, line.stages.ended) == (0, 0)
