"""Blocks into the series tables. Whatever comes again, in whatever cut or order, leaves the same tables behind.

Within one device and time (cut to the microsecond, as PostgreSQL keeps it) the first content wins. The same content
again is a duplicate and changes nothing; another content is equivocation, kept with both values in
`reading_conflicts`. Everything happens in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from model.block import I64, METER_COLUMNS, Block, Schema
from model.time import NS_PER_US
from smc.store import frames, latest, meters, rollups
from smc.store.meters import Stored
from smc.store.partitions import days_of, ensure_days

SERIES = {Schema.METER: ("meter_readings",), Schema.PHASOR: ("phasor_seconds", "phasors")}

Rows = npt.NDArray[np.intp]

__all__ = ["Stored", "in_order", "store_block"]


def store_block(conn: Connection, block: Block) -> Stored:
    """Store a block of enrolled devices and keep the newest row of each. Rows of the result sum to the block's.

    ValueError for columns that its schema does not know: that is our own fault, decoders make the columns.
    """
    if not len(block):
        return Stored(0, 0, 0)
    rollups.mark(conn, block)  # first of all: its lock must not be waited for while rows are locked
    ordered = in_order(block)
    ensure_days(conn, SERIES[block.schema], days_of(block.time_ns))
    if block.schema is Schema.METER:
        ordered = _with_all_columns(ordered)
        stored = meters.store(conn, ordered)
    else:
        stored = frames.store(conn, ordered)
    if stored.rows_new:
        latest.update(conn, ordered)
    return stored


def in_order(block: Block) -> Block:
    """The rows by device and stored time, equal ones in the order they came: the index is most of the cost of storing,
    and neighbouring keys share its pages."""
    device, time_us = block.device, block.time_ns // NS_PER_US
    later = time_us[1:] >= time_us[:-1]
    if ((device[1:] > device[:-1]) | (device[1:] == device[:-1]) & later).all():
        return block
    order = np.arange(len(block))
    if not later.all():
        order = _sorted_by(time_us, order)
    return block.take(_sorted_by(device.astype(np.int64), order))


def _sorted_by(key: I64, order: Rows) -> Rows:
    """`order` sorted by the keys of its rows, stable: 16 bits at a time, for which numpy has a radix sort."""
    key = key - key.min()
    for shift in range(0, int(key.max()).bit_length(), 16):
        digits = (key >> shift).astype(np.uint16)
        order = order[np.argsort(digits[order], kind="stable")]
    return order


def _with_all_columns(block: Block) -> Block:
    """A METER block with every column of METER_COLUMNS in their order; what it did not bring is NaN."""
    if block.columns == METER_COLUMNS:
        return block
    if not set(block.columns) <= set(METER_COLUMNS):
        raise ValueError(f"METER block with columns {block.columns}, expected some of {METER_COLUMNS}")
    values = np.full((len(block), len(METER_COLUMNS)), np.nan)
    values[:, [METER_COLUMNS.index(name) for name in block.columns]] = block.values
    return replace(block, columns=METER_COLUMNS, values=values)
