"""Who is out there: meters, phasor units, gateways; and who they belong to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class DeviceKind(StrEnum):
    """What a device measures or does."""

    METER = "meter"
    PMU = "pmu"
    GATEWAY = "gateway"


class Protocol(StrEnum):
    """How a device speaks."""

    C37_118 = "c37.118"
    SENML_MQTT = "senml-mqtt"


class Enrolment(StrEnum):
    """Life of a device; each change has an owner."""

    MANUFACTURED = "manufactured"
    OWNED = "owned"
    COMMISSIONED = "commissioned"
    SUSPENDED = "suspended"
    RETIRED = "retired"


class Provenance(StrEnum):
    """Where data come from. Everything but `measured` is marked on every screen and in every export."""

    MEASURED = "measured"
    SIMULATED = "simulated"
    REPLAYED = "replayed"
    EXERCISE = "exercise"


class ChannelKind(StrEnum):
    """Kind of one PMU channel."""

    VOLTAGE = "voltage"
    CURRENT = "current"
    ANALOG = "analog"


@dataclass(frozen=True, slots=True)
class Channel:
    """One phasor or analog of a PMU. Names may be blank or repeated: the position in the tuple is its address."""

    name: str
    kind: ChannelKind

    @property
    def unit(self) -> str:
        """SI unit of the magnitude; an analog's unit is not told by C37.118."""
        return {ChannelKind.VOLTAGE: "V", ChannelKind.CURRENT: "A", ChannelKind.ANALOG: ""}[self.kind]


@dataclass(frozen=True, slots=True)
class Device:
    """One enrolled device. `index` is its small integer in arrays and tables; `name` its unique external name.

    A NORM is two devices with one `unit`: the meter and the phasor unit behind the same terminals.
    """

    index: int
    name: str
    kind: DeviceKind
    protocol: Protocol
    site: str
    provenance: Provenance
    enrolment: Enrolment = Enrolment.COMMISSIONED
    unit: str = ""  # NORM that meter and PMU share, "" if alone
    zone: str = ""
    feeder: str = ""
    gateway: str = ""
    vendor: str = ""
    firmware: str = ""
    nominal_hz: float = 50.0
    nominal_voltage_v: float = 230.0  # phase to neutral
    channels: tuple[Channel, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Site:
    """One operator's centre. `code` is its name in the federation (DSO-0001), never a customer's."""

    code: str
    name: str
    country: str  # ISO 3166 alpha-2
    area: str  # first-level area, ISO 3166-2, never finer
    simulated: bool
