"""F23: the mistakes that lose or double readings, each put in on purpose; the judge of the other tests must see it."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from tests.smc.gateway.kill_intake import judge
from tests.torture.conftest import Fault, server_folder
from tests.torture.site import BUS, CARELESS, DATABASE, READING, site

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto, pytest.mark.timeout(300)]

KILLS = 3
MESSAGES = 50
SPOILED = text("""
UPDATE meter_readings SET power_w = power_w + 1
WHERE (device_id, time) = (SELECT device_id, min(time) FROM meter_readings GROUP BY 1 ORDER BY 1 LIMIT 1)
""")


def test_no_unique_key(fault: Fault) -> None:
    with server_folder() as place, site(place, DATABASE, seed=21, stages=READING) as made:
        with made.line.store.begin() as conn:
            conn.execute(text("DROP INDEX meter_readings_key"))
        for _ in range(KILLS):  # what is doubled is in nobody's hand, so only count on
            goal = made.line.stored() + MESSAGES
            made.line.until(lambda goal=goal: made.line.stored() >= goal, "some messages stored")
            made.line.intake.kill()
        verdict = made.finish()
        with made.line.store.begin() as conn:
            conn.execute(SPOILED)
        spoiled = judge(made.line)
    how = f"control: no unique key on the readings, {KILLS} kills of the intake"
    fault("F23", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled, control=True)
    assert verdict.doubled > 0
    assert (verdict.wrong, spoiled.wrong > 0) == (0, True), "the judge does not look at the values"


def test_a_gateway_that_answers_before_it_writes(fault: Fault) -> None:
    runner = ("-m", "tests.smc.gateway.hasty_intake")
    with server_folder() as place, site(place, DATABASE, seed=22, stages=READING, intake=runner) as made:
        for _ in range(KILLS):
            made.suffer(made.kill_storing)
        verdict = made.finish()
    how = f"control: an intake that answers before it writes, {KILLS} kills of it amid storing"
    fault("F23", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled, control=True)
    assert verdict.lost > 0


def test_a_worker_that_acknowledges_before_it_commits(fault: Fault) -> None:
    runner = ("-m", "tests.torture.hasty_store")
    with server_folder() as place, site(place, BUS, seed=23, stages=READING, store=runner) as made:
        for _ in range(KILLS):
            made.suffer(made.kill_storing)
        verdict = made.finish()
    how = f"control: store workers that acknowledge before they commit, {KILLS} kills of both amid storing"
    fault("F23", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled, control=True)
    assert verdict.lost > 0


def test_a_bus_without_its_file(fault: Fault) -> None:
    without = {"options": {"appendonly": "no"}}
    with server_folder() as place, site(place, BUS, seed=24, stages=READING, intake=CARELESS, bus=without) as made:
        for _ in range(KILLS):
            made.suffer(made.kill_bus)
        verdict = made.finish()
    how = f"control: a bus without its append-only file, {KILLS} kills of it"
    fault("F23", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled, control=True)
    assert verdict.lost > 0


def test_a_broker_that_is_killed(fault: Fault) -> None:
    """Not ours to prevent, but to know: Mosquitto answers a publisher before it has written anything down."""
    with server_folder() as place, site(place, DATABASE, seed=25, stages=READING) as made:
        for _ in range(KILLS):
            made.suffer(made.kill_broker)
        verdict = made.finish()
    how = f"control: kill -9 of Mosquitto with its persistence on, {KILLS} times"
    fault("F23", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled, control=True)
    assert verdict.lost > 0
