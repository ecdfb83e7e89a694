"""What detectors know about devices: attributes in arrays by device index, built once from the inventory."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.block import F64, I32
from model.device import ChannelKind, Device, DeviceKind, Protocol, Provenance

PHASES = 3
NONE = -1
PROVENANCES = tuple(Provenance)
KINDS = tuple(DeviceKind)
_UNKNOWN = Device(NONE, "", DeviceKind.GATEWAY, Protocol.C37_118, "", Provenance.MEASURED)  # index nobody has


@dataclass(frozen=True, slots=True, eq=False)
class Fleet:
    """Arrays of shape (size,), `size` being the largest device index plus one; codes are -1 where nothing is known."""

    site: str
    names: tuple[str, ...]
    kind: I32  # position in KINDS
    unit: I32  # equal for the meter and the PMU behind the same terminals
    feeder: I32
    provenance: I32  # position in PROVENANCES
    nominal_hz: F64
    nominal_voltage_v: F64
    voltages: I32  # (size, 3) positions of the first three voltage phasors among a PMU's phasors
    currents: I32  # (size, 3)
    partner: I32  # a meter's PMU, a PMU's meter

    @property
    def size(self) -> int:
        """Length of all arrays."""
        return len(self.names)

    def known(self, device: I32) -> npt.NDArray[np.bool_]:
        """Which of these indices are enrolled, same shape."""
        inside = (device >= 0) & (device < self.size)
        return inside & (self.kind[np.where(inside, device, 0)] >= 0) if self.size else inside

    def is_kind(self, kind: DeviceKind) -> npt.NDArray[np.bool_]:
        """Mask of one kind, (size,)."""
        return np.asarray(self.kind == KINDS.index(kind))


def build_fleet(devices: Sequence[Device]) -> Fleet:
    """Fleet of an inventory whose indices the store has assigned. Raises ValueError on repeated indices."""
    by_index = {device.index: device for device in devices}
    if len(by_index) != len(devices):
        raise ValueError(f"inventory of {len(devices)} devices has {len(by_index)} different indices, expected as many")
    size = max(by_index, default=-1) + 1
    rows = [by_index.get(i, _UNKNOWN) for i in range(size)]
    kind = _int32(KINDS.index(row.kind) if row is not _UNKNOWN else NONE for row in rows)
    unit = _codes([f"{row.site}/{row.unit}" if row.unit else "" for row in rows])
    return Fleet(
        site=devices[0].site if devices else "",
        names=tuple(row.name for row in rows),
        kind=kind,
        unit=unit,
        feeder=_codes([row.feeder for row in rows]),
        provenance=_int32(PROVENANCES.index(row.provenance) for row in rows),
        nominal_hz=np.array([row.nominal_hz for row in rows], np.float64),
        nominal_voltage_v=np.array([row.nominal_voltage_v for row in rows], np.float64),
        voltages=_positions(rows, ChannelKind.VOLTAGE),
        currents=_positions(rows, ChannelKind.CURRENT),
        partner=_partners(kind, unit),
    )


def _int32(values: Iterable[int]) -> I32:
    return np.array(list(values), np.int32)


def _codes(labels: Sequence[Hashable]) -> I32:
    """Small integers for labels in order of appearance, -1 for empty ones."""
    seen: dict[Hashable, int] = {}
    return _int32(seen.setdefault(label, len(seen)) if label else NONE for label in labels)


def _positions(rows: Sequence[Device], kind: ChannelKind) -> I32:
    """Positions of the first three phasors of a kind, (size, 3)."""
    found = np.full((len(rows), PHASES), NONE, np.int32)
    for i, row in enumerate(rows):
        phasors = [c for c in row.channels if c.kind is not ChannelKind.ANALOG]
        places = [p for p, channel in enumerate(phasors) if channel.kind is kind][:PHASES]
        found[i, : len(places)] = places
    return found


def _partners(kind: I32, unit: I32) -> I32:
    """The one device of the other kind with the same unit; none where a unit has several of a kind."""
    partner = np.full(len(kind), NONE, np.int32)
    sides = {k: np.flatnonzero((kind == KINDS.index(k)) & (unit >= 0)) for k in (DeviceKind.METER, DeviceKind.PMU)}
    meters = _unique_by_unit(sides[DeviceKind.METER], unit)
    pmus = _unique_by_unit(sides[DeviceKind.PMU], unit)
    for code in meters.keys() & pmus.keys():
        partner[meters[code]], partner[pmus[code]] = pmus[code], meters[code]
    return partner


def _unique_by_unit(devices: npt.NDArray[np.intp], unit: I32) -> dict[int, int]:
    codes, first, counts = np.unique(unit[devices], return_index=True, return_counts=True)
    return {int(c): int(devices[f]) for c, f, n in zip(codes, first, counts, strict=True) if n == 1}
