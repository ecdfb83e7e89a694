"""Charts of signals: each with title, unit and one sentence. Pure: arrays and a finding in, components out.

Times are int64 ns since 1970, values in the unit of the axis; angles come in rad and are drawn in rad.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model.device import ChannelKind, Device
from model.finding import Finding, Severity
from model.time import to_ns
from smc.views.series import F64, I64, against_neighbours, line_of, means_before, three_phase_power_w
from smc.views.words import count, quantity, signal_words, unit_of
from web import chart, parts
from web.theme import tokens

Component = Any
Arrays = Mapping[str, Any]
MARKED = 12  # spans of findings on one chart
CLOCK_SIGNALS = ("clock_offset_us", "clock_drift_us")  # the band of the whole offset, else that of its growth
UNSEEN = "not observed in this time: choose a longer range, or look at the intake for the reason"
LEAST_SPAN = 0.004  # of the chart's width: a finding of one second must be seen in a quarter of an hour
FLAGS = {Severity.CRITICAL: "◆", Severity.HIGH: "▲", Severity.MEDIUM: "●", Severity.LOW: "■"}


@dataclass(frozen=True, slots=True)
class Scene:
    """What every chart of one page shares: the window in epoch ms, findings in it, and the one in focus."""

    start_ms: float
    end_ms: float
    findings: tuple[Finding, ...] = ()
    focus: Finding | None = None

    @property
    def told(self) -> tuple[Finding, ...]:
        """The findings that every chart shows on its time axis."""
        return (self.findings or ((self.focus,) if self.focus else ()))[:MARKED]

    @property
    def spans(self) -> list[tuple[float, float, str]]:
        """Times of the findings in the colour of their severity, none too short to be seen."""
        least = LEAST_SPAN * (self.end_ms - self.start_ms)
        ends = [(to_ns(f.start) / 1e6, to_ns(f.end) / 1e6, str(f.severity)) for f in self.told]
        return [(start, max(end, start + least), severity) for start, end, severity in ends]

    @property
    def flags(self) -> list[dict[str, Any]]:
        """A mark above the start of each finding: shape and colour of its severity, its title on hovering."""
        return [
            {
                "x": max(to_ns(f.start) / 1e6, self.start_ms),
                "y": 1,
                "xref": "x",
                "yref": "paper",
                "yanchor": "bottom",
                "text": FLAGS[f.severity],
                "showarrow": False,
                "font": {"size": 11, "color": getattr(tokens(), f.severity)},
                "hovertext": f.title,
            }
            for f in self.told
        ]

    def band(self, signals: Sequence[str], factor: float = 1.0, *, residual: bool = False) -> list[dict[str, Any]]:
        """The expected band of the focused finding for the first of these signals that it judged.

        `factor` turns the unit of the evidence into the unit of the axis. A `residual` has its band about zero.
        """
        if self.focus is None:
            return []
        judged = {e.signal: e for e in self.focus.evidence}
        e = next((judged[name] for name in signals if name in judged), None)
        if e is None:
            return []
        about = e.expected if residual else 0.0
        lasts = e.expected == about  # zero is expected on; any other value was expected in the finding's time only
        x = [to_ns(self.focus.start) / 1e6, self.end_ms if lasts else to_ns(self.focus.end) / 1e6]
        return chart.band(x, [(e.lower - about) * factor] * 2, [(e.upper - about) * factor] * 2)


def plot(
    name: str,
    title: str,
    unit: str,
    lines: Sequence[tuple[str, I64, F64, str]],
    scene: Scene,
    summary: str = "",
    band_of: Sequence[str] = (),
    height: int = 220,
    factor: float = 1.0,
    residual: bool = False,
) -> Component:
    """One chart; `lines`: (name, time_ns, values, token of its colour). Says so where nothing was observed."""
    observed = [line for line in lines if np.isfinite(line[2]).any()]
    if not observed:
        return blank(title, unit, UNSEEN)
    traces = scene.band(band_of, factor, residual=residual)
    for line_name, time_ns, values, colour in observed:
        traces.append(chart.line(line_name, *line_of(time_ns, values), colour=colour))
    window = (scene.start_ms, scene.end_ms)
    figure = chart.figure(traces, unit=unit, x_range=window, spans=scene.spans, height=height)
    if scene.told:
        figure["layout"]["annotations"] = scene.flags
        figure["layout"]["margin"] |= {"t": max(20, figure["layout"]["margin"]["t"])}
    return chart.chart(f"plot-{name}", figure, title=f"{title} ({unit})", summary=summary, height=height)


def blank(title: str, unit: str, text: str) -> Component:
    """A chart without data: hatched, never an empty axis."""
    return parts.panel(f"{title} ({unit})", parts.not_observed(text), class_name="chart-blank")


def said(values: F64, unit: str) -> str:
    """Mean and range of a signal in one sentence."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return "no value in this time"
    low, mean, high = (quantity(float(v), unit, 5) for v in (finite.min(), finite.mean(), finite.max()))
    return f"mean {mean}, from {low} to {high} over {count(len(finite), 'value')}."


