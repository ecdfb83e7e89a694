"""Heartbeats of the stages: who runs, since when, and what it counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class StageHealth:
    """A stage's last word. `age_s` is the seconds since then, by the database's clock, which all stages share."""

    stage: str
    started: datetime
    heartbeat: datetime
    age_s: float
    counters: dict[str, float]


def start(conn: Connection, stage: str) -> None:
    """A stage begins: its counters start at nothing."""
    query = text(
        "INSERT INTO stage_health (stage, started, heartbeat, counters) VALUES (:stage, now(), now(), '{}') "
        "ON CONFLICT (stage) DO UPDATE SET started = now(), heartbeat = now(), counters = '{}'"
    )
    conn.execute(query, {"stage": stage})


def beat(conn: Connection, stage: str, counters: Mapping[str, float]) -> None:
    """A stage lives; every ~2 s. `counters` replace the former ones."""
    query = text(
        "INSERT INTO stage_health (stage, started, heartbeat, counters) "
        "VALUES (:stage, now(), now(), CAST(:counters AS jsonb)) "
        "ON CONFLICT (stage) DO UPDATE SET heartbeat = now(), counters = excluded.counters"
    )
    conn.execute(query, {"stage": stage, "counters": json.dumps(dict(counters), allow_nan=False)})


def end(conn: Connection, stage: str) -> None:
    """A stage was taken away on purpose: it is not silent, it is gone."""
    conn.execute(text("DELETE FROM stage_health WHERE stage = :stage"), {"stage": stage})


def all_stages(conn: Connection) -> list[StageHealth]:
    """Every stage that ever ran here, by name."""
    query = text(
        "SELECT stage, started, heartbeat, extract(epoch FROM now() - heartbeat)::float8, counters "
        "FROM stage_health ORDER BY stage"
    )
    return [StageHealth(*row) for row in conn.execute(query)]
