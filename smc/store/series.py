"""Which tables keep house knows: series, split by time and dropped span by span, and tables whose rows are deleted.

Everything is as old as its receipt, never as its stamp: a recording of 2008 that is replayed today is new today.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from model.block import Schema


class DataClass(StrEnum):
    """What is kept equally long, and what a legal hold can name. Incidents, decisions and audit are in none."""

    READINGS = "readings"
    PHASORS = "phasors"
    CONFLICTS = "conflicts"
    EVENTS = "events"
    QUARANTINE = "quarantine"
    ROLLUPS_MINUTE = "rollups-minute"
    ROLLUPS_QUARTER = "rollups-quarter"
    ROLLUPS_DAY = "rollups-day"


@dataclass(frozen=True, slots=True)
class Series:
    """A table split by `time` with a `device_id`.

    `judge` is the series that knows when rows of the same times were received, in its column `receipt`: mostly the
    series itself. It must be written in the same transactions. Where `rolls` names a schema, rollups are made of the
    rows: they stay until their rollups are made.
    """

    name: str
    data_class: DataClass
    judge: str
    receipt: str = "received"
    rolls: Schema | None = None


@dataclass(frozen=True, slots=True)
class RowTable:
    """A table that is not split. A row's data lie between its columns `first` and `last`; `receipt` is its age.

    `device` is empty where a row belongs to no known device: a hold of any device then keeps it.
    """

    name: str
    data_class: DataClass
    first: str
    last: str
    receipt: str
    device: str = "device_id"


SERIES = (
    Series("meter_readings", DataClass.READINGS, "meter_readings", rolls=Schema.METER),
    Series("phasor_seconds", DataClass.PHASORS, "phasor_seconds", rolls=Schema.PHASOR),
    Series("phasors", DataClass.PHASORS, "phasor_seconds", rolls=Schema.PHASOR),
    Series("meter_minutes", DataClass.ROLLUPS_MINUTE, "meter_minutes"),
    Series("phasor_minutes", DataClass.ROLLUPS_MINUTE, "phasor_minutes"),
    Series("meter_quarters", DataClass.ROLLUPS_QUARTER, "meter_quarters"),
    Series("phasor_quarters", DataClass.ROLLUPS_QUARTER, "phasor_quarters"),
    Series("meter_days", DataClass.ROLLUPS_DAY, "meter_days"),
    Series("phasor_days", DataClass.ROLLUPS_DAY, "phasor_days"),
)
ROW_TABLES = (
    RowTable("reading_conflicts", DataClass.CONFLICTS, "time", "time", "received"),
    RowTable("device_events", DataClass.EVENTS, "time", "time", "received"),
    RowTable("quarantine", DataClass.QUARANTINE, "received", "last_received", "last_received", device=""),
)
