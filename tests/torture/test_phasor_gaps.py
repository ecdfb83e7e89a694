"""F1 for a protocol without an answer: frames are lost with the intake, and every one of them is counted."""

from __future__ import annotations

import pytest

from tests.torture.conftest import Fault, server_folder
from tests.torture.pmu import UNITS, GapCounter, NumberedPmu, judge_frames
from tests.torture.site import BUS, DATABASE, READING, Site, site

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto, pytest.mark.timeout(600)]

KILLS = 4
FEW_FRAMES = 100


def heard_again(made: Site, counter: GapCounter) -> None:
    """The intake that runs now has told what it misses, and goes on."""
    made.line.until(lambda: counter.heard() >= FEW_FRAMES, "frames heard and counted")


@pytest.mark.parametrize("ack", [DATABASE, BUS])
def test_lost_frames_are_counted(ack: str, fault: Fault) -> None:
    with NumberedPmu() as pmu, server_folder() as place:
        more = {"SMC_PMUS": f"127.0.0.1:{pmu.port}/60"}
        with site(place, ack, seed=8, stages=READING, more=more) as made:
            counter = GapCounter(made.line.store)
            for name in ["intake", "postmaster"] * (KILLS // 2):
                heard_again(made, counter)
                made.suffer(made.faults[name])
            heard_again(made, counter)
            meters = made.finish()
            counter.heard()
            frames = judge_frames(made.line.store, pmu)
    told = counter.missing * UNITS
    uncounted = abs(frames.missing - told)
    counted = f"{frames.stored} frames stored, {frames.missing} missing, {told} counted as missing"
    how = f"{KILLS} kills of intake and database during a C37.118.2 stream, acknowledged by the {ack}"
    fault("F1", how, counted, uncounted, frames.doubled + frames.wrong)
    assert frames.missing > 0, "nothing was lost: then nothing was tried"
    assert (uncounted, frames.doubled, frames.wrong) == (0, 0, 0)
    assert (meters.lost, meters.doubled, meters.wrong) == (0, 0, 0)
