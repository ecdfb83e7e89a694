"""Stages that wait while the database is away: none ends, none forgets, and all go on by themselves."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import text

from host.postgres import Postgres
from norm.fleet import Fleet as Twins
from norm.scenario import parse_scenarios
from smc import act, decide, detect, federate, triage
from smc.bus import MemoryBus
from smc.store import decisions
from tests.analytics import streams
from tests.servers.databases import without_database
from tests.smc.stages.line import SITE, blocks_of, centre, enrol, publish, running, until

UNITS, SECONDS, AWAY_S = 6, 50, 2.0


def test_stages_outlast_the_database(
    smc_embedded: str, postgres_embedded: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    twins = Twins(5, SITE, UNITS, parse_scenarios("s01:2@25*0.6,s08:5@25*30", streams.START_NS, UNITS))
    context = centre(smc_embedded, MemoryBus(), tmp_path)
    blocks = blocks_of(twins, enrol(context, twins), SECONDS)

    def settled() -> bool:
        with context.engine.connect() as conn:
            cases = conn.execute(text("SELECT incident_id FROM incidents")).scalars().all()
            return len(cases) == 2 and all(decisions.of_incident(conn, case) for case in cases)

    with running(context, detect, triage, decide, act, federate):  # one that ends by an error fails the test
        publish(context.bus, blocks[: len(blocks) // 4])
        with without_database(postgres_embedded, smc_embedded):
            publish(context.bus, blocks[len(blocks) // 4 :])
            time.sleep(AWAY_S)
        until(settled, "two incidents with a playbook each")
        until(lambda: not any(context.bus.length(topic) for topic in ("findings", "incidents")), "all is read")
    said = capsys.readouterr().out
    for stage in ("detect", "triage", "decide", "act"):
        assert f"{stage}.database_away" in said
    context.engine.dispose()


def test_a_stage_can_be_told_to_end_while_the_database_is_away(
    smc_embedded: str, postgres_embedded: Postgres, tmp_path: Path
) -> None:
    context = centre(smc_embedded, MemoryBus(), tmp_path)
    with ExitStack() as database, running(context, detect, triage, decide, act):
        time.sleep(0.5)
        database.enter_context(without_database(postgres_embedded, smc_embedded))
        time.sleep(3.0)  # longer than between two heartbeats: all have met it
    context.engine.dispose()
