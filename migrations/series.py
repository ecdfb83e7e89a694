"""Series tables, split by day: a hypertable where TimescaleDB is at hand, else RANGE partitions of plain PostgreSQL.

The function `series_partition(series, day)` makes a day's partition where there is none; ingest calls it for the days
it meets, retention ahead of time. Hypertables make their chunks themselves: there it does nothing. On plain PostgreSQL
a default partition catches what has no partition yet; it should be empty.
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

PARTITION_MAKER = """
CREATE OR REPLACE FUNCTION series_partition(series text, day date) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    part  text := format('%s_%s', series, to_char(day, 'YYYYMMDD'));
    lower timestamptz := day::timestamp AT TIME ZONE 'UTC';
    upper timestamptz := (day + 1)::timestamp AT TIME ZONE 'UTC';
BEGIN
    IF to_regclass(part) IS NOT NULL THEN
        RETURN false;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('series_partition'), hashtext(series));
    -- Who made it while we waited is seen in the table itself only: to_regclass may answer from before the wait.
    IF EXISTS (SELECT FROM pg_class WHERE relname = part AND relnamespace = current_schema()::regnamespace) THEN
        RETURN false;
    END IF;
    -- ATTACH locks the parent weakly (SHARE UPDATE EXCLUSIVE); PARTITION OF would stop all readers and writers.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', part, series);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE time >= %L AND time < %L RETURNING *) '
                   'INSERT INTO %I SELECT * FROM moved', series || '_default', lower, upper, part);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', series, part, lower, upper);
    RETURN true;
END $$
"""

NO_PARTITIONS = """
CREATE FUNCTION series_partition(series text, day date) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT false'
"""


def prepare_edition() -> None:
    """Create the extension where it is available and preloaded, and the partition maker. Once per branch, first."""
    connection = op.get_bind()
    usable = connection.scalar(
        sa.text(
            # The loader's own setting exists where the library is preloaded; the list of preloaded libraries itself
            # is readable with a special right only.
            "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb') "
            "AND current_setting('timescaledb.disable_load', true) IS NOT NULL"
        )
    )
    if usable:
        op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    op.execute(NO_PARTITIONS if has_timescaledb() else PARTITION_MAKER)


def renew_partition_maker() -> None:
    """Give databases of before the partition maker as it is now; hypertables have none."""
    if not has_timescaledb():
        op.execute(PARTITION_MAKER)


def remove_edition() -> None:
    """Take back `prepare_edition`. The extension stays: it may have been there before, and others may use it."""
    op.execute("DROP FUNCTION series_partition(text, date)")


def has_timescaledb() -> bool:
    """Whether the extension exists in this database; the preloaded library alone does not count."""
    query = sa.text("SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')")
    return bool(op.get_bind().scalar(query))


def create_series(name: str, columns: str, key: Sequence[str]) -> None:
    """A table split by UTC day of its column `time`, unique by `key` (which contains `time`), with BRIN on `time`.

    `columns` is the inside of CREATE TABLE. BRIN serves questions about the whole fleet, the unique index those about
    one device; nothing else is indexed, because indexes are most of the cost of storing.
    """
    if "time" not in key:
        raise ValueError(f"key {key} of series {name} lacks 'time', by which the table is split")
    if has_timescaledb():
        op.execute(f"CREATE TABLE {name} ({columns})")
        op.execute(
            f"SELECT create_hypertable('{name}', by_range('time', INTERVAL '1 day'), create_default_indexes => false)"
        )
    else:
        op.execute(f"CREATE TABLE {name} ({columns}) PARTITION BY RANGE (time)")
        op.execute(f"CREATE TABLE {name}_default PARTITION OF {name} DEFAULT")
    op.execute(f"CREATE UNIQUE INDEX {name}_key ON {name} ({', '.join(key)})")
    op.execute(f"CREATE INDEX {name}_time ON {name} USING brin (time) WITH (pages_per_range = 32)")


def drop_series(name: str) -> None:
    """The table with all its partitions or chunks."""
    op.execute(f"DROP TABLE {name}")