def meter_beside_pmu(readings: Arrays, twin: tuple[I64, F64] | None, scene: Scene) -> list[Component]:
    """Power as the meter tells it and as the phasors behind the same terminals give it, and their difference."""
    time_ns, power_w = readings["time_ns"], np.asarray(readings["power_w"], dtype=np.float64)
    if twin is None:
        alone = f"Power by the meter: {said(power_w, 'W')} No PMU is enrolled behind the same terminals."
        return [plot("power", "Power", "W", [("meter", time_ns, power_w, "accent")], scene, alone, ("power_w",), 260)]
    beside = means_before(time_ns, *twin)
    difference = power_w - beside
    lines = [("PMU, mean of the interval", time_ns, beside, "medium"), ("meter", time_ns, power_w, "accent")]
    largest = float(np.nanmax(np.abs(difference))) if np.isfinite(difference).any() else float("nan")
    told = f"Meter: {said(power_w, 'W')} The two differ by {quantity(largest, 'W')} at most."
    residual = [("meter minus PMU", time_ns, difference, "accent")]
    return [
        plot("power", "Power: meter beside PMU", "W", lines, scene, told, ("power_w",), 260),
        plot(
            "residual",
            "Residual: meter minus PMU",
            "W",
            residual,
            scene,
            f"Difference: {said(difference, 'W')}",
            ("power_w",),
            180,
            residual=True,
        ),
    ]


def phases(readings: Arrays, stem: str, title: str, scene: Scene) -> Component:
    """The three phases of a meter: `stem` voltage (V) or current (A)."""
    unit = "V" if stem == "voltage" else "A"
    names = [f"{stem}_l{n}_{unit.lower()}" for n in (1, 2, 3)]
    values = [np.asarray(readings[name], dtype=np.float64) for name in names]
    lines = [
        (f"L{n}", readings["time_ns"], v, colour)
        for n, v, colour in zip((1, 2, 3), values, ("accent", "medium", "ok"), strict=True)
    ]
    return plot(stem, title, unit, lines, scene, f"All phases: {said(np.concatenate(values), unit)}", names, 200)


def frequency(arrays: Arrays, nominal_hz: float, scene: Scene) -> Component:
    """Frequency by the device; the sentence says how far from nominal."""
    values = np.asarray(arrays["frequency_hz"], dtype=np.float64)
    told = f"Nominal {nominal_hz:g} Hz; {said(values, 'Hz')}"
    return plot(
        "frequency",
        "Frequency",
        "Hz",
        [("frequency", arrays["time_ns"], values, "accent")],
        scene,
        told,
        ("frequency_hz",),
        200,
    )


def rocof(arrays: Arrays, scene: Scene) -> Component:
    """Rate of change of frequency by the device."""
    values = np.asarray(arrays["rocof_hz_per_s"], dtype=np.float64)
    told = said(values, "Hz/s")
    return plot(
        "rocof",
        "Rate of change of frequency",
        "Hz/s",
        [("ROCOF", arrays["time_ns"], values, "accent")],
        scene,
        told,
        ("rocof_hz_per_s",),
        160,
    )


