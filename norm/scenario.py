"""Scenarios: attacks and their benign twins as data, injected at named points only, with their ground truth.

Numbers are those of the scenario pack: S01 a meter under-reports, S08 a PMU's clock is stepped or drifts. A benign twin
looks alike and is none: a detector that flags it is charged a false alarm. Detectors never read the ground truth.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from model.block import F64, I64
from model.errors import SetupError
from model.time import NS_PER_S, NS_PER_US, iso_utc, to_datetime
from norm.load import Ints

PACK_VERSION = "0.1"
DEFAULT_START_S = 25.0
FOREVER_NS = 2**62


class Point(StrEnum):
    """Where an injection enters."""

    SENSOR = "sensor"
    SMART_PART = "smart part"
    CLOCK = "clock"
    LINK = "link"
    GATEWAY = "gateway"
    HEAD_END = "head-end"
    GRID = "grid"  # nothing is attacked: a real change


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of scenario: what `strength` means, its range and default, and which unit it hits unless told."""

    name: str
    scenario: str
    point: Point
    benign: bool
    strength: float
    lowest: float
    highest: float
    strength_unit: str
    target: int  # number of the unit; 0: all units of the site
    technique: str
    verdict: str
    effect: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("s01", "S01", Point.SMART_PART, False, 0.6, 0.0, 1.0, "reported / true", 5, "T0856", "meter-tamper",
             "power and energy since the start are reported times the strength; the PMU stays right"),
        Kind("s01-consistent", "S01", Point.SMART_PART, False, 0.6, 0.0, 1.0, "reported / true", 5, "T0856",
             "meter-tamper", "as s01, with reactive power and currents scaled alike"),
        Kind("s08", "S08", Point.CLOCK, False, 30.0, -10_000.0, 10_000.0, "us/s", 9, "", "clock-attack",
             "the PMU's clock runs away at this rate: all its phasors turn back by 2 pi f t"),
        Kind("s08-step", "S08", Point.CLOCK, False, 500.0, -1e6, 1e6, "us", 9, "", "clock-attack",
             "the PMU's clock is set ahead at once"),
        Kind("twin-load-drop", "S01", Point.GRID, True, 0.6, 0.0, 10.0, "new / old load", 7, "", "none",
             "the unit really consumes less: meter and PMU agree"),
        Kind("twin-angle", "S08", Point.GRID, True, -0.5, -30.0, 30.0, "deg", 0, "", "none",
             "the angle behind the transformers really changes, for all PMUs alike"),
    )
}  # fmt: skip

_SPELLING = re.compile(r"(?P<name>[a-z0-9-]+)(:(?P<units>[0-9+]+))?(@(?P<start>[0-9.]+))?(\*(?P<strength>-?[0-9.]+))?")


@dataclass(frozen=True, slots=True)
class Injection:
    """One scenario at work: which units (numbers, empty: all) from when until when, and how strong."""

    kind: Kind
    units: tuple[int, ...]
    start_ns: int
    strength: float
    end_ns: int = FOREVER_NS

    def hits(self, numbers: Ints) -> np.typing.NDArray[np.bool_]:
        """Mask of the units that are hit, (u,)."""
        return np.isin(numbers, self.units) if self.units else np.ones(len(numbers), bool)

    def elapsed_s(self, time_ns: I64 | int) -> F64:
        """Seconds since the start, 0 before it, standing still after the end."""
        return np.asarray((np.clip(time_ns, self.start_ns, self.end_ns) - self.start_ns) / NS_PER_S)

    def active(self, time_ns: I64 | int) -> np.typing.NDArray[np.bool_]:
        """Whether it is at work."""
        return np.asarray((np.asarray(time_ns) >= self.start_ns) & (np.asarray(time_ns) < self.end_ns))


def parse_scenarios(text: str, start_ns: int, units: int) -> tuple[Injection, ...]:
    """Injections of e.g. "s01,s08:3+4@25*30": name, unit numbers, start in s after `start_ns`, strength.

    Starts are moved to the next whole second, the tick of the simulated loads. Raises SetupError.
    """
    return tuple(_parse(part.strip(), start_ns, units) for part in text.split(",") if part.strip())


