"""Who may speak to this gateway: the enrolled devices, kept at hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, Engine

from model.device import Channel, ChannelKind, Device, DeviceKind, Protocol, Provenance
from model.time import Clock
from smc.settings import SmcSettings
from smc.store import devices, latest
from wire.c37118.configuration import Configuration, Pmu

REFRESH_S = 5.0  # how long a change of enrolment may take to be felt here


class Registry:
    """Devices by name and by index. Blocking; links call it in a worker thread."""

    def __init__(self, engine: Engine, settings: SmcSettings, clock: Clock) -> None:
        self._engine = engine
        self._settings = settings
        self._clock = clock
        self._by_name: dict[str, Device] = {}
        self._by_index: dict[int, Device] = {}
        self._read_s = float("-inf")

    @property
    def fresh(self) -> bool:
        """Whether the store was read within the last seconds."""
        return self._clock.monotonic_s() - self._read_s < REFRESH_S

    def refresh(self) -> None:
        """Read all devices again."""
        with self._engine.connect() as conn:
            self._keep(devices.all_devices(conn))
        self._read_s = self._clock.monotonic_s()

    def find(self, name: str) -> Device | None:
        """The device of a name as last read."""
        return self._by_name.get(name)

    def name_of(self, index: int) -> str:
        """Name of a device, or its index where we never read it."""
        device = self._by_index.get(index)
        return device.name if device else f"#{index}"

    def enrol_pmus(self, configuration: Configuration, provenance: Provenance) -> list[Device]:
        """The PMUs of a stream as devices, in its order. Those known keep what the operator wrote about them.

        Replayed data never go under the name of a live device, nor live data under that of a replayed one.
        """
        with self._engine.begin() as conn:
            wanted = [
                self._device(conn, name, pmu, provenance)
                for name, pmu in zip(_names(configuration.pmus), configuration.pmus, strict=True)
            ]
            enrolled = devices.enrol(conn, wanted)
        self._keep(enrolled)
        return enrolled

    def newest_ns(self, members: Sequence[Device]) -> int | None:
        """Stamp of the newest stored row of any of these devices; None if there is none."""
        with self._engine.connect() as conn:
            return latest.newest_ns(conn, [device.index for device in members])

    def _device(self, conn: Connection, name: str, pmu: Pmu, provenance: Provenance) -> Device:
        known = devices.by_name(conn, name)
        if known is not None and (known.provenance is Provenance.REPLAYED) != (provenance is Provenance.REPLAYED):
            name = f"{provenance}:{name}"
            known = devices.by_name(conn, name)
        channels = _channels(pmu)
        if known is not None:
            return replace(known, channels=channels, nominal_hz=float(pmu.nominal_hz))
        return Device(
            index=0,
            name=name,
            kind=DeviceKind.PMU,
            protocol=Protocol.C37_118,
            site=self._settings.site,
            provenance=provenance,
            nominal_hz=float(pmu.nominal_hz),
            channels=channels,
        )

    def _keep(self, found: Sequence[Device]) -> None:
        self._by_name.update((device.name, device) for device in found)
        self._by_index.update((device.index, device) for device in found)


def _channels(pmu: Pmu) -> tuple[Channel, ...]:
    """Phasors, then analogs; their position is their address."""
    phasors = [Channel(p.name, ChannelKind.CURRENT if p.current else ChannelKind.VOLTAGE) for p in pmu.phasors]
    return (*phasors, *(Channel(analog.name, ChannelKind.ANALOG) for analog in pmu.analogs))


def _names(pmus: Sequence[Pmu]) -> list[str]:
    """Unique names; the second of two PMUs with one IDCODE and station gets #2, and so on."""
    names: list[str] = []
    seen: dict[str, int] = {}
    for pmu in pmus:
        name = f"pmu:{pmu.idcode}:{pmu.station}"
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
    return names
