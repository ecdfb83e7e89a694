"""The fields of one PMU in a DATA frame: raw numbers to units and back, for whole runs of PMUs at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from model.block import F64, I64, UNKNOWN_TIME_ERROR_NS
from wire.c37118.configuration import PHASOR_UNIT, Format, Pmu
from wire.c37118.frames import U8, U16

Complex = npt.NDArray[np.complex128]
Raw = npt.NDArray[np.void]
Numbers = npt.NDArray[np.int16] | npt.NDArray[np.float32]

ABSENT = -0x8000  # 0x8000 of an integer field: no data
ANGLE_UNIT_RAD = 1e-4
ROCOF_UNIT_HZ_PER_S = 0.01
FREQUENCY_UNIT_HZ = 1e-3
STAT_NOT_IN_SYNC = 0x2000
STAT_CONFIGURATION_CHANGE = 0x0400
_PMU_TQ_SHIFT = 6
_MSG_TQ_MASK = 0x0F
# MSG_TQ: 0 locked (no bound stated), 1 to 0xB within 1 ns to 10 s in decades, else unknown.
_MSG_TQ_NS = np.array([0, *(10**k for k in range(11)), -1, -1, -1, -1], np.int64)
# PMU_TQ: 0 not used, 1 < 100 ns to 6 < 10 ms in decades, 7 more or unknown.
_PMU_TQ_NS = np.array([0, *(10**k for k in range(2, 8)), UNKNOWN_TIME_ERROR_NS], np.int64)


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring PMUs of one shape: first PMU's position, how many, their common format and counts."""

    first: int
    pmus: tuple[Pmu, ...]

    @property
    def form(self) -> Format:
        """The FORMAT word they share."""
        return self.pmus[0].form

    @property
    def counts(self) -> tuple[int, int, int]:
        """Phasors, analogs and digital words of each."""
        return self.pmus[0].counts


def time_errors_ns(stat: U16, time_quality: U8) -> I64:
    """Bound of the stamp's error in ns, -1 unknown: the PMU's own word where it gives one, else the message's.

    A PMU that says it is not in sync and gives no bound is unknown, whatever the message says.
    """
    code = (stat >> _PMU_TQ_SHIFT) & 7
    message = _MSG_TQ_NS[time_quality & _MSG_TQ_MASK]
    error = np.where(code == 0, message, _PMU_TQ_NS[code])
    silent = (stat & STAT_NOT_IN_SYNC != 0) & (error == 0)
    return np.where(silent, UNKNOWN_TIME_ERROR_NS, error)


def find_runs(pmus: tuple[Pmu, ...]) -> tuple[Run, ...]:
    """PMUs in their order, cut where FORMAT or the numbers of channels change."""
    found: list[Run] = []
    first = 0
    for _, group in groupby(pmus, key=lambda pmu: (pmu.form, pmu.counts)):
        members = tuple(group)
        found.append(Run(first, members))
        first += len(members)
    return tuple(found)


def pmu_type(run: Run) -> np.dtype[np.void]:
    """Memory of one PMU of a run in a DATA frame."""
    phasors, analogs, digitals = run.counts
    return np.dtype(
        [
            ("stat", ">u2"),
            ("phasors", ">f4" if run.form & Format.FLOAT_PHASORS else ">i2", (phasors, 2)),
            ("frequency", ">f4" if run.form & Format.FLOAT_FREQUENCY else ">i2", (2,)),
            ("analogs", ">f4" if run.form & Format.FLOAT_ANALOGS else ">i2", (analogs,)),
            ("digitals", ">u2", (digitals,)),
        ]
    )


def read_frequencies(raw: Numbers, run: Run) -> F64:
    """Hz and Hz/s, shape (..., 2). Floats are actual values, integers mHz from nominal and 0.01 Hz/s."""
    if run.form & Format.FLOAT_FREQUENCY:
        return raw.astype(np.float64)
    nominal = np.array([(pmu.nominal_hz, 0.0) for pmu in run.pmus])
    scaled = raw * np.array([FREQUENCY_UNIT_HZ, ROCOF_UNIT_HZ_PER_S]) + nominal
    return np.where(raw == ABSENT, np.nan, scaled)


