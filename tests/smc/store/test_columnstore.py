"""The columnstore is asked of nobody who has none; TimescaleDB knows what would be asked."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import NotSupportedError

from host.postgres import Postgres
from smc.store import columnstore, edition
from smc.store.edition import Edition
from smc.store.series import SERIES
from tests.smc.store.blocks import transaction

NAMES = [series.name for series in SERIES]


def test_other_editions_are_sent_nothing_of_it(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    with transaction(database) as conn:
        event.listen(conn, "before_cursor_execute", lambda _c, _cursor, statement, *_: sent.append(statement))
        assert columnstore.enable(conn, NAMES) == 0
        assert len(sent) == 1, "which edition it is"
        assert "columnstore" not in sent[0]
        # And that this would see it, if the edition were mistaken for the other one.
        apache = edition.detect(conn) is Edition.APACHE
        monkeypatch.setattr(columnstore, "detect", lambda _: Edition.TIMESCALE)
        with pytest.raises(Exception, match="license" if apache else "timescaledb_information"), conn.begin_nested():
            columnstore.enable(conn, NAMES)


@pytest.fixture
def apache(postgres_timescale: Postgres, request: pytest.FixtureRequest) -> Any:
    url = postgres_timescale.create_database("columnstore")
    with transaction(url) as conn:
        conn.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
        conn.execute(text("CREATE TABLE phasors (device_id integer, channel smallint, time timestamptz)"))
        conn.execute(text("SELECT create_hypertable('phasors', by_range('time'))"))
    yield url
    postgres_timescale.drop_database("columnstore")


@pytest.mark.parametrize("number", [0, 1])
def test_timescaledb_knows_each_statement_and_refuses_it_for_its_licence(apache: str, number: int) -> None:
    statement = columnstore.statements("phasors")[number]
    with transaction(apache) as conn:
        with pytest.raises(NotSupportedError, match="license"), conn.begin_nested():
            conn.exec_driver_sql(statement)
        with pytest.raises(Exception, match=r"unrecognized|does not exist"), conn.begin_nested():
            conn.exec_driver_sql(statement.replace("columnstore", "columnstor"))
