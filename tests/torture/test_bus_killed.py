"""F3 where the bus is the durable point: killed while something acknowledged is nowhere else; short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from host.postgres import Postgres
from host.valkey import Valkey
from tests.servers.brokers import Broker
from tests.torture.conftest import server_folder
from tests.torture.site import BUS, CARELESS, INTAKE, UNLIMITED, Site

pytestmark = [pytest.mark.mosquitto, pytest.mark.valkey, pytest.mark.timeout(180)]

KILLS = 2


@contextmanager
def site_with(
    url: str, server: Postgres, logs: Path, options: Mapping[str, str], intake: Sequence[str] = INTAKE
) -> Iterator[Site]:
    """A site on a database of the session, with a bus of its own."""
    with (
        server_folder() as place,
        Valkey(place, options=options) as bus,
        Broker(logs, limits=UNLIMITED) as broker,
        Site(url, server, bus, broker, logs, BUS, seed=31, intake=intake, stages=()) as made,
    ):
        yield made


def test_what_only_the_bus_holds_survives_its_kill(
    smc_embedded: str, postgres_embedded: Postgres, tmp_path: Path
) -> None:
    with site_with(smc_embedded, postgres_embedded, tmp_path, {}) as made:
        for _ in range(KILLS):
            made.suffer(made.kill_bus)
        verdict = made.finish()
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (0, 0, 0)
    assert [process.ended for process in made.line.processes] == [0, 0, 0]


@pytest.mark.slow
def test_a_bus_without_its_file_is_found_out(smc_embedded: str, postgres_embedded: Postgres, tmp_path: Path) -> None:
    with site_with(smc_embedded, postgres_embedded, tmp_path, {"appendonly": "no"}, CARELESS) as made:
        made.suffer(made.kill_bus)
        verdict = made.finish()
    assert verdict.lost > 0, "the control lost nothing: then the test above proves nothing"
