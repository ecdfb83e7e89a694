"""A real recording through replay and detect: its idle PMUs are flagged, with their wrapped frequency told."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from model.device import Provenance
from smc import detect
from smc.bus import MemoryBus
from smc.gateway.replay import replay_files
from smc.store import devices, findings
from tests.smc.stages.line import centre, running, until

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("SMC_TEST_DATA", ROOT.parent / "shared" / "data"))
FOUR = DATA / "captures" / "c37.118" / "C37.118_4in1PMU_TCP.pcap"


@pytest.mark.skipif(not FOUR.is_file(), reason=f"no recording at {FOUR}")
@pytest.mark.parametrize("shift_to_now", [False, True])
def test_idle_pmus_of_a_real_recording_are_flagged(database: str, tmp_path: Path, shift_to_now: bool) -> None:
    context = centre(database, MemoryBus(), tmp_path)
    replay_files([FOUR], context, speed=1000.0, shift_to_now=shift_to_now, loop=False, stop=threading.Event())
    with running(context, detect):
        until(lambda: context.bus.length("blocks") == 0, "blocks read")
    with context.engine.connect() as conn:
        found = findings.recent(conn)
        names = {device.index: device.name for device in devices.all_devices(conn)}
    idle = {names[f.devices[0]]: f for f in found if "is idle" in f.title}
    assert {name.split(":")[-1] for name in idle} == {"PMU2", "PMU3", "PMU4"}
    for finding in idle.values():
        assert "65.536 Hz" in finding.explanation
        assert "wrapped -50 Hz" in finding.explanation
        assert finding.provenance is Provenance.REPLAYED
    others = [(f.title, f.explanation) for f in found if "is idle" not in f.title]
    assert others == []
