"""The fields of one PMU in a DATA frame: raw numbers to units and back, for whole runs of PMUs at once."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from model.block import F64, phasor_columns
from wire.c37118.configuration import PHASOR_UNIT, Analog, Format, Phasor, Pmu
from wire.c37118.frames import U16

Complex = npt.NDArray[np.complex128]
Raw = npt.NDArray[np.void]
Numbers = npt.NDArray[Any]  # int16 or float32, as sent

ABSENT = -0x8000  # 0x8000 of an integer field: no data
ANGLE_UNIT_RAD = 1e-4
ROCOF_UNIT_HZ_PER_S = 0.01
FREQUENCY_UNIT_HZ = 1e-3
_ANGLE_LIMIT = 31_416


class Run:
    """Neighbouring PMUs of one shape: first PMU's position, the PMUs, and their scales as arrays (pmus, channels)."""

    def __init__(self, first: int, pmus: tuple[Pmu, ...]) -> None:
        self.first = first
        self.pmus = pmus
        self.form: Format = pmus[0].form
        self.counts: tuple[int, int, int] = pmus[0].counts
        self.columns = phasor_columns(*self.counts)
        self.polar = bool(self.form & Format.POLAR)
        self.float_phasors = bool(self.form & Format.FLOAT_PHASORS)
        self.float_analogs = bool(self.form & Format.FLOAT_ANALOGS)
        self.float_frequency = bool(self.form & Format.FLOAT_FREQUENCY)
        self.nominal_hz: F64 = np.array([pmu.nominal_hz for pmu in pmus], np.float64)
        self.phasor_factor = self._table([[_volts_or_amps(p, self.float_phasors) for p in pmu.phasors] for pmu in pmus])
        self.turn_rad = self._table([[_turn_rad(p) for p in pmu.phasors] for pmu in pmus])
        self.analog_factor = self._table([[_user_units(a, self.float_analogs) for a in pmu.analogs] for pmu in pmus])
        self.analog_offset = self._table([[a.scale.offset if a.scale else 0.0 for a in pmu.analogs] for pmu in pmus])
        self.turned = bool(self.turn_rad.any())
        self.phasors_scaled = bool((self.phasor_factor != 1.0).any())
        self.analogs_scaled = bool((self.analog_factor != 1.0).any() or self.analog_offset.any())

    @property
    def meaning(self) -> tuple[object, ...]:
        """All that the numbers of its frames depend on."""
        tables = (self.nominal_hz, self.phasor_factor, self.turn_rad, self.analog_factor, self.analog_offset)
        return (self.form, self.counts, len(self.pmus), *(table.tobytes() for table in tables))

    @staticmethod
    def _table(rows: list[list[float]]) -> F64:
        return np.array(rows, np.float64)


def _turn_rad(phasor: Phasor) -> float:
    """What the angle as sent is ahead by; a negative factor is half a turn."""
    if phasor.scale is None:
        return 0.0
    return phasor.scale.turn_rad + (np.pi if phasor.scale.factor < 0 else 0.0)


def _volts_or_amps(phasor: Phasor, floats: bool) -> float:
    """What a phasor as sent is multiplied by; PHUNIT says nothing about floats."""
    if phasor.scale is not None:
        return abs(phasor.scale.factor)
    return 1.0 if floats else phasor.factor * PHASOR_UNIT


def _user_units(analog: Analog, floats: bool) -> float:
    """What an analog as sent is multiplied by; a factor 0 of ANUNIT is no scale at all and read as 1."""
    if analog.scale is not None:
        return analog.scale.factor
    return 1.0 if floats else float(analog.factor or 1)


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
            ("phasors", ">f4" if run.float_phasors else ">i2", (phasors, 2)),
            ("frequency", ">f4" if run.float_frequency else ">i2", (2,)),
            ("analogs", ">f4" if run.float_analogs else ">i2", (analogs,)),
            ("digitals", ">u2", (digitals,)),
        ]
    )


def native(raw: Numbers) -> Numbers:
    """A contiguous copy in our byte order. Copying first and turning then is faster than numpy's way in one step."""
    copied = raw.copy()
    return copied.byteswap(inplace=True).view(copied.dtype.newbyteorder())


def read_frequencies(raw: Numbers, run: Run, into: F64) -> None:
    """Hz and Hz/s into shape (..., 2). Floats are actual values, integers mHz from nominal and 0.01 Hz/s."""
    numbers = native(raw)
    if run.float_frequency:
        into[...] = numbers
        return
    into[..., 0] = numbers[..., 0] * FREQUENCY_UNIT_HZ + run.nominal_hz
    into[..., 1] = numbers[..., 1] * ROCOF_UNIT_HZ_PER_S
    _blank(into, numbers == ABSENT)


