"""How long a chunk of a hypertable should be: so that the indexes being written stay in memory.

Every new row touches a random page of its chunk's unique index. While the indexes of all open chunks fit into a quarter
of `shared_buffers`, that page is in memory; beyond it each batch reads and writes half the index. Longer chunks are
fewer, which makes planning cheap, so the longest that fits is taken. It holds for chunks that are made from then on.

Partitions of plain PostgreSQL stay days: `series_partition` names them by their day, ingest makes those it meets, and
a query of plain PostgreSQL locks every partition it cannot rule out, so that shorter ones cost more than they save.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from smc.store.edition import detect

INTERVALS_H = (6, 24, 168)
SHARE = 0.25  # of shared_buffers

_INDEX_BYTES_PER_H = text("""
SELECT sum(per_hour) FROM (
    SELECT max(pg_indexes_size(format('%I.%I', chunk_schema, chunk_name)::regclass)
               / (extract(epoch FROM range_end - range_start) / 3600)) AS per_hour
    FROM timescaledb_information.chunks
    WHERE hypertable_name = ANY (:series) AND range_end <= :now AND range_end > :now - INTERVAL '8 days'
    GROUP BY hypertable_name
) AS each
""")
_SHARED_BUFFERS = text("SELECT pg_size_bytes(current_setting('shared_buffers'))")
_SET = text(
    "SELECT set_chunk_time_interval(CAST(hypertable_name AS regclass), make_interval(hours => :hours)) "
    "FROM timescaledb_information.dimensions "
    "WHERE hypertable_name = ANY (:series) AND time_interval <> make_interval(hours => :hours)"
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The length of chunks, and whether the indexes being written then fit into their share of memory."""

    hours: int
    fits: bool


def layout(index_bytes_per_h: float, shared_buffers_bytes: int) -> Layout:
    """The longest of INTERVALS_H whose indexes fit into SHARE of memory; the shortest where none does.

    >>> layout(index_bytes_per_h=100 * 3600 * 30, shared_buffers_bytes=3 << 30)  # 100 rows/s, 30 bytes each
    Layout(hours=24, fits=True)
    """
    room_bytes = SHARE * shared_buffers_bytes
    fitting = [hours for hours in INTERVALS_H if index_bytes_per_h * hours <= room_bytes]
    return Layout(max(fitting, default=INTERVALS_H[0]), bool(fitting))


def adapt(conn: Connection, series: Sequence[str], now: datetime) -> Layout | None:
    """Set the length of future chunks by the indexes of those that closed lately. None where nothing can be said."""
    if not detect(conn).has_hypertables:
        return None
    measured = conn.scalar(_INDEX_BYTES_PER_H, {"series": list(series), "now": now})
    if measured is None:
        return None
    found = layout(float(measured), int(conn.scalar(_SHARED_BUFFERS) or 0))
    conn.execute(_SET, {"series": list(series), "hours": found.hours})
    return found
