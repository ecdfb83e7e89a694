"""What tshark must print for a configuration, line by line, and for STAT and time quality."""

from __future__ import annotations

from collections.abc import Iterator

from wire.c37118.configuration import (
    Analog,
    Component,
    Configuration,
    DigitalWord,
    Format,
    Modification,
    Phasor,
    PhasorScale,
    Pmu,
)
from wire.c37118.status import Status, TimeQuality

_COMPONENTS = {
    Component.ZERO: "Zero sequence",
    Component.POSITIVE: "Positive sequence",
    Component.NEGATIVE: "Negative sequence",
    Component.PHASE_A: "Phase A",
    Component.PHASE_B: "Phase B",
    Component.PHASE_C: "Phase C",
}
_MODIFICATIONS = (
    (Modification.OTHER, "Modification applied, type not here defined"),
    (Modification.PSEUDO_PHASOR, "Pseudo-phasor value (combined from other phasors)"),
    (Modification.ROTATED, "Phasor phase adjusted for rotation"),
    (Modification.PHASE_CALIBRATED, "Phasor phase adjusted for calibration"),
    (Modification.MAGNITUDE_CALIBRATED, "Phasor magnitude adjusted for calibration"),
    (Modification.FILTERED_SAME_RATE, "Filtered without changing sampling"),
    (Modification.NON_FIR_FILTERED, "Down sampled with non-FIR filter"),
    (Modification.FIR_FILTERED, "Down sampled with FIR filter"),
    (Modification.RESELECTED, "Down sampled by reselection"),
    (Modification.EXTRAPOLATED, "Up sampled with extrapolation"),
    (Modification.INTERPOLATED, "Up sampled with interpolation"),
)
_KINDS = {0: "single point-on-wave", 1: "rms of analog input", 2: "peak of input"}
_TIME_QUALITY = (
    "Not used (indicates code from previous version of profile)",
    "Estimated maximum time error < 100 ns",
    "Estimated maximum time error < 1 µs",
    "Estimated maximum time error < 10 µs",
    "Estimated maximum time error < 100 µs",
    "Estimated maximum time error < 1 ms",
    "Estimated maximum time error < 10 ms",
    "Estimated maximum time error > 10 ms or time error unknown",
)
_UNLOCKED = (
    "Locked or unlocked less than 10 s",
    "Unlocked for 10-100 s",
    "Unlocked for 100-1000 s",
    "Unlocked for over 1000 s",
)
_TRIGGERS = (
    "Manual",
    "Magnitude low",
    "Magnitude high",
    "Phase-angel diff",
    "Frequency high or low",
    "df/dt high",
    "Reserved",
    "Digital",
    *["User defined"] * 8,
)
_ERRORS = (
    "Good measurement data, no errors",
    "PMU error, no information about data",
    "PMU in test mode or absent data tags have been inserted (do not use values)",
    "PMU error (do not use values)",
)


def bits(value: int, mask: int, width: int) -> str:
    """A field within its word as Wireshark draws it: .... .1.. ...."""
    digits = "".join(str(value >> i & 1) if mask >> i & 1 else "." for i in reversed(range(width)))
    return " ".join(digits[i : i + 4] for i in range(0, width, 4))


def configuration_words(configuration: Configuration, long: bool) -> list[str]:
    """All lines under "Configuration data" of a CFG-3 (`long`) or CFG-2."""
    lines = ["Continuation index: 0"] if long else []
    lines += [
        f"Resolution of fractional second time stamp: {configuration.time_base}",
        f"Number of PMU blocks included in the frame: {len(configuration.pmus)}",
    ]
    for i, pmu in enumerate(configuration.pmus):
        lines += _pmu(i, pmu, long)
    rate = configuration.data_rate
    told = f"{rate} frame(s) per second" if rate > 0 else f"1 frame per {-rate} second(s)"
    return [*lines, f"Rate of transmission: {told}"]


