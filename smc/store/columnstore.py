"""Closed chunks in TimescaleDB's columnstore: smaller, and quicker to read over long times. TSL edition only.

Asked for by a setting and off by default, because no build of that edition can be had for our tests. What is tested:
other editions are sent nothing of it, and TimescaleDB knows each statement and refuses it for its licence alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, text

from smc.store.edition import Edition, detect

AFTER = "8 days"  # the longest chunks are 7 days
_SEGMENTS = {"phasors": "device_id, channel"}  # every column of a unique key must be in the segments or the order
_PENDING = text(
    "SELECT hypertable_name FROM timescaledb_information.hypertables "
    "WHERE hypertable_name = ANY (:series) AND NOT compression_enabled"
)


def enable(conn: Connection, series: Sequence[str]) -> int:
    """Let TimescaleDB convert the closed chunks of these series from now on; how many series are new to it."""
    if detect(conn) is not Edition.TIMESCALE:
        return 0
    pending = list(conn.scalars(_PENDING, {"series": list(series)}))
    for name in pending:
        for statement in statements(name):
            conn.exec_driver_sql(statement)
    return len(pending)


def statements(series: str) -> tuple[str, str]:
    """What a series is told."""
    segments = _SEGMENTS.get(series, "device_id")
    return (
        f"ALTER TABLE {series} SET (timescaledb.enable_columnstore, "
        f"timescaledb.segmentby = '{segments}', timescaledb.orderby = 'time')",
        f"CALL add_columnstore_policy('{series}', after => INTERVAL '{AFTER}', if_not_exists => true)",
    )
