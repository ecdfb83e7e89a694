"""What a data-quality finding says: per cause, from one row of readings, in units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from analytics.explain import duration, quantity
from model.finding import Evidence, Severity

INT16_MHZ = 65.536  # a signed 16-bit FREQ word in mHz wraps after this many Hz


@dataclass(frozen=True, slots=True)
class Sight:
    """One row as the words see it. Voltage is the lowest (meter) or highest (PMU) of the phases."""

    device: str
    is_pmu: bool
    rows: int  # rows in the run that led here
    frequency_hz: float
    nominal_hz: float
    voltage_v: float
    nominal_voltage_v: float
    register_wh: float
    register_before_wh: float
    gap_s: float
    interval_s: float
    stat: int
    delay_s: float  # received minus stamped


@dataclass(frozen=True, slots=True)
class Said:
    """The telling parts of a finding."""

    title: str
    explanation: str
    evidence: tuple[Evidence, ...]
    score: float
    severity: Severity
    causes: tuple[str, ...]
    technique: str = ""


def _frequency_evidence(s: Sight, share: float) -> Evidence:
    low, high = s.nominal_hz * 0.9, s.nominal_hz * 1.1
    return Evidence("frequency_hz", s.frequency_hz, s.nominal_hz, low, high, "Hz", share)


def _wrapped(s: Sight) -> str:
    """Tell the wrap of integer FREQ: nominal minus nominal, plus the 65.536 Hz of 16 bits in mHz."""
    if abs(s.frequency_hz - INT16_MHZ) > 0.01:
        return f"frequency {quantity(s.frequency_hz, 'Hz', 5)}"
    return (
        f"frequency {quantity(s.frequency_hz, 'Hz', 5)} (nominal {quantity(s.nominal_hz, 'Hz')} "
        f"{s.frequency_hz - s.nominal_hz:+.3f} Hz: a wrapped -{s.nominal_hz:g} Hz in 16 bits, so 0 Hz was measured)"
    )


def freeze(s: Sight) -> Said:
    """A run of equal readings."""
    what = "phasors" if s.is_pmu else "power, voltages and currents"
    return Said(
        f"{s.device} repeats itself",
        f"{s.rows} {'frames' if s.is_pmu else 'readings'} in a row hold exactly the same {what}; "
        "real measurements always differ in their last digits.",
        (Evidence("equal_readings", s.rows, 1, 0, s.rows - 1, "", 1.0),),
        1.0,
        Severity.MEDIUM,
        ("measuring part hangs", "last value held by a gateway", "test signal", "replayed or frozen by an attacker"),
        "T0856",
    )


def near_zero(s: Sight) -> Said:
    """No voltage while the device talks."""
    limit = 0.1 * s.nominal_voltage_v if not s.is_pmu else 0.01 * s.nominal_voltage_v
    return Said(
        f"{s.device} sees almost no voltage",
        f"Voltage {quantity(s.voltage_v, 'V')} in {s.rows} rows, nominal {quantity(s.nominal_voltage_v, 'V')}; "
        "the device itself is powered, since it reports.",
        (Evidence("voltage_v", s.voltage_v, s.nominal_voltage_v, limit, 1.2 * s.nominal_voltage_v, "V", 1.0),),
        limit / max(abs(s.voltage_v), limit / 100.0),
        Severity.MEDIUM,
        ("blown fuse or open phase", "outage with a battery-backed device", "input not connected", "values suppressed"),
        "T0856",
    )


def idle(s: Sight) -> Said:
    """A PMU without input: nothing measured and a frequency that cannot be."""
    zero = Evidence("voltage_v", s.voltage_v, s.nominal_voltage_v, 0.01 * s.nominal_voltage_v, 1e9, "V", 0.5)
    return Said(
        f"{s.device} is idle: zero phasors and an implausible frequency",
        f"All voltage phasors are {quantity(s.voltage_v, 'V')} with {_wrapped(s)}, while STAT "
        f"{s.stat:#06x} claims {'good data' if s.stat >> 14 == 0 else 'an error'}: an idle input.",
        (_frequency_evidence(s, 0.5), zero),
        abs(s.frequency_hz - s.nominal_hz) / (0.1 * s.nominal_hz),
        Severity.LOW,
        ("input not connected", "channel not in use", "transformer fuse open", "PMU restarted"),
    )


def frequency(s: Sight) -> Said:
    """A frequency no grid has."""
    return Said(
        f"{s.device} reports an implausible frequency",
        f"It reports {_wrapped(s)}, expected {0.9 * s.nominal_hz:g} to {1.1 * s.nominal_hz:g} Hz.",
        (_frequency_evidence(s, 1.0),),
        abs(s.frequency_hz - s.nominal_hz) / (0.1 * s.nominal_hz),
        Severity.MEDIUM,
        (
            "input too weak to measure",
            "wrong scaling of FREQ",
            "nominal frequency wrong in the inventory",
            "false data",
        ),
        "T0856",
    )


def register(s: Sight) -> Said:
    """A register that counts down."""
    loss = s.register_before_wh - s.register_wh
    return Said(
        f"Energy register of {s.device} went backwards",
        f"The register fell from {s.register_before_wh:.1f} Wh to {s.register_wh:.1f} Wh, by {quantity(loss, 'Wh')}; "
        "registers only rise.",
        (Evidence("energy_wh", s.register_wh, s.register_before_wh, s.register_before_wh, 1e15, "Wh", 1.0),),
        max(1.0, loss),
        Severity.MEDIUM,
        ("meter exchanged under the same name", "register overflow", "old data sent again", "register tampered with"),
        "T0856",
    )


def data_error(s: Sight) -> Said:
    """The PMU itself says that its data are not usable."""
    return Said(
        f"{s.device} marks its data as not usable",
        f"STAT {s.stat:#06x} in {s.rows} frames: bits 15-14 are {s.stat >> 14:02b}, expected 00 (good).",
        (Evidence("stat_data_error", s.stat >> 14, 0, 0, 0, "", 1.0),),
        1.0,
        Severity.LOW,
        ("PMU in test mode", "PMU error", "data absent at the concentrator"),
    )


def not_in_sync(s: Sight) -> Said:
    """The PMU itself says that its clock has no reference."""
    return Said(
        f"{s.device} is not synchronised",
        f"STAT {s.stat:#06x} in {s.rows} frames: bit 13 says that the clock has lost its time source. Its angles are "
        "not comparable with others until it is back.",
        (Evidence("stat_not_in_sync", 1, 0, 0, 0, "", 1.0),),
        1.0,
        Severity.LOW,
        ("satellite antenna or its cable", "receiver restarting", "satellite signal jammed"),
    )


def duplicate(s: Sight) -> Said:
    """The same time again and again."""
    return Said(
        f"{s.device} repeats time stamps",
        f"{s.rows} rows in a row carry a time that was already received.",
        (Evidence("repeated_times", s.rows, 0, 0, s.rows - 1, "", 1.0),),
        1.0,
        Severity.LOW,
        ("data sent again after a broken connection", "two paths for one device", "identity used twice", "replay"),
    )


def gap(s: Sight) -> Said:
    """Data are back after a hole."""
    limit = max(5.0 * s.interval_s, 10.0)
    return Said(
        f"{s.device} was silent for {duration(s.gap_s)}",
        f"No data for {duration(s.gap_s)}; it usually reports every {duration(s.interval_s)}.",
        (Evidence("interval_s", s.gap_s, s.interval_s, 0.0, limit, "s", 1.0),),
        s.gap_s / limit,
        Severity.LOW,
        ("connection lost", "device restarted", "maintenance", "reports blocked"),
        "T0804",
    )


def stamp(s: Sight) -> Said:
    """Times far from ours."""
    return Said(
        f"{s.device} stamps impossible times",
        f"Its times are {duration(abs(s.delay_s))} {'behind' if s.delay_s > 0 else 'ahead of'} the time of receipt.",
        (Evidence("receive_delay_s", s.delay_s, 0.0, -300.0, 5_184_000.0, "s", 1.0),),
        max(1.0, abs(s.delay_s) / 5_184_000.0),
        Severity.MEDIUM,
        ("clock never set (1970)", "battery of the clock empty", "clock attacked"),
    )


WORDS: dict[str, Callable[[Sight], Said]] = {
    "freeze": freeze,
    "near-zero": near_zero,
    "idle": idle,
    "frequency": frequency,
    "register": register,
    "data-error": data_error,
    "not-in-sync": not_in_sync,
    "gap": gap,
    "stamp": stamp,
    "duplicate": duplicate,
}