def _pmu(position: int, pmu: Pmu, long: bool) -> Iterator[str]:
    yield f'Station #{position + 1}: "{_padded(pmu.station, long)}"'
    if long:
        yield f"Station name length: {len(pmu.station)} bytes"
        yield f"Station name: {pmu.station}".rstrip()
    yield f"PMU/DC ID number (Data source ID): {pmu.idcode}"
    if long and pmu.details:
        yield f"Global PMU ID (raw bytes): {pmu.details.global_id.hex(' ')}"
    yield from _format(pmu.form)
    yield f"Number of phasors: {len(pmu.phasors)}"
    yield f"Number of analog values: {len(pmu.analogs)}"
    yield f"Number of digital status words: {len(pmu.digitals)}"
    yield from _names("Phasor name", [phasor.name for phasor in pmu.phasors], long)
    yield from _names("Analog value", [analog.name for analog in pmu.analogs], long)
    digital = "Digital label" if long else "Digital status label"
    yield from _names(digital, [name for word in pmu.digitals for name in word.names], long)
    yield from _long_scales(pmu) if long else _short_scales(pmu.phasors, pmu.analogs)
    yield from _masks(pmu.digitals)
    if long:
        yield from _place(pmu)
    is_50 = pmu.nominal_hz == 50
    yield f"{bits(is_50, 1, 16)} = Nominal line frequency: {'50Hz' if is_50 else '60Hz'}"
    yield f"Configuration change count: {pmu.changes}"


def _padded(name: str, long: bool) -> str:
    return name if long else f"{name:16}"


def _format(form: Format) -> Iterator[str]:
    integer, floating = "16-bit integer", "32-bit IEEE floating point"
    yield "Data format in data frame"
    for bit, name in (
        (Format.FLOAT_FREQUENCY, "FREQ/DFREQ format"),
        (Format.FLOAT_ANALOGS, "Analog values format"),
        (Format.FLOAT_PHASORS, "Phasor format"),
    ):
        yield f"{bits(form, bit, 16)} = {name}: {floating if form & bit else integer}"
    notation = "polar" if form & Format.POLAR else "rectangular"
    yield f"{bits(form, Format.POLAR, 16)} = Phasor notation: {notation}"


def _names(what: str, names: list[str], long: bool) -> Iterator[str]:
    if names:
        yield f"{what}s ({len(names)})"
    for i, name in enumerate(names):
        yield f'{what} #{i + 1}: "{_padded(name, long)}"'
        if long:
            yield f"Channel name length: {len(name)} bytes"
            yield f"Channel name: {name}".rstrip()


def _short_scales(phasors: tuple[Phasor, ...], analogs: tuple[Analog, ...]) -> Iterator[str]:
    if phasors:
        yield f"Phasor conversion factors ({len(phasors)})"
    for i, phasor in enumerate(phasors):
        yield f"#{i + 1} factor: {phasor.factor} * 10^-5, unit: {'Ampere' if phasor.current else 'Volt'}"
    if analogs:
        yield f"Analog values conversion factors ({len(analogs)})"
    for i, analog in enumerate(analogs):
        yield f"Factor for analog value #{i + 1}: {_KINDS[analog.kind]}, value: {analog.factor}"


def _long_scales(pmu: Pmu) -> Iterator[str]:
    if pmu.phasors:
        yield f"Phasor scaling and data flags ({len(pmu.phasors)})"
    for i, phasor in enumerate(pmu.phasors):
        yield f"Phasor #{i + 1}"
        yield from _phasor_scale(phasor, phasor.scale or PhasorScale())
    if pmu.analogs:
        yield f"Analog values conversion factors ({len(pmu.analogs)})"
    for i, analog in enumerate(pmu.analogs):
        yield f"Analog #{i + 1}"
        assert analog.scale is not None
        yield f"Analog scale factor: {analog.scale.factor:g}"
        yield f"Analog offset: {analog.scale.offset:g}"


