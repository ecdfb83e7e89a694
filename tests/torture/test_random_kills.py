"""F1, F2, F3: random kills of everything there is, in both acknowledgement points, on all servers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.torture.conftest import Fault, server_folder
from tests.torture.editions import NAMES, bus_options, database_options
from tests.torture.site import BUS, DATABASE, RESUMED_S, drawn, site
from tests.torture.undisturbed import incidents, undisturbed

KILLS = 10
BROKER = "broker"  # restarted in order once, never killed: Mosquitto answers before it writes
# Each acknowledgement point meets each server, and each database each bus.
COMBINATIONS = [
    pytest.param(1, DATABASE, "embedded", "valkey", marks=[pytest.mark.embedded, pytest.mark.valkey]),
    pytest.param(2, DATABASE, "timescale", "redis", marks=[pytest.mark.timescale, pytest.mark.redis]),
    pytest.param(3, BUS, "embedded", "redis", marks=[pytest.mark.embedded, pytest.mark.redis]),
    pytest.param(4, BUS, "timescale", "valkey", marks=[pytest.mark.timescale, pytest.mark.valkey]),
]


@pytest.mark.slow
@pytest.mark.mosquitto
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("seed", "ack", "edition", "kind"), COMBINATIONS)
def test_random_kills(seed: int, ack: str, edition: str, kind: str, tmp_path: Path, fault: Fault) -> None:
    with (
        server_folder() as place,
        site(place, ack, seed, database=database_options(edition), bus=bus_options(kind)) as made,
    ):
        names = drawn([name for name in made.faults if name != BROKER], KILLS, made.chance)
        names.insert(made.chance.randrange(KILLS + 1), BROKER)
        for name in names:
            made.suffer(made.faults[name])
        made.settle()
        verdict = made.finish()
        found = incidents(made.line.store)
        truth = undisturbed(made.database, made.line.load, max(made.line.sender.acknowledged) + 1, tmp_path)
    hit = ", ".join(f"{name} {count}" for name, count in sorted(Counter(names).items()))
    where = f"acknowledged by the {ack}, {NAMES[edition]}, {NAMES[kind]}"
    how = f"{KILLS} random kills and a restart of the broker under load, {where}: {hit}"
    counted = f"{verdict.acknowledged} readings acknowledged to the sender; {len(truth)} incidents by key, as without"
    lost, extra = verdict.lost + len(truth - found), verdict.doubled + verdict.wrong + len(found - truth)
    fault("F1", how, counted, lost, extra)
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (0, 0, 0)
    assert found == truth
    assert truth, "a load without incidents proves less"
    assert min(made.line.in_hand) > 0, "a fault hit an idle site and proves nothing"
    assert made.line.intake.ends == [], "the intake did not wait, it ended"
    assert made.slowest_s < RESUMED_S
