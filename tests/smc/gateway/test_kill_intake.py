"""kill -9 of the real intake process: what the broker took is stored, once, and told; and the test can tell if not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.brokers import Mosquitto
from tests.servers.databases import timescale_in_the_long_run
from tests.smc.gateway.kill_intake import Line, Load, Verdict, told

KILLS = 5
MESSAGES, MESSAGES_WITH_WORKERS = 900, 600


@contextmanager
def running(line: Line) -> Iterator[Line]:
    try:
        line.start()
        yield line
    finally:
        line.close()
        line.store.dispose()


def kill_often(line: Line, kills: int) -> Verdict:
    for _ in range(kills):
        line.after(10, 40)
        line.intake.kill()
    return line.finish()


@timescale_in_the_long_run
@pytest.mark.timeout(180)
def test_five_kills_lose_nothing_and_double_nothing(
    database: str, valkey_url: str, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    load = Load(MESSAGES)
    with running(Line(database, valkey_url, mosquitto, load, tmp_path)) as line:
        verdict = kill_often(line, KILLS)
    assert verdict == Verdict(MESSAGES * load.rows, lost=0, doubled=0, wrong=0)
    assert told(line)[0] == load.keys(set(range(MESSAGES))), "stored, but the next stage never hears of it"
    assert len(line.in_hand) == KILLS
    assert min(line.in_hand) > 0, "a kill hit an idle intake and proves nothing"
    assert (line.intake.starts, line.intake.ended) == (KILLS + 1, 0)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_kills_of_intake_and_worker_lose_nothing_and_double_nothing(
    smc_embedded: str, valkey_url: str, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """The broker is answered by the bus, two workers store: one of the three processes dies at each of five moments."""
    load = Load(MESSAGES_WITH_WORKERS)
    line = Line(smc_embedded, valkey_url, mosquitto, load, tmp_path, more={"SMC_ACK": "bus"})
    workers = [line.run(("app.py", "smc", "store"), f"store-{number}") for number in range(2)]
    with running(line):
        for victim in (line.intake, workers[0], workers[1], line.intake, workers[0]):
            line.after(10, 40)
            victim.kill()
        verdict = line.finish()
    assert verdict == Verdict(MESSAGES_WITH_WORKERS * load.rows, lost=0, doubled=0, wrong=0)
    assert told(line)[0] == load.keys(set(range(MESSAGES_WITH_WORKERS))), "stored, but the next stage never hears of it"
    assert min(line.in_hand) > 0, "a kill hit an idle line and proves nothing"
    assert [(process.starts, process.ended) for process in (line.intake, *workers)] == [(3, 0), (3, 0), (2, 0)]


@pytest.mark.timeout(180)
def test_answering_before_the_commit_is_found_out(
    smc_embedded: str, valkey_url: str, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    runner = ("-m", "tests.smc.gateway.hasty_intake")
    load = Load(MESSAGES)
    # What is lost never comes into the table: a sender that minds how far it is ahead of the table would stop for good.
    with running(Line(smc_embedded, valkey_url, mosquitto, load, tmp_path, runner, max_ahead=MESSAGES)) as line:
        verdict = kill_often(line, KILLS)
    assert verdict.lost > 0, "the control lost nothing: then the test above proves nothing"