def _phasor_scale(phasor: Phasor, scale: PhasorScale) -> Iterator[str]:
    quantity, component = "Current" if phasor.current else "Voltage", _COMPONENTS[Component(scale.component)]
    yield f"Phasor Data flags: {quantity}, {component}"
    yield f"Modification Flags: {int(scale.modified):#06x}"
    for bit, words in _MODIFICATIONS:
        yield f"{bits(scale.modified, bit, 16)} = Modification: {words if scale.modified & bit else 'None'}"
    kind = phasor.current << 3 | scale.component
    yield f"{bits(kind, 8, 8)} = Phasor Type: {quantity}"
    yield f"{bits(kind, 7, 8)} = Phasor Type: {component} ({scale.component:#x})"
    yield f"User designated flags: {scale.user:#04x}"
    yield f"{bits(scale.user, 0xFF, 8)} = Binary format: {'Flags set' if scale.user else 'No flags set'}"
    yield f"Phasor scale factor: {scale.factor:g}"
    yield f"Phasor angle offset: {scale.turn_rad:g}"


def _masks(words: tuple[DigitalWord, ...]) -> Iterator[str]:
    if words:
        yield f"Masks for digital status words ({len(words)})"
    for i, word in enumerate(words):
        yield f"Mask for status word #{i + 1}:"
        yield f"{bits(word.normal, 0xFFFF, 16)} = Normal state: {word.normal:#06x}"
        yield f"{bits(word.valid, 0xFFFF, 16)} = Valid bits: {word.valid:#06x}"


def _place(pmu: Pmu) -> Iterator[str]:
    details = pmu.details
    assert details is not None
    yield "World Geodetic System 84 data"
    for name, value in (
        ("Latitude", details.latitude_deg),
        ("Longitude", details.longitude_deg),
        ("Elevation", details.elevation_m),
    ):
        yield f"PMU {name}: {'Unspecified Location' if value is None else format(value, 'g')}"
    yield f"Service class: {'Protection' if details.service_class == 'P' else 'Monitoring'}"
    yield f"PM window length: {details.window_us & 0xFFFFFFFF} microseconds"  # signed by the standard
    yield f"PM group delay: {details.group_delay_us & 0xFFFFFFFF} microseconds"


def status_words(status: Status) -> list[str]:
    """The lines of STAT in a DATA frame."""
    flags = (
        (14, 3, f"Data error: {_ERRORS[status.error]} ({int(status.error):#x})"),
        (13, 1, f"Time synchronized: {'Clock is synchronized' if status.in_sync else 'Synchronization lost'}"),
        (12, 1, f"Data sorting: {'By arrival' if status.by_arrival else 'By timestamp'}"),
        (11, 1, f"Trigger detected: {'Trigger detected' if status.triggered else 'No trigger'}"),
        (10, 1, f"Configuration changed: {'Within 1 minute' if status.changing else 'No'}"),
        (9, 1, f"Data modified indicator: {_modified(status)}"),
        (6, 7, f"PMU Time Quality: {_TIME_QUALITY[status.time_quality]} ({status.time_quality:#x})"),
        (4, 3, f"Unlocked time: {_UNLOCKED[status.unlocked]} ({int(status.unlocked):#x})"),
        (0, 15, f"Trigger reason: {_TRIGGERS[status.trigger]} ({status.trigger:#x})"),
    )
    return [f"{bits(status.word, mask << shift, 16)} = {words}" for shift, mask, words in flags]


def _modified(status: Status) -> str:
    return "Data modified by a post-processing device" if status.modified else "Data not modified"


def time_quality_words(quality: TimeQuality) -> list[str]:
    """The lines of the time-quality flags. tshark names the direction the wrong way round: 1 deletes."""
    byte = quality.byte
    return [
        f"{bits(byte, 0x40, 8)} = Leap second direction: {'Add' if quality.leap_deletes else 'Delete'}",
        f"{bits(byte, 0x20, 8)} = Leap second occurred: {quality.leap_occurred}",
        f"{bits(byte, 0x10, 8)} = Leap second pending: {quality.leap_pending}",
    ]
