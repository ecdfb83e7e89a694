"""One reading of a meter as a SenML pack in JSON (RFC 8428), and the topic it goes to."""

from __future__ import annotations

import msgspec

from model.block import METER_COLUMNS
from model.time import NS_PER_S
from norm.fleet import Fleet
from norm.inventory import meter_name

# SenML name and unit of every column of a meter; Wh is a secondary unit of RFC 8798.
_UNITS = {"wh": "Wh", "w": "W", "var": "var", "v": "V", "a": "A", "hz": "Hz"}
RECORDS = tuple(tuple(column.rsplit("_", 1)) for column in METER_COLUMNS)


def meter_topic(site: str, unit: str) -> str:
    """MQTT topic of a unit's meter."""
    return f"smc/{site}/{unit}/meter"


def meter_packs(fleet: Fleet, time_ns: int) -> list[tuple[str, bytes]]:
    """Topic and pack of every meter's reading of `time_ns`; stamps are whole milliseconds by the meter's own clock."""
    samples = fleet.meter_samples(time_ns)
    return [
        (meter_topic(fleet.site, unit), _pack(meter_name(unit), stamp, row))
        for unit, stamp, row in zip(fleet.names, samples.time_ns.tolist(), samples.values.tolist(), strict=True)
    ]


def _pack(name: str, time_ns: int, row: list[float]) -> bytes:
    records: list[dict[str, str | float]] = [
        {"n": quantity, "u": _UNITS[unit], "v": value} for (quantity, unit), value in zip(RECORDS, row, strict=True)
    ]
    base: dict[str, str | float] = {"bn": f"{name}:", "bt": round(time_ns / NS_PER_S, 3)}
    return msgspec.json.encode([base | records[0], *records[1:]])
