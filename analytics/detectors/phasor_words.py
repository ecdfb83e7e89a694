"""What a phase-drift finding says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from analytics.budget import MOST, SECONDS_PER_DAY, no_chance
from analytics.explain import duration, percent, quantity
from model.device import Provenance
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import stable_id
from model.time import NS_PER_S, to_datetime

_US = 1e6
_BAND_SIGMAS = 3.0
_VOLTAGE_RATIO = 0.01
_CAUSES = (
    "satellite time spoofed at this PMU",
    "its receiver lost the satellites and drifts on its own oscillator",
    "time set anew, or a leap second handled wrongly",
    "PMU restarted or its phase wiring changed",
)


@dataclass(frozen=True, slots=True)
class Turn:
    """How far a PMU turned against its neighbours, and what else moved."""

    site: str
    detector: str
    version: str
    device: int
    name: str
    start_ns: int
    end_ns: int
    ramp: bool
    turned_rad: float
    spread_rad: float
    step_rad: float
    off_level_rad: float
    statistic: float
    threshold: float
    frequency_hz: float
    neighbours: int
    voltage_v: float
    voltage_before_v: float
    power_w: float
    power_before_w: float
    power_ratio: float
    learnt: bool
    provenance: Provenance

    @property
    def offset_us(self) -> float:
        """Clock error: ahead of time turns phasors back."""
        return -self.turned_rad / (2.0 * math.pi * self.frequency_hz) * _US

    @property
    def seconds(self) -> float:
        """From start to judgement."""
        return (self.end_ns - self.start_ns) / NS_PER_S


def finding(t: Turn) -> Finding:
    """The finding of one alarm."""
    ramp_score, step_score = t.statistic / t.threshold, abs(t.off_level_rad) / t.step_rad
    return Finding(
        finding_id=stable_id("finding", t.site, t.detector, t.device, t.start_ns),
        site=t.site,
        kind=FindingKind.CLOCK_ATTACK,
        detector=t.detector,
        detector_version=t.version,
        devices=(t.device,),
        start=to_datetime(t.start_ns),
        end=to_datetime(t.end_ns),
        severity=Severity.HIGH,
        score=ramp_score if t.ramp else step_score,
        probability=no_chance(t.statistic, SECONDS_PER_DAY) if t.ramp else MOST,
        title=f"Clock of {t.name} {'drifts' if t.ramp else 'jumped'}: {t.offset_us:+.0f} µs against its neighbours",
        explanation=_explanation(t),
        evidence=_evidence(t, ramp_score, step_score),
        missing=_missing(t),
        causes=_CAUSES,
        technique="",
        provenance=t.provenance,
    )


def _explanation(t: Turn) -> str:
    rate = f", {t.offset_us / max(t.seconds, 1.0):+.1f} µs/s" if t.ramp else ""
    voltage = percent(t.voltage_v / t.voltage_before_v - 1.0) if t.voltage_before_v else "unknown"
    return (
        f"Its voltage phasor turned {math.degrees(t.turned_rad):+.2f}° against the consensus of {t.neighbours} "
        f"neighbours within {duration(t.seconds)}: at {t.frequency_hz:g} Hz a clock error of {t.offset_us:+.0f} µs"
        f"{rate}. "
        f"Voltage moved {voltage}, power from {quantity(t.power_before_w, 'W')} to {quantity(t.power_w, 'W')}: "
        "a real change of angle of this size would have moved the voltage too."
    )


def _evidence(t: Turn, ramp_score: float, step_score: float) -> tuple[Evidence, ...]:
    us_per_rad = _US / (2.0 * math.pi * t.frequency_hz)
    band_us = _BAND_SIGMAS * t.spread_rad * us_per_rad
    level_us, step_us = -t.off_level_rad * us_per_rad, t.step_rad * us_per_rad
    share = ramp_score / (ramp_score + step_score)
    room_w = max(t.power_ratio * abs(t.power_before_w), 50.0)
    return (
        Evidence("clock_drift_us", t.offset_us, 0.0, -band_us, band_us, "µs", share),
        Evidence("clock_offset_us", level_us, 0.0, -step_us, step_us, "µs", 1.0 - share),
        _near("voltage_v", t.voltage_v, t.voltage_before_v, _VOLTAGE_RATIO * abs(t.voltage_before_v), "V"),
        _near("power_w", t.power_w, t.power_before_w, room_w, "W"),
    )


def _near(signal: str, now: float, before: float, room: float, unit: str) -> Evidence:
    """A signal that should have moved, and did not: it has no part in the score."""
    return Evidence(signal, now, before, before - room, before + room, unit, 0.0)


def _missing(t: Turn) -> tuple[str, ...]:
    missing = ["state of the satellite receiver (not part of C37.118 data)"]
    if not t.learnt:
        missing.append("own usual spread of the angle: not learnt yet, a cautious one was used")
    if t.neighbours < 4:
        missing.append(f"only {t.neighbours} neighbours to compare with")
    return tuple(missing)
