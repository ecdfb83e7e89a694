"""Meter readings into their series: COPY directly; a batch with known readings goes through a staging table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from psycopg.errors import UniqueViolation
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from model.block import METER_COLUMNS, Block
from model.time import to_datetime
from smc.store.copy import Batch, Column, PgType, copy_batches
from smc.store.latest import PROVENANCES

ENERGY = frozenset({"energy_import_wh", "energy_export_wh"})  # registers count up for years: float8, the rest real
SENT_QUALITY = 0x00FF_FFFF  # bits that the sender sets; ours depend on when we received


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a block's rows: `duplicate` was known with the same content, `conflicting` with another one."""

    rows_new: int
    rows_duplicate: int
    rows_conflicting: int


_CREATE_STAGING = text(
    "CREATE TEMP TABLE IF NOT EXISTS staging_meter_readings (n integer, LIKE meter_readings) ON COMMIT DELETE ROWS"
)
_ALL = ", ".join(
    ("device_id", "time", "received", "time_error_ns", "sequence", "quality", "provenance", *METER_COLUMNS)
)
_VALUES = {side: ", ".join(f"{side}.{name}" for name in METER_COLUMNS) for side in ("r", "s")}
# ORDER BY n: of two contents for one key inside a batch, the first wins.
_INSERT_NEW = text(  # own names only, no value is put into the text
    f"INSERT INTO meter_readings ({_ALL}) SELECT {_ALL} FROM staging_meter_readings ORDER BY n "  # noqa: S608
    "ON CONFLICT DO NOTHING"
)
_KEEP_CONFLICTS = text(
    f"""
WITH differing AS (
    SELECT s.device_id, s.time, s.received, ARRAY[{_VALUES["r"]}]::float8[] AS stored,
           ARRAY[{_VALUES["s"]}]::float8[] AS offered, r.quality AS stored_quality, s.quality AS offered_quality,
           r.sequence AS stored_sequence, s.sequence AS offered_sequence
    FROM staging_meter_readings s
    JOIN meter_readings r ON r.device_id = s.device_id AND r.time = s.time AND r.time BETWEEN :first AND :last
    WHERE ({_VALUES["r"]}, r.quality & :sent) IS DISTINCT FROM ({_VALUES["s"]}, s.quality & :sent)
), kept AS (
    INSERT INTO reading_conflicts (device_id, time, received, columns, stored, offered, stored_quality, offered_quality,
                                   stored_sequence, offered_sequence, digest)
    SELECT device_id, time, received, :columns, stored, offered, stored_quality, offered_quality, stored_sequence,
           offered_sequence, sha256(array_send(offered) || int8send(offered_quality & :sent))
    FROM differing ON CONFLICT DO NOTHING
)
SELECT count(*) FROM differing
"""  # noqa: S608
)


def store(conn: Connection, block: Block) -> Stored:
    """Store a METER block that is sorted by device and time and has all METER_COLUMNS."""
    batch = batch_of(block)
    try:
        with conn.begin_nested():
            copy_batches(conn, "meter_readings", [batch])
    except IntegrityError as error:
        if not isinstance(error.orig, UniqueViolation):
            raise
        return _store_staged(conn, block, batch)
    return Stored(len(block), 0, 0)


def _store_staged(conn: Connection, block: Block, batch: Batch) -> Stored:
    conn.execute(_CREATE_STAGING)
    conn.execute(text("TRUNCATE staging_meter_readings"))
    numbered = Batch(batch.rows, (Column("n", PgType.INT4, np.arange(batch.rows)), *batch.columns))
    copy_batches(conn, "staging_meter_readings", [numbered])
    new = conn.execute(_INSERT_NEW).rowcount
    bounds = {"first": to_datetime(int(block.time_ns.min())), "last": to_datetime(int(block.time_ns.max()))}
    found = conn.execute(_KEEP_CONFLICTS, {**bounds, "sent": SENT_QUALITY, "columns": list(METER_COLUMNS)})
    conflicting = int(found.scalar_one())
    return Stored(new, len(block) - new - conflicting, conflicting)


def batch_of(block: Block) -> Batch:
    """The rows of meter_readings of a block that is sorted and has all METER_COLUMNS."""
    rows = len(block)
    columns = (
        Column("device_id", PgType.INT4, block.device),
        Column("time", PgType.TIMESTAMPTZ, block.time_ns),
        Column("received", PgType.TIMESTAMPTZ, block.received_ns),
        Column("time_error_ns", PgType.INT8, block.time_error_ns),
        Column("sequence", PgType.INT8, block.sequence),
        Column("quality", PgType.INT8, block.quality),
        Column("provenance", PgType.INT2, np.broadcast_to(PROVENANCES.index(block.origin.provenance), rows)),
    )
    values = tuple(
        Column(name, PgType.FLOAT8 if name in ENERGY else PgType.FLOAT4, block.column(name)) for name in METER_COLUMNS
    )
    return Batch(rows, columns + values)
