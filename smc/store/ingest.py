"""Blocks into the series tables. Whatever comes again, in whatever cut or order, leaves the same tables behind.

Within one device and time (cut to the microsecond, as PostgreSQL keeps it) the first content wins. The same content
again is a duplicate and changes nothing; another content is equivocation, kept with both values in
`reading_conflicts`. Everything happens in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from model.block import METER_COLUMNS, Block, Schema
from smc.store import frames, latest, meters
from smc.store.meters import Stored
from smc.store.partitions import days_of, ensure_days

SERIES = {Schema.METER: ("meter_readings",), Schema.PHASOR: ("phasor_seconds", "phasors")}

__all__ = ["Stored", "store_block"]


def store_block(conn: Connection, block: Block) -> Stored:
    """Store a block of enrolled devices and keep the newest row of each. Rows of the result sum to the block's.

    ValueError for columns that its schema does not know: that is our own fault, decoders make the columns.
    """
    if not len(block):
        return Stored(0, 0, 0)
    # Sorted by key: the index is most of the cost of storing, and neighbouring keys share its pages.
    ordered = block.take(np.lexsort((block.time_ns, block.device)))
    ensure_days(conn, SERIES[block.schema], days_of(block.time_ns))
    if block.schema is Schema.METER:
        ordered = _with_all_columns(ordered)
        stored = meters.store(conn, ordered)
    else:
        stored = frames.store(conn, ordered)
    if stored.rows_new:
        latest.update(conn, ordered)
    return stored


def _with_all_columns(block: Block) -> Block:
    """A METER block with every column of METER_COLUMNS in their order; what it did not bring is NaN."""
    if block.columns == METER_COLUMNS:
        return block
    if not set(block.columns) <= set(METER_COLUMNS):
        raise ValueError(f"METER block with columns {block.columns}, expected some of {METER_COLUMNS}")
    values = np.full((len(block), len(METER_COLUMNS)), np.nan)
    values[:, [METER_COLUMNS.index(name) for name in block.columns]] = block.values
    return replace(block, columns=METER_COLUMNS, values=values)
