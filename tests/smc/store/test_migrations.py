"""The same migrations on both editions: up, down, up; what the tables promise by themselves."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from host.database import downgrade, migrate
from smc.store.edition import Edition, detect
from smc.store.series import SERIES
from tests.smc.store.blocks import transaction

BRANCHES = ("smc", "esmc")


def objects(conn: Connection) -> set[tuple[str, str]]:
    """Tables, columns, functions and triggers of our own, without partitions, chunks and what the extension brings."""
    found = conn.execute(
        text("""
        SELECT 'column', format('%s.%s %s %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
        UNION ALL
        SELECT 'unique', pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND NOT c.relispartition
        UNION ALL
        SELECT 'function', proname::text FROM pg_proc p WHERE pronamespace = 'public'::regnamespace
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
        UNION ALL
        SELECT 'trigger', tgname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT tgisinternal AND tgname NOT LIKE 'ts_%'
        """)
    )
    return {(kind, str(name).replace("ON ONLY", "ON")) for kind, name in found if "alembic_version" not in name}


@pytest.mark.parametrize("branch", BRANCHES)
def test_up_down_up_is_clean(empty_database: str, branch: str) -> None:
    with transaction(empty_database) as conn:
        assert objects(conn) == set()
    migrate(empty_database, branch)
    with transaction(empty_database) as conn:
        first = objects(conn)
    assert len(first) > 50
    downgrade(empty_database, branch)
    with transaction(empty_database) as conn:
        assert objects(conn) == set()
    migrate(empty_database, branch)
    with transaction(empty_database) as conn:
        assert objects(conn) == first


@pytest.mark.parametrize("branch", BRANCHES)
def test_migrating_a_migrated_database_changes_nothing(empty_database: str, branch: str) -> None:
    migrate(empty_database, branch)
    with transaction(empty_database) as conn:
        before = objects(conn)
    migrate(empty_database, branch)
    with transaction(empty_database) as conn:
        assert objects(conn) == before


def test_both_editions_have_the_same_tables(request: pytest.FixtureRequest) -> None:
    servers = [request.getfixturevalue("postgres_embedded"), request.getfixturevalue("postgres_timescale")]
    found = []
    for server in servers:
        name = "same_tables"
        url = server.create_database(name)
        migrate(url, "smc")
        with transaction(url) as conn:
            found.append(objects(conn))
        server.drop_database(name)
    assert found[0] == found[1]


def test_the_edition_is_told_and_series_are_split_by_its_means(database: str, edition: str) -> None:
    with transaction(database) as conn:
        found = detect(conn)
        assert found is (Edition.PLAIN if edition == "embedded" else Edition.APACHE)
        if found.has_hypertables:
            query = "SELECT hypertable_name FROM timescaledb_information.hypertables"
        else:
            query = "SELECT relname FROM pg_class WHERE relkind = 'p' AND relnamespace = 'public'::regnamespace"
        assert set(conn.scalars(text(query))) == {series.name for series in SERIES}, "keep house knows every one"


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"])
def test_the_audit_refuses_change(database: str, statement: str) -> None:
    with transaction(database) as conn:
        conn.execute(text("INSERT INTO audit VALUES (1, now(), 'a', 'b', 'c', '{}', '', '')"))
    with pytest.raises(DBAPIError, match="audit is append-only"), transaction(database) as conn:
        conn.execute(text(statement))


def test_the_history_of_an_incident_refuses_change(database: str) -> None:
    with pytest.raises(DBAPIError, match="incident_history is append-only"), transaction(database) as conn:
        conn.execute(text("TRUNCATE incident_history"))


def test_a_day_that_was_made_late_takes_the_strays_of_the_default_partition(database: str) -> None:
    with transaction(database) as conn:
        if detect(conn).has_hypertables:
            pytest.skip("hypertables have no default partition")
        row = "INSERT INTO phasors VALUES (1, 0, :time, '{1}', NULL)"
        for hour in (0, 23):
            conn.execute(text(row), {"time": dt.datetime(2020, 2, 29, hour, tzinfo=dt.UTC)})
        conn.execute(text(row), {"time": dt.datetime(2020, 3, 1, tzinfo=dt.UTC)})
        where = text("SELECT tableoid::regclass::text, count(*) FROM phasors GROUP BY 1 ORDER BY 1")
        assert [tuple(r) for r in conn.execute(where)] == [("phasors_default", 3)]
        make = text("SELECT series_partition('phasors', DATE '2020-02-29')")
        assert conn.scalar(make) is True
        assert conn.scalar(make) is False
        assert [tuple(r) for r in conn.execute(where)] == [("phasors_20200229", 2), ("phasors_default", 1)]