def magnitudes(device: Device, arrays: Arrays, kind: ChannelKind, scene: Scene) -> Component | None:
    """Magnitudes of the voltage or current phasors; None where the device has none."""
    chosen = [(i, c) for i, c in enumerate(device.channels) if c.kind is kind and i < arrays["magnitude"].shape[1]][:3]
    if not chosen:
        return None
    unit = chosen[0][1].unit
    colours = ("accent", "medium", "ok")
    lines = [
        (c.name.strip() or f"phasor {i}", arrays["time_ns"], arrays["magnitude"][:, i].astype(np.float64), colours[n])
        for n, (i, c) in enumerate(chosen)
    ]
    told = f"{count(len(chosen), 'phasor')}: {said(np.concatenate([line[2] for line in lines]), unit)}"
    title = "Voltage phasors, magnitude" if kind is ChannelKind.VOLTAGE else "Current phasors, magnitude"
    judged = [f"magnitude_{i}" for i, _ in chosen]
    return plot(f"magnitude-{kind}", title, unit, lines, scene, told, judged, 200)


def first_angle(arrays: Arrays) -> F64:
    """Angle of the first phasor in rad, shape (n,); NaN where its magnitude is zero, for nothing has no angle."""
    if not arrays["angle_rad"].shape[1]:
        return np.full(len(arrays["time_ns"]), np.nan)
    return np.where(arrays["magnitude"][:, 0] > 0, arrays["angle_rad"][:, 0].astype(np.float64), np.nan)


def angle(arrays: Arrays, neighbours: Sequence[tuple[I64, F64]], nominal_hz: float, scene: Scene) -> Component:
    """Angle of the first phasor against the median of the neighbours; alone, its angle as sent."""
    time_ns = np.asarray(arrays["time_ns"], dtype=np.int64)
    own = first_angle(arrays)
    if len(own) and not np.isfinite(own).any():
        return blank("Angle of the first phasor", "rad", "its magnitude is zero: a phasor of nothing has no angle")
    if not neighbours:
        told = "Fewer than two PMUs to compare with report now: the angle as sent, from −π to π, proves nothing alone."
        return plot("angle", "Angle of the first phasor", "rad", [("angle", time_ns, own, "accent")], scene, told)
    turned = against_neighbours(time_ns, own, neighbours)
    drift = turned[np.isfinite(turned)]
    moved = quantity(float(drift[-1]), "rad") if len(drift) else "no value"
    told = (
        f"Angle of the first phasor minus the median of {count(len(neighbours), 'neighbour')}, zero at the start:"
        f" {moved} at the end. A true clock keeps it flat; 1 mrad is {1e3 / (2 * np.pi * nominal_hz):.1f} µs."
    )
    rad_per_us = 2e-6 * np.pi * nominal_hz
    lines = [("against neighbours", time_ns, turned, "accent")]
    return plot("angle", "Angle against neighbours", "rad", lines, scene, told, CLOCK_SIGNALS, 260, rad_per_us)


def column(arrays: Arrays, signal: str, scene: Scene) -> Component:
    """Any column of a device by its name."""
    unit = unit_of(signal)
    values = np.asarray(arrays[signal], dtype=np.float64)
    title = signal_words(signal).capitalize()
    lines = [(signal_words(signal), arrays["time_ns"], values, "accent")]
    return plot(f"signal-{signal}", title, unit, lines, scene, said(values, unit), (signal,), 260)


def power_of(device: Device, arrays: Arrays) -> tuple[I64, F64] | None:
    """(time_ns, power in W) of a PMU's phasors; None where it has no three voltages and currents."""
    power = three_phase_power_w(
        arrays["magnitude"].astype(np.float64), arrays["angle_rad"].astype(np.float64), device.channels
    )
    return None if power is None else (np.asarray(arrays["time_ns"], dtype=np.int64), power)