def _parse(text: str, start_ns: int, units: int) -> Injection:
    match = _SPELLING.fullmatch(text)
    if match is None or match["name"] not in KINDS:
        raise SetupError(
            "scenario", text, f"NAME[:UNITS][@START_S][*STRENGTH], NAME of {', '.join(KINDS)}", "correct it"
        )
    kind = KINDS[match["name"]]
    start_s = _number(match["start"], DEFAULT_START_S, text)
    strength = _number(match["strength"], kind.strength, text)
    if not kind.lowest <= strength <= kind.highest:
        raise SetupError(
            f"strength of {text}", strength, f"{kind.lowest} to {kind.highest} {kind.strength_unit}", "change it"
        )
    targets = tuple(int(part) for part in (match["units"] or "").split("+") if part)
    if not targets and kind.target:
        targets = (min(kind.target, units),)
    if any(not 1 <= number <= units for number in targets):
        raise SetupError(f"units of {text}", targets, f"numbers 1 to {units}", "name units of this fleet")
    begin_ns = start_ns + round(start_s * NS_PER_S)
    return Injection(kind, targets, -(-begin_ns // NS_PER_S) * NS_PER_S, strength)


def _number(text: str | None, default: float, whole: str) -> float:
    if text is None:
        return default
    try:
        return float(text)
    except ValueError as error:
        raise SetupError("number in scenario", whole, "digits with at most one point", "correct it") from error


def clock_error_s(injections: Sequence[Injection], numbers: Ints, time_ns: I64) -> tuple[F64, F64]:
    """What clock attacks add to the PMUs' clocks: offset in s and its rate in s/s, each (n, u)."""
    offset = np.zeros((len(time_ns), len(numbers)))
    rate = np.zeros_like(offset)
    for injection in injections:
        hits = injection.hits(numbers)
        per_unit = injection.strength * NS_PER_US / NS_PER_S
        if injection.kind.name == "s08":
            offset += injection.elapsed_s(time_ns)[:, None] * per_unit * hits
            rate += injection.active(time_ns)[:, None] * per_unit * hits
        elif injection.kind.name == "s08-step":
            offset += injection.active(time_ns)[:, None] * per_unit * hits
    return offset, rate


def source_angle_rad(injections: Sequence[Injection], time_ns: I64) -> F64:
    """Real change of the angle behind the transformers, (n,)."""
    total = np.zeros(len(time_ns))
    for injection in injections:
        if injection.kind.name == "twin-angle":
            total += np.deg2rad(injection.strength) * injection.active(time_ns)
    return total


def load_scale(injections: Sequence[Injection], numbers: Ints, time_ns: int) -> F64:
    """Real change of loads, factor (u,)."""
    return _scale(injections, ("twin-load-drop",), numbers, time_ns)


def reported_scale(injections: Sequence[Injection], numbers: Ints, time_ns: int, *, consistent: bool = False) -> F64:
    """What tampered smart parts make of power (or, `consistent`, of reactive power and currents), factor (u,)."""
    return _scale(injections, ("s01-consistent",) if consistent else ("s01", "s01-consistent"), numbers, time_ns)


def _scale(injections: Sequence[Injection], names: tuple[str, ...], numbers: Ints, time_ns: int) -> F64:
    factor = np.ones(len(numbers))
    for injection in injections:
        if injection.kind.name in names and injection.active(time_ns):
            factor = np.where(injection.hits(numbers), factor * injection.strength, factor)
    return factor


def ground_truth(site: str, seed: int, units: Sequence[str], injections: Sequence[Injection]) -> str:
    """JSON for the scorer: what was injected, where, when, how strong, and the verdict expected of a right detector."""
    records = [_record(units, injection) for injection in injections]
    untouched = [u for i, u in enumerate(units, 1) if not any(i in x.units or not x.units for x in injections)]
    truth = {
        "simulated": True,
        "pack_version": PACK_VERSION,
        "site": site,
        "seed": seed,
        "injections": records,
        "untouched_controls": untouched,
    }
    return json.dumps(truth, indent=2)


def _record(units: Sequence[str], injection: Injection) -> dict[str, object]:
    kind = injection.kind
    names = [units[i - 1] for i in injection.units] or list(units)
    return {
        "scenario": kind.scenario,
        "variant": kind.name,
        "benign_twin": kind.benign,
        "injection_point": kind.point.value,
        "units": names,
        "start": iso_utc(to_datetime(injection.start_ns)),
        "end": None if injection.end_ns == FOREVER_NS else iso_utc(to_datetime(injection.end_ns)),
        "strength": injection.strength,
        "strength_unit": kind.strength_unit,
        "technique": kind.technique,
        "expected_verdict": kind.verdict,
        "effect": kind.effect,
        "customers": len(names),
    }