def read_phasors(raw: Numbers, run: Run, into: F64) -> None:
    """Magnitudes in V or A and angles in rad, -pi..pi, into shape (..., channels, 2)."""
    numbers = native(raw)
    magnitude, angle_rad = into[..., 0], into[..., 1]
    absent = None
    if run.polar and run.float_phasors:
        into[...] = numbers
    elif run.polar:
        absent = numbers[..., 1] == ABSENT
        magnitude[...] = numbers[..., 0].view(np.uint16)
        np.multiply(numbers[..., 1], ANGLE_UNIT_RAD, out=angle_rad)
    else:
        absent = None if run.float_phasors else (numbers == ABSENT).any(axis=-1)
        # In double precision: 32 bits would lose millivolts of 100 kV on the way to polar, and squares overflow.
        real, imaginary = numbers[..., 0].astype(np.float64), numbers[..., 1].astype(np.float64)
        np.arctan2(imaginary, real, out=angle_rad)
        np.sqrt(real * real + imaginary * imaginary, out=magnitude)
    if run.phasors_scaled:
        magnitude *= run.phasor_factor
    if run.turned:
        angle_rad -= run.turn_rad
        angle_rad -= np.rint(angle_rad / (2 * np.pi)) * (2 * np.pi)
    if absent is not None:
        _blank(into, absent[..., None])


def read_analogs(raw: Numbers, run: Run, into: F64) -> None:
    """Analogs into shape (..., channels): factor times number, plus offset."""
    numbers = native(raw)
    into[...] = numbers
    if run.analogs_scaled:
        into *= run.analog_factor
        into += run.analog_offset
    if not run.float_analogs:
        _blank(into, numbers == ABSENT)


def _blank(values: F64, absent: npt.NDArray[np.bool_]) -> None:
    if absent.any():
        np.copyto(values, np.nan, where=absent)


def _no_zero(factor: F64) -> F64:
    """A scale of 0 lets nothing be said: what it divides becomes absent."""
    return np.where(factor == 0.0, np.nan, factor)


def _integers(values: F64, low: int, high: int) -> npt.NDArray[np.int64]:
    """Rounded and limited integers; NaN becomes the mark of absence."""
    absent = np.isnan(values)
    limited = np.clip(np.rint(np.where(absent, 0.0, values)), low, high).astype(np.int64)
    return np.where(absent, ABSENT, limited)


def write_phasors(target: Raw, run: Run, phasors: Complex) -> None:
    """Put complex V or A of shape (n, pmus, channels) into frames; integers are limited to their range."""
    chosen = phasors[..., : run.counts[0]]
    if run.turned:
        chosen = chosen * np.exp(1j * run.turn_rad)
    first, second = (np.abs(chosen), np.angle(chosen)) if run.polar else (chosen.real, chosen.imag)
    if run.phasors_scaled:
        factor = _no_zero(run.phasor_factor)
        first, second = first / factor, second if run.polar else second / factor
    if run.float_phasors:
        target["phasors"][..., 0], target["phasors"][..., 1] = first, second
    elif run.polar:
        magnitude = np.where(np.isnan(second), ABSENT, _integers(first, 0, 0xFFFF))
        target["phasors"][..., 0] = magnitude.astype(np.uint16).astype(np.int16)
        target["phasors"][..., 1] = _integers(second / ANGLE_UNIT_RAD, -_ANGLE_LIMIT, _ANGLE_LIMIT)
    else:
        target["phasors"][..., 0] = _integers(first, -0x7FFF, 0x7FFF)
        target["phasors"][..., 1] = _integers(second, -0x7FFF, 0x7FFF)


def write_frequency(target: Raw, run: Run, frequency_hz: F64, rocof_hz_per_s: F64) -> None:
    """Put Hz and Hz/s of shape (n, pmus) into frames."""
    if run.float_frequency:
        target["frequency"][..., 0], target["frequency"][..., 1] = frequency_hz, rocof_hz_per_s
        return
    deviation = (frequency_hz - run.nominal_hz) / FREQUENCY_UNIT_HZ
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
        target["analogs"] = np.nan if run.float_analogs else ABSENT
        return
    values = (analogs[:, chosen, :analog_count] - run.analog_offset) / _no_zero(run.analog_factor)
    target["analogs"] = values if run.float_analogs else _integers(values, -0x7FFF, 0x7FFF)
