"""Days of the series tables: made when a block meets them, ahead of time by the retention."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
from sqlalchemy import Connection, text

from model.block import I64
from model.time import EPOCH, NS_PER_S

DAY_NS = 86_400 * NS_PER_S
# A block with more days than the gateway's window has (60 d back) is odd: its oldest days go to the default partition,
# so that a sender with a wild clock cannot fill the catalogue.
MAX_DAYS = 64


def days_of(time_ns: I64) -> list[date]:
    """The UTC days of the times, newest first."""
    return [EPOCH.date() + timedelta(days=int(day)) for day in np.unique(time_ns // DAY_NS)[::-1]]


def ensure_days(conn: Connection, series: Sequence[str], days: Sequence[date]) -> int:
    """Make the partitions of these days where they are missing; how many were made (0 on TimescaleDB)."""
    query = text(
        "SELECT count(*) FILTER (WHERE series_partition(series, day)) "
        "FROM unnest(CAST(:series AS text[])) AS series, unnest(CAST(:days AS date[])) AS day"
    )
    return int(conn.execute(query, {"series": list(series), "days": list(days)[:MAX_DAYS]}).scalar_one())
