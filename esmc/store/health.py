"""Heartbeats of this centre's stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson
from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class StageHealth:
    """A stage's last word; `age_s` by the database's clock, which all stages share."""

    stage: str
    started: datetime
    heartbeat: datetime
    counters: dict[str, float]
    age_s: float


def beat(conn: Connection, stage: str, counters: Mapping[str, float]) -> None:
    """A stage lives; `counters` replace the former ones."""
    query = text(
        "INSERT INTO stage_health (stage, started, heartbeat, counters) "
        "VALUES (:stage, now(), now(), CAST(:counters AS jsonb)) "
        "ON CONFLICT (stage) DO UPDATE SET heartbeat = now(), counters = excluded.counters"
    )
    conn.execute(query, {"stage": stage, "counters": orjson.dumps(dict(counters)).decode()})


def all_stages(conn: Connection) -> list[StageHealth]:
    """Every stage that ever ran here, by name."""
    query = text("SELECT *, extract(epoch FROM now() - heartbeat)::float8 AS age_s FROM stage_health ORDER BY stage")
    return [StageHealth(**row._mapping) for row in conn.execute(query)]
