"""F1: kill -9 of every process of the line, over and over."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from model.block import Block
from tests.servers.brokers import Mosquitto
from tests.smc.gateway.kill_intake import Line, Load, Verdict, told
from tests.smc.gateway.test_kill_intake import kill_often, running
from tests.torture.centre import Centre, Outcome, centre, missing, moments
from tests.torture.conftest import Fault

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KILLS = 20
MESSAGES = 3_000
READINGS = "readings acknowledged to the sender"


def test_the_intake_killed_twenty_times(
    smc_embedded: str, valkey_url: str, mosquitto: Mosquitto, tmp_path: Path, fault: Fault
) -> None:
    load = Load(MESSAGES)
    with running(Line(smc_embedded, valkey_url, mosquitto, load, tmp_path, seed=20)) as line:
        verdict = kill_often(line, KILLS)
    heard, _ = told(line)
    counted = f"{verdict.acknowledged} {READINGS}: in the table, once, with their values, and on the bus"
    lost = verdict.lost + len(load.keys(set(range(MESSAGES))) - heard)
    fault("F1", f"kill -9 of the intake, {KILLS} times", counted, lost, verdict.doubled + verdict.wrong)
    assert verdict == Verdict(MESSAGES * load.rows, lost=0, doubled=0, wrong=0)
    assert lost == 0
    assert min(line.in_hand) > 0
    assert line.intake.ended == 0


def test_detect_and_stages_killed(
    smc_embedded: str, valkey_url: str, tmp_path: Path, truth: Outcome, fault: Fault
) -> None:
    with centre(smc_embedded, valkey_url, tmp_path) as line:
        places = moments(12, line.blocks, seed=1)
        order = random.Random(2).sample([line.detect, line.stages] * 6, 12)
        line.feed({place: process.kill for place, process in zip(places, order, strict=True)})
        found = line.finish()
    lost, extra = missing(truth, found)
    counted = f"{len(truth.findings)} findings and {len(truth.incidents)} incidents by key, as without faults"
    fault("F1", "kill -9 of detect and of the stages, 6 times each, between and during blocks", counted, lost, extra)
    assert found == truth
    assert (line.detect.ended, line.stages.ended) == (0, 0)


def test_blocks_left_out_are_found_out(
    smc_embedded: str, valkey_url: str, tmp_path: Path, truth: Outcome, fault: Fault
) -> None:
    """What a consumer that acknowledges before its work would lose: some blocks around each kill."""
    with centre(smc_embedded, valkey_url, tmp_path) as line:
        line.blocks = without_attacks(line)
        line.feed({})
        found = line.finish()
    lost, extra = missing(truth, found)
    how = "control: the blocks between second 25 and 60 never reach detect"
    fault("F1", how, f"{len(truth.findings)} findings and {len(truth.incidents)} incidents by key", lost, extra, True)
    assert lost > 0


def without_attacks(line: Centre) -> list[Block]:
    start_ns = int(line.blocks[0].time_ns.min())
    return [b for b in line.blocks if not 25 <= (int(b.time_ns.min()) - start_ns) / 1e9 < 60]
