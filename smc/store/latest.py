"""The newest row of every device, so that no page has to search the series for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from sqlalchemy import Connection, text

from model.block import F64, Block
from model.device import Provenance
from model.time import to_ns
from smc.store import arrays
from smc.store.arrays import Array
from smc.store.copy import PgType

PROVENANCES = tuple(Provenance)  # the position is the number in smallint columns

# In the order of devices, so that two writers lock rows in one order.
_MERGE = """
INSERT INTO latest (device_id, time, received, provenance, quality, "values")
SELECT device_id, time, received, %(provenance)s, quality,
       (%(values)s::float8[])[(n - 1) * %(width)s::int + 1 : n * %(width)s::int]
FROM unnest(%(devices)s::int4[], %(times)s::timestamptz[], %(received)s::timestamptz[], %(quality)s::int8[])
     WITH ORDINALITY AS newest (device_id, time, received, quality, n)
ORDER BY n
ON CONFLICT (device_id) DO UPDATE SET time = excluded.time, received = excluded.received,
    provenance = excluded.provenance, quality = excluded.quality, "values" = excluded."values"
WHERE latest.time < excluded.time
"""


@dataclass(frozen=True, slots=True)
class Latest:
    """A device's newest row: `values` in the order of its block's columns (METER_COLUMNS, phasor_columns(...))."""

    device: int
    time: datetime
    received: datetime
    provenance: Provenance
    quality: int
    values: F64


def update(conn: Connection, block: Block) -> None:
    """Keep each device's newest row of a block sorted by device and time, if it is newer than what is known."""
    newest = block.take(np.flatnonzero(np.append(block.device[1:] != block.device[:-1], True)))
    arrays.run(
        conn,
        _MERGE,
        {
            "devices": Array(PgType.INT4, newest.device),
            "times": Array(PgType.TIMESTAMPTZ, newest.time_ns),
            "received": Array(PgType.TIMESTAMPTZ, newest.received_ns),
            "quality": Array(PgType.INT8, newest.quality),
            "values": Array(PgType.FLOAT8, newest.values.ravel()),
            "provenance": PROVENANCES.index(block.origin.provenance),
            "width": len(block.columns),
        },
    )


def latest(conn: Connection) -> dict[int, Latest]:
    """The newest row of every device that ever reported, by device index."""
    query = text('SELECT device_id, time, received, provenance, quality, "values" FROM latest')
    return {
        device: Latest(device, time, received, PROVENANCES[provenance], quality, np.array(values, np.float64))
        for device, time, received, provenance, quality, values in conn.execute(query)
    }


def newest_ns(conn: Connection, devices: Sequence[int]) -> int | None:
    """Stamp of the newest row of any of these devices, by index; None if none of them ever reported."""
    found = conn.execute(
        text("SELECT max(time) FROM latest WHERE device_id = ANY(:devices)"), {"devices": list(devices)}
    )
    newest = found.scalar_one()
    return None if newest is None else to_ns(newest)
