"""How much a centre has seen in all: the figures of the demo's last line and of `doctor`. Counts whole tables."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, text


@dataclass(frozen=True, slots=True)
class Tally:
    """Rows by what they mean."""

    frames: int  # phasor frames
    readings: int
    quarantined: int
    findings: int
    incidents: int
    decisions: int  # decided by a person and carried out by `act` (dry run)
    federated: int  # parcels the pan-European centre has confirmed
    advice: int


def tally(conn: Connection) -> Tally:
    """Count everything once. Not for pages: it reads every chunk."""
    row = conn.execute(
        text(
            "SELECT (SELECT coalesce(sum(frames), 0) FROM phasor_seconds) AS frames, "
            "(SELECT count(*) FROM meter_readings) AS readings, "
            "(SELECT coalesce(sum(count), 0) FROM quarantine) AS quarantined, "
            "(SELECT count(*) FROM findings) AS findings, "
            "(SELECT count(*) FROM incidents) AS incidents, "
            "(SELECT count(*) FROM decisions WHERE status = 'done') AS decisions, "
            "(SELECT count(*) FROM outbox WHERE state = 'complete' AND kind = 'incident') AS federated, "
            "(SELECT count(*) FROM inbox) AS advice"
        )
    ).one()
    return Tally(*(int(value) for value in row))
