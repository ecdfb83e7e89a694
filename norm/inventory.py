"""The fleet as the operator's inventory has it: two devices per unit, with their cohorts."""

from __future__ import annotations

import numpy as np

from model.device import Channel, ChannelKind, Device, DeviceKind, Enrolment, Protocol, Provenance
from norm.chance import stream_key, uniform
from norm.feeder import BASE_VOLTAGE_V
from norm.fleet import Fleet
from norm.pmu import CHANNELS

FIRST_PMU_IDCODE = 101
_VENDORS = ("vendor-a", "vendor-b")
_FIRMWARES = ("2.1.0", "2.1.0", "2.2.3")  # a roll-out two thirds to go
_UNITS_PER_GATEWAY = 8


def pmu_idcode(number: int) -> int:
    """IDCODE of a unit's PMU inside the concentrator's stream."""
    return FIRST_PMU_IDCODE + number - 1


def meter_name(unit: str) -> str:
    """External name of a unit's meter, the base name of its SenML packs without the last colon."""
    return f"urn:dev:norm:{unit}:meter"


def pmu_name(number: int, unit: str) -> str:
    """External name of a unit's PMU."""
    return f"pmu:{pmu_idcode(number)}:{unit}"


def pmu_channels() -> tuple[Channel, ...]:
    """The six phasors in the order they are sent."""
    kinds = {"V": ChannelKind.VOLTAGE, "I": ChannelKind.CURRENT}
    return tuple(Channel(name, kinds[name[0]]) for name in CHANNELS)


def inventory(fleet: Fleet) -> list[Device]:
    """Meter and PMU of every unit, commissioned and simulated; indices are 0 until the centre gives them its own."""
    devices = []
    for i, unit in enumerate(fleet.names):
        for kind in (DeviceKind.METER, DeviceKind.PMU):
            devices.append(_device(fleet, i, unit, kind))
    return devices


def _device(fleet: Fleet, position: int, unit: str, kind: DeviceKind) -> Device:
    number = int(fleet.numbers[position])
    draw = uniform(stream_key(fleet.seed, f"{fleet.site}.inventory"), number, np.arange(2))
    is_meter = kind is DeviceKind.METER
    return Device(
        index=0,
        name=meter_name(unit) if is_meter else pmu_name(number, unit),
        kind=kind,
        protocol=Protocol.SENML_MQTT if is_meter else Protocol.C37_118,
        site=fleet.site,
        provenance=Provenance.SIMULATED,
        enrolment=Enrolment.COMMISSIONED,
        unit=unit,
        zone="field",
        feeder=fleet.feeder_of[position].name,
        gateway=f"gateway-{position // _UNITS_PER_GATEWAY + 1:02d}",
        vendor=_VENDORS[int(draw[0] * len(_VENDORS))],
        firmware=_FIRMWARES[int(draw[1] * len(_FIRMWARES))],
        nominal_hz=50.0,
        nominal_voltage_v=round(BASE_VOLTAGE_V, 1),
        channels=() if is_meter else pmu_channels(),
    )