def read_phasors(raw: Numbers, run: Run) -> tuple[F64, F64]:
    """Magnitudes in V or A and angles in rad, shape (..., channels) each."""
    first, second = raw[..., 0].astype(np.float64), raw[..., 1].astype(np.float64)
    polar = bool(run.form & Format.POLAR)
    if run.form & Format.FLOAT_PHASORS:
        # In double precision: 32 bits would lose millivolts of 100 kV on the way to polar, and squares overflow.
        return (first, second) if polar else (np.sqrt(first * first + second * second), np.arctan2(second, first))
    factor = np.array([[phasor.factor for phasor in pmu.phasors] for pmu in run.pmus]) * PHASOR_UNIT
    if polar:
        absent = raw[..., 1] == ABSENT
        magnitude, angle_rad = np.where(first < 0, first + 0x1_0000, first), second * ANGLE_UNIT_RAD
    else:
        absent = (raw == ABSENT).any(axis=-1)
        magnitude, angle_rad = np.sqrt(first * first + second * second), np.arctan2(second, first)
    return np.where(absent, np.nan, magnitude * factor), np.where(absent, np.nan, angle_rad)


def _analog_factors(run: Run) -> F64:
    """Factors of integer analogs; 0 is no scale at all and read as 1."""
    return np.array([[analog.factor or 1 for analog in pmu.analogs] for pmu in run.pmus], np.float64)


def read_analogs(raw: Numbers, run: Run) -> F64:
    """Analogs, shape (..., channels): integers times the factor of ANUNIT, floats as sent."""
    if run.form & Format.FLOAT_ANALOGS:
        return raw.astype(np.float64)
    return np.where(raw == ABSENT, np.nan, raw * _analog_factors(run))


def _integers(values: F64, low: int, high: int) -> npt.NDArray[np.int64]:
    """Rounded and limited integers; NaN becomes the mark of absence."""
    absent = np.isnan(values)
    limited = np.clip(np.rint(np.where(absent, 0.0, values)), low, high).astype(np.int64)
    return np.where(absent, ABSENT, limited)


def write_phasors(target: Raw, run: Run, phasors: Complex) -> None:
    """Put complex V or A of shape (n, pmus, channels) into frames; integers are limited to their range."""
    count = run.counts[0]
    chosen = phasors[..., :count]
    polar = bool(run.form & Format.POLAR)
    first, second = (np.abs(chosen), np.angle(chosen)) if polar else (chosen.real, chosen.imag)
    if run.form & Format.FLOAT_PHASORS:
        target["phasors"][..., 0], target["phasors"][..., 1] = first, second
        return
    factor = np.array([[phasor.factor for phasor in pmu.phasors] for pmu in run.pmus]) * PHASOR_UNIT
    if polar:
        magnitude = np.where(np.isnan(second), ABSENT, _integers(first / factor, 0, 0xFFFF))
        target["phasors"][..., 0] = magnitude.astype(np.uint16).astype(np.int16)
        target["phasors"][..., 1] = _integers(second / ANGLE_UNIT_RAD, -31_416, 31_416)
    else:
        target["phasors"][..., 0] = _integers(first / factor, -0x7FFF, 0x7FFF)
        target["phasors"][..., 1] = _integers(second / factor, -0x7FFF, 0x7FFF)


def write_frequency(target: Raw, run: Run, frequency_hz: F64, rocof_hz_per_s: F64) -> None:
    """Put Hz and Hz/s of shape (n, pmus) into frames."""
    if run.form & Format.FLOAT_FREQUENCY:
        target["frequency"][..., 0], target["frequency"][..., 1] = frequency_hz, rocof_hz_per_s
        return
    nominal = np.array([pmu.nominal_hz for pmu in run.pmus], np.float64)
    deviation = (frequency_hz - nominal) / FREQUENCY_UNIT_HZ
    target["frequency"][..., 0] = _integers(deviation, -0x7FFF, 0x7FFF)
    target["frequency"][..., 1] = _integers(rocof_hz_per_s / ROCOF_UNIT_HZ_PER_S, -0x7FFF, 0x7FFF)


def write_rest(target: Raw, run: Run, analogs: F64 | None, digitals: U16 | None, chosen: slice) -> None:
    """Put the chosen PMUs' analogs and digital words into frames; analogs not given are absent, digitals 0."""
    _, analog_count, digital_count = run.counts
    if digitals is not None and digital_count:
        target["digitals"] = digitals[:, chosen, :digital_count]
    if not analog_count:
        return
    if analogs is None:
        absent = np.nan if run.form & Format.FLOAT_ANALOGS else ABSENT
        target["analogs"] = absent
        return
    values = analogs[:, chosen, :analog_count]
    is_float = bool(run.form & Format.FLOAT_ANALOGS)
    target["analogs"] = values if is_float else _integers(values / _analog_factors(run), -0x7FFF, 0x7FFF)
