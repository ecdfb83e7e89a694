"""Attacks are found in time and named rightly; their benign twins are not flagged."""

from __future__ import annotations

import pytest

from analytics.detectors import MeterIntegrity, PhaseDrift
from model.finding import Finding, FindingKind
from model.time import NS_PER_S, to_ns
from norm.fleet import Fleet as Twins
from norm.scenario import parse_scenarios
from tests.analytics import streams

UNITS, START_S, SECONDS = 12, 30, 75


def findings_of(make: type, scenario: str, seed: int) -> list[Finding]:
    twins = Twins(seed, "DSO-0001", UNITS, parse_scenarios(scenario, streams.START_NS, UNITS))
    detector = make(streams.known_fleet(twins))
    return [f for block in streams.blocks(twins, SECONDS) for f in detector.update(block)]


def delay_s(finding: Finding) -> float:
    return (to_ns(finding.end) - streams.START_NS) / NS_PER_S - START_S


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.6, 0.9])
def test_a_meter_that_under_reports_is_found(strength: float) -> None:
    (found,) = findings_of(MeterIntegrity, f"s01:5@{START_S}*{strength}", 21)
    assert found.kind is FindingKind.METER_TAMPER
    assert found.technique == "T0856"
    assert found.devices == (9, 10)  # meter and PMU of the fifth unit
    assert 0 < delay_s(found) <= 30
    power = next(e for e in found.evidence if e.signal == "power_w")
    assert power.observed / power.expected == pytest.approx(strength, abs=0.05)


@pytest.mark.parametrize(("rate", "most_s"), [(20, 20), (30, 15), (50, 10), (-30, 15)])
def test_a_clock_that_runs_away_is_found(rate: int, most_s: float) -> None:
    (found,) = findings_of(PhaseDrift, f"s08:9@{START_S}*{rate}", 22)
    assert found.kind is FindingKind.CLOCK_ATTACK
    assert found.technique == ""
    assert found.devices == (18,)
    assert 0 < delay_s(found) <= most_s
    drift = next(e for e in found.evidence if e.signal == "clock_drift_us")
    assert drift.observed / delay_s(found) == pytest.approx(rate, rel=0.35)


def test_a_clock_that_jumps_is_found() -> None:
    (found,) = findings_of(PhaseDrift, f"s08-step:9@{START_S}*500", 23)
    assert delay_s(found) <= 10
    assert "+500 µs" in found.title or "+499 µs" in found.title or "+501 µs" in found.title


@pytest.mark.parametrize("scenario", ["twin-load-drop:7", "twin-angle"])
@pytest.mark.parametrize("make", [MeterIntegrity, PhaseDrift])
def test_a_benign_twin_is_not_flagged(make: type, scenario: str) -> None:
    assert findings_of(make, f"{scenario}@{START_S}", 24) == []


def test_an_attack_on_the_meter_leaves_the_clock_alone_and_the_other_way_round() -> None:
    assert findings_of(PhaseDrift, f"s01:5@{START_S}", 25) == []
    assert findings_of(MeterIntegrity, f"s08:9@{START_S}", 25) == []
