"""Reading a device's signals for its charts: its own series, its twin at the same terminals, its neighbours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection

from model.device import ChannelKind, Device, DeviceKind
from model.finding import Finding, FindingKind
from model.time import to_ns
from smc.store import devices, findings, telemetry
from smc.views import plots
from smc.views.plots import Component, Scene
from smc.views.series import F64, I64

LIMIT = 50_000  # rows of one series: 16 min of a 50 frames/s stream, a year and more of a 15-minute meter
NEIGHBOURS, LEAST_NEIGHBOURS = 8, 2
LONGEST_PMU = timedelta(minutes=15)  # a longer window of phasors is cut to its newest part


@dataclass(frozen=True, slots=True)
class Signals:
    """A device's arrays in a window, with what the charts hold beside them. Keys as in smc.store.telemetry."""

    device: Device
    start: datetime
    end: datetime
    arrays: dict[str, Any]
    twin: tuple[I64, F64] | None  # (time_ns, W) of the PMU behind the same terminals
    neighbours: tuple[tuple[I64, F64], ...]  # (time_ns, angle of the first phasor in rad)
    findings: tuple[Finding, ...]


def read(conn: Connection, device: Device, start: datetime, end: datetime) -> Signals:
    """Series of a device in [start, end); phasors at most 15 minutes of it, the newest."""
    everyone = devices.all_devices(conn)
    found = tuple(findings.of_device(conn, device.index, start, end))
    if device.kind is DeviceKind.PMU:
        start = max(start, end - LONGEST_PMU)
        arrays = telemetry.phasors(conn, device.index, start, end, LIMIT)
        near = _neighbours(conn, device, everyone, start, end)
        return Signals(device, start, end, arrays, None, near, found)
    arrays = telemetry.readings(conn, device.index, start, end, LIMIT, newest=True)
    return Signals(device, start, end, arrays, _twin(conn, device, everyone, start, end), (), found)


def _neighbours(
    conn: Connection, device: Device, everyone: list[Device], start: datetime, end: datetime
) -> tuple[tuple[I64, F64], ...]:
    made = []
    alike = (device.provenance, device.nominal_hz)  # as the detector groups them: a replay has no neighbours outside it
    others = [
        d
        for d in everyone
        if d.kind is DeviceKind.PMU and d.index != device.index and (d.provenance, d.nominal_hz) == alike
    ]
    for other in others[:NEIGHBOURS]:
        arrays = telemetry.phasors(conn, other.index, start, end, LIMIT)
        if len(arrays["time_ns"]) and arrays["angle_rad"].shape[1]:
            angle = plots.first_angle(arrays)
            if np.isfinite(angle).any():
                made.append((arrays["time_ns"], angle))
    return tuple(made) if len(made) >= LEAST_NEIGHBOURS else ()


def _twin(
    conn: Connection, device: Device, everyone: list[Device], start: datetime, end: datetime
) -> tuple[I64, F64] | None:
    twins = [d for d in everyone if d.unit and d.unit == device.unit and d.kind is DeviceKind.PMU]
    if not twins:
        return None
    arrays = telemetry.phasors(conn, twins[0].index, max(start, end - LONGEST_PMU), end, LIMIT)
    return plots.power_of(twins[0], arrays) if len(arrays["time_ns"]) else None


def scene(signals: Signals, focus: Finding | None) -> Scene:
    """The window and the findings that every chart of these signals shares."""
    return Scene(to_ns(signals.start) / 1e6, to_ns(signals.end) / 1e6, signals.findings, focus)


def charts(signals: Signals, focus: Finding | None) -> list[Component]:
    """Every chart of a device, what was judged first."""
    at = scene(signals, focus)
    if signals.device.kind is DeviceKind.PMU:
        return _pmu_charts(signals, at)
    arrays = signals.arrays
    return [
        *plots.meter_beside_pmu(arrays, signals.twin, at),
        plots.phases(arrays, "voltage", "Voltage", at),
        plots.phases(arrays, "current", "Current", at),
        plots.frequency(arrays, signals.device.nominal_hz, at),
    ]


def _pmu_charts(signals: Signals, at: Scene) -> list[Component]:
    arrays, device = signals.arrays, signals.device
    angle = plots.angle(arrays, signals.neighbours, device.nominal_hz, at)
    others = [
        plots.frequency(arrays, device.nominal_hz, at),
        plots.magnitudes(device, arrays, ChannelKind.VOLTAGE, at),
        plots.magnitudes(device, arrays, ChannelKind.CURRENT, at),
        plots.rocof(arrays, at),
    ]
    telling = signals.neighbours and np.isfinite(plots.first_angle(arrays)).any()
    made = [angle, *others] if telling else [*others, angle]  # alone it proves nothing: last
    return [one for one in made if one is not None]


def evidence_charts(signals: Signals, finding: Finding) -> list[Component]:
    """The charts that show what a finding claims: few, and the decisive one first."""
    at = scene(signals, finding)
    if finding.kind is FindingKind.CLOCK_ATTACK and signals.device.kind is DeviceKind.PMU:
        return [plots.angle(signals.arrays, signals.neighbours, signals.device.nominal_hz, at)]
    if finding.kind is FindingKind.METER_TAMPER and signals.device.kind is DeviceKind.METER:
        return plots.meter_beside_pmu(signals.arrays, signals.twin, at)
    judged = [e.signal for e in finding.evidence if e.signal in signals.arrays]
    if judged and np.ndim(signals.arrays[judged[0]]) == 1:
        return [plots.column(signals.arrays, judged[0], at)]
    if signals.device.kind is DeviceKind.PMU:  # quality of phasors: what an idle or frozen unit tells
        volts = plots.magnitudes(signals.device, signals.arrays, ChannelKind.VOLTAGE, at)
        return [one for one in (volts, plots.frequency(signals.arrays, signals.device.nominal_hz, at)) if one]
    return charts(signals, finding)[:2]
