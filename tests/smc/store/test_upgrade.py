"""The schema goes back and forth while readings come in and the house is kept: nothing is lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from commands.centres import migrate_centre
from host.database import heads
from model.errors import SetupError
from smc import keep
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.store import holds
from smc.store.partitions import Span
from tests.smc.stages.line import centre, running, until
from tests.smc.store.blocks import transaction
from tests.smc.store.steady import load, lost_doubled_wrong

BEFORE_KEEPING = "smc_0002"


@pytest.fixture
def context(database: str, tmp_path: Path) -> Iterator[StageContext]:
    made = centre(database, MemoryBus(), tmp_path)
    yield made
    made.engine.dispose()


@pytest.mark.slow
def test_an_upgrade_under_load_and_back_loses_nothing(
    context: StageContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keep, "RETRY_S", 0.5)
    url = context.settings.database_url
    with running(context, keep), load(url, tmp_path) as going:
        going.more(5)
        migrate_centre("smc", {"DATABASE_URL": url}, BEFORE_KEEPING)
        before = going.restarts
        until(lambda: going.restarts > before, "the program misses its schema")
        migrate_centre("smc", {"DATABASE_URL": url})
        going.more(5)
        until(lambda: rounds(url), "the house is kept again")
    with transaction(url) as conn:
        assert set(conn.scalars(text("SELECT version_num FROM alembic_version"))) == heads("smc")
    assert lost_doubled_wrong(url, going.acknowledged) == (0, 0, 0)


def test_a_revision_that_is_none_is_named(smc_embedded: str) -> None:
    with pytest.raises(SetupError, match="smc_9999"):
        migrate_centre("smc", {"DATABASE_URL": smc_embedded}, "smc_9999")


def test_no_step_back_forgets_an_open_hold(smc_embedded: str) -> None:
    with transaction(smc_embedded) as conn:
        everything = Span(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
        holds.open_hold(conn, "counsel", datetime.now(UTC), "case 7", everything)
    with pytest.raises(DBAPIError, match="legal holds are open"):
        migrate_centre("smc", {"DATABASE_URL": smc_embedded}, BEFORE_KEEPING)
    with transaction(smc_embedded) as conn:
        assert set(conn.scalars(text("SELECT version_num FROM alembic_version"))) == heads("smc"), "all or nothing"


def rounds(url: str) -> int:
    with transaction(url) as conn:
        return int(conn.execute(text("SELECT count(*) FROM keep_rounds")).scalar_one())


def test_what_was_lost_doubled_or_changed_is_found(smc_embedded: str, tmp_path: Path) -> None:
    with load(smc_embedded, tmp_path) as going:
        going.more(3)
    assert lost_doubled_wrong(smc_embedded, going.acknowledged) == (0, 0, 0)
    with transaction(smc_embedded) as conn:
        conn.execute(text("DELETE FROM meter_readings WHERE device_id = 3 AND power_w = 1"))
        conn.execute(text("UPDATE meter_readings SET power_w = 7 WHERE device_id = 4 AND power_w = 1"))
        conn.execute(text("DROP INDEX meter_readings_key"))
        conn.execute(
            text("INSERT INTO meter_readings SELECT * FROM meter_readings WHERE device_id = 5 AND power_w = 1")
        )
    assert lost_doubled_wrong(smc_embedded, going.acknowledged) == (1, 1, 1)
