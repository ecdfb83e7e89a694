"""What a meter-against-PMU finding says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytics.budget import no_chance
from analytics.detectors.state import Bools
from analytics.explain import duration, percent, quantity
from model.block import F64
from model.device import Provenance
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import stable_id
from model.time import NS_PER_S, to_datetime

_UNITS = {"power_w": "W", "energy_wh": "Wh", "voltage_v": "V"}
_WORDS = {"power_w": "power", "energy_wh": "energy", "voltage_v": "voltage"}
_BAND_SIGMAS = 3.0
_HIGH_RATIO = 0.05
_CAUSES = (
    "meter readings altered in its smart part or on the way",
    "current transformer of the meter shunted, defective or exchanged",
    "PMU transducer defective or its channel scaled anew",
    "a load connected between the two measuring points",
    "meter or PMU assigned to the wrong unit",
)


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Both metrologies at the moment of the alarm; arrays by quantity."""

    site: str
    detector: str
    version: str
    meter: int
    pmu: int
    meter_name: str
    pmu_name: str
    start_ns: int
    end_ns: int
    quantities: tuple[str, ...]
    statistic: F64
    threshold: float
    scores_per_day: float
    observed: F64
    expected: F64
    sigma: F64
    learnt: Bools
    provenance: Provenance


def finding(c: Comparison) -> Finding:
    """The finding of one alarm."""
    main = int(np.argmax(c.statistic))
    name = c.quantities[main]
    ratio = float(c.observed[main] / c.expected[main] - 1.0)
    return Finding(
        finding_id=stable_id("finding", c.site, c.detector, c.meter, c.start_ns),
        site=c.site,
        kind=FindingKind.METER_TAMPER,
        detector=c.detector,
        detector_version=c.version,
        devices=(c.meter, c.pmu),
        start=to_datetime(c.start_ns),
        end=to_datetime(c.end_ns),
        severity=Severity.HIGH if abs(ratio) >= _HIGH_RATIO else Severity.MEDIUM,
        score=float(c.statistic[main] / c.threshold),
        probability=no_chance(float(c.statistic[main]), c.scores_per_day),
        title=f"{c.meter_name} reports {percent(ratio)} {_WORDS[name]} against its PMU",
        explanation=_explanation(c, main, ratio),
        evidence=_evidence(c),
        missing=_missing(c),
        causes=_CAUSES,
        technique="T0856",
        provenance=c.provenance,
    )


def _explanation(c: Comparison, main: int, ratio: float) -> str:
    name = c.quantities[main]
    unit, word = _UNITS[name], _WORDS[name]
    lasted = duration((c.end_ns - c.start_ns) / NS_PER_S)
    own = "its own usual ratio to the PMU" if c.learnt[main] else "the accuracy classes of both instruments"
    return (
        f"The meter reports {word} {quantity(float(c.observed[main]), unit)}; the PMU {c.pmu_name} behind the same "
        f"terminals and {own} say {quantity(float(c.expected[main]), unit)} "
        f"± {quantity(_BAND_SIGMAS * float(c.sigma[main]), unit)} ({percent(ratio)}, for {lasted}). "
        "A real change of load moves both instruments alike."
    )


def _evidence(c: Comparison) -> tuple[Evidence, ...]:
    told = [i for i in range(len(c.quantities)) if np.isfinite(c.observed[i]) and np.isfinite(c.expected[i])]
    total = sum(float(c.statistic[i]) for i in told)
    return tuple(
        Evidence(
            signal=c.quantities[i],
            observed=float(c.observed[i]),
            expected=float(c.expected[i]),
            lower=float(c.expected[i] - _BAND_SIGMAS * c.sigma[i]),
            upper=float(c.expected[i] + _BAND_SIGMAS * c.sigma[i]),
            unit=_UNITS[c.quantities[i]],
            share=float(c.statistic[i]) / total,
        )
        for i in told
    )


def _missing(c: Comparison) -> tuple[str, ...]:
    """What was looked for and not there."""
    missing = []
    for i, name in enumerate(c.quantities):
        if not np.isfinite(c.observed[i]):
            missing.append(f"{_WORDS[name]}: not comparable yet (coverage, load or register step)")
        elif not c.learnt[i]:
            missing.append(f"{_WORDS[name]}: own usual ratio not learnt yet, accuracy classes used")
    return tuple(missing)
