"""Questions about many devices at once: their newest rows, and which of them are unlike themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, text

from model.block import F64, METER_COLUMNS, Schema
from model.time import to_datetime
from smc.store.frontier import SOURCES, frontier_ns
from smc.store.latest import PROVENANCES, Latest
from smc.store.levels import Level
from smc.store.meters import ENERGY
from smc.store.phasor_rollups import SIGNALS
from smc.store.unpack import array

RANKED = {Schema.METER: frozenset(METER_COLUMNS) - ENERGY, Schema.PHASOR: frozenset(SIGNALS)}
RECENT, USUAL = timedelta(hours=1), timedelta(hours=24)

_LATEST = text(
    'SELECT device_id, time, received, provenance, quality, array_send("values") FROM latest '
    "WHERE device_id = ANY(CAST(:devices AS integer[]))"
)
# Variance from sums: a deviation below a millionth of the mean is rounding.
_RANKING = """
WITH parts AS (
    SELECT device_id,
           sum({column}_n) FILTER (WHERE time >= :split) AS recent_n,
           sum({column}_sum) FILTER (WHERE time >= :split) AS recent_sum,
           sum({column}_n) FILTER (WHERE time < :split) AS usual_n,
           sum({column}_sum) FILTER (WHERE time < :split) AS usual_sum,
           sum({column}_square) FILTER (WHERE time < :split) AS usual_square
    FROM {table} WHERE time >= :start AND time < :end GROUP BY device_id
), means AS (
    SELECT device_id, recent_sum / recent_n AS recent, usual_sum / usual_n AS usual,
           usual_square / usual_n - (usual_sum / usual_n) ^ 2 AS variance
    FROM parts WHERE recent_n > 0 AND usual_n > 0
), judged AS (
    SELECT device_id, recent, usual, CASE WHEN variance > 1e-12 * usual ^ 2 THEN sqrt(variance) ELSE 0 END AS deviation
    FROM means
), scored AS (
    SELECT *, CASE WHEN deviation > 0 THEN (recent - usual) / deviation
                   WHEN abs(recent - usual) > 1e-4 * abs(usual) THEN sign(recent - usual) * float8 'Infinity'
                   ELSE 0 END AS score
    FROM judged
)
SELECT array_send(array_agg(device_id)), array_send(array_agg(score)), array_send(array_agg(recent)),
       array_send(array_agg(usual)), array_send(array_agg(deviation))
FROM (SELECT * FROM scored ORDER BY abs(score) DESC, device_id LIMIT :limit) AS ranked
"""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Devices by how far their recent mean lies from their usual one; shapes (n,), the farthest first.

    `score` is that distance in standard deviations of the usual values; infinite where these never changed.
    """

    end: datetime
    device: npt.NDArray[np.int32]
    score: F64
    recent: F64
    usual: F64
    deviation: F64


def latest_of(conn: Connection, devices: Sequence[int]) -> dict[int, Latest]:
    """The newest row of each of these devices that ever reported, by device index."""
    found = conn.execute(_LATEST, {"devices": list(devices)})
    return {
        device: Latest(device, time, received, PROVENANCES[provenance], quality, array(sent).astype(np.float64))
        for device, time, received, provenance, quality, sent in found
    }


def ranking(conn: Connection, schema: Schema, column: str, limit: int) -> Ranking:
    """The last hour against the 24 hours before it, up to the last quarter hour that has rollups (`end`).

    `column` is one of RANKED[schema]: registers only climb, so that their level says nothing. Only devices that report
    at least LEAST_ROWS times in a quarter hour have rollups of it; a meter that reports every 15 minutes is not ranked.
    """
    if column not in RANKED[schema]:
        raise ValueError(f"column is {column!r}, expected one of {', '.join(sorted(RANKED[schema]))}")
    width_ns = Level.QUARTER.width_ns
    end = to_datetime(frontier_ns(conn, schema) // width_ns * width_ns)
    query = text(_RANKING.format(column=column, table=SOURCES[schema].table(Level.QUARTER)))
    values = {"start": end - RECENT - USUAL, "split": end - RECENT, "end": end, "limit": limit}
    device, *figures = map(array, conn.execute(query, values).one())
    return Ranking(end, device.astype(np.int32), *(f.astype(np.float64) for f in figures))
