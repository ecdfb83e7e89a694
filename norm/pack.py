"""One reading of a meter as a SenML pack in JSON (RFC 8428), and the topic it goes to."""

from __future__ import annotations

from norm.fleet import Fleet
from norm.inventory import meter_name
from wire.meter import encode_meter_pack


def meter_topic(site: str, unit: str) -> str:
    """MQTT topic of a unit's meter."""
    return f"smc/{site}/{unit}/meter"


def meter_packs(fleet: Fleet, time_ns: int) -> list[tuple[str, bytes]]:
    """Topic and pack of every meter's reading of `time_ns`; stamps are whole milliseconds by the meter's own clock."""
    samples = fleet.meter_samples(time_ns)
    packs = []
    for i, unit in enumerate(fleet.names):
        row = slice(i, i + 1)
        pack = encode_meter_pack(meter_name(unit), samples.time_ns[row], samples.values[row], samples.sequence[row])
        packs.append((meter_topic(fleet.site, unit), pack))
    return packs
