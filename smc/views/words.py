"""How this centre prints things: times with their zone, ages, quantities with SI prefixes, bytes. Pure text."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from model.decision import DecisionStatus
from model.device import Provenance
from model.finding import FindingKind
from model.incident import Status
from model.time import utc_words

KIND_WORDS: dict[FindingKind, str] = {
    FindingKind.DATA_QUALITY: "Data quality",
    FindingKind.METER_TAMPER: "Meter against PMU",
    FindingKind.CLOCK_ATTACK: "Clock attack",
    FindingKind.EUROPEAN_ADVICE: "European advice",
    FindingKind.EQUIVOCATION: "Equivocation",
}

STATUS_WORDS: dict[Status, str] = {
    Status.NEW: "New",
    Status.ACKNOWLEDGED: "Acknowledged",
    Status.INVESTIGATING: "Investigating",
    Status.CONTAINED: "Contained",
    Status.CLOSED_TRUE: "Closed: true positive",
    Status.CLOSED_FALSE: "Closed: false positive",
    Status.CLOSED_BENIGN: "Closed: benign",
}

DECISION_WORDS: dict[DecisionStatus, str] = {
    DecisionStatus.PROPOSED: "waits for a person",
    DecisionStatus.APPROVED: "approved, being carried out",
    DecisionStatus.REFUSED: "refused",
    DecisionStatus.DONE: "done",
    DecisionStatus.FAILED: "failed",
}

PROVENANCE_WORDS: dict[Provenance, str] = {
    Provenance.MEASURED: "",
    Provenance.SIMULATED: "SIMULATED",
    Provenance.REPLAYED: "REPLAYED",
    Provenance.EXERCISE: "EXERCISE",
}

# SI prefixes that operators use for these units; a unit that is not here is printed as it is.
_PREFIXED = {"W", "Wh", "var", "V", "A", "s", "rad", "VA"}
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))

UNIT_ENDINGS = (
    ("_hz_per_s", "Hz/s"),
    ("_wh", "Wh"),
    ("_var", "var"),
    ("_rad", "rad"),
    ("_hz", "Hz"),
    ("_w", "W"),
    ("_v", "V"),
    ("_a", "A"),
    ("_ns", "ns"),
    ("_us", "µs"),
    ("_s", "s"),
)


def moment(at: datetime | None, missing: str = "never") -> str:
    """2026-11-23 11:42:07 UTC."""
    return missing if at is None else utc_words(at)


def moment_ms(at: datetime) -> str:
    """2026-11-23 11:42:07.123 UTC."""
    utc = at.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"


def age(seconds: float) -> str:
    """How long: 4 s, 12 min, 3 h 05 min, 2 d 4 h; negative spans read "in 5 min"."""
    if seconds < 0:
        return f"in {age(-seconds)}"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02d} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600} h"


def since(at: datetime | None, now: datetime) -> str:
    """How long ago, or "never"."""
    return "never" if at is None else age(max(0.0, (now - at).total_seconds()))


def quantity(value: float | None, unit: str, digits: int = 4) -> str:
    """A number with its unit, `digits` significant: 12.34 kW, 231.4 V, 3.100 µs; a missing one reads "no value"."""
    if value is None or not math.isfinite(value):
        return "no value"
    if unit in {"Hz", "Hz/s"} and 0 < abs(value) < 0.1:
        return f"{number(value * 1e3, digits)} m{unit}"
    if unit not in _PREFIXED or value == 0:
        return f"{number(value, digits)} {unit}".strip()
    size = abs(value)
    factor, prefix = next(((f, p) for f, p in _PREFIXES if size >= f), _PREFIXES[-1])
    if unit == "V" and 1.0 <= size < 10_000:  # 231.4 V and 1,024 V, as on the nameplate
        factor, prefix = 1.0, ""
    return f"{number(value / factor, digits)} {prefix}{unit}"


def number(value: float, digits: int = 4) -> str:
    """`digits` significant digits without exponent for sizes of 1e-4 to 1e7, thousands separated."""
    if not math.isfinite(value):
        return "no value"
    if value == 0:
        return "0"
    size = math.floor(math.log10(abs(value)))
    if size < -4 or size >= 7:
        return f"{value:.{digits - 1}e}"
    return f"{value:,.{max(0, digits - 1 - size)}f}"


def unit_of(signal: str) -> str:
    """SI unit that the name of a column carries: power_w → W; "" where it carries none."""
    return next((unit for ending, unit in UNIT_ENDINGS if signal.endswith(ending)), "")


def signal_words(signal: str) -> str:
    """Name of a signal for people: voltage_l1_v → "voltage L1", angle_0_rad → "angle 0"."""
    stem = next((signal.removesuffix(ending) for ending, _ in UNIT_ENDINGS if signal.endswith(ending)), signal)
    words = [part.upper() if part in {"l1", "l2", "l3"} else part for part in stem.split("_")]
    return " ".join("ROCOF" if w == "rocof" else w for w in words)


def count(number_of: int, noun: str, plural: str = "") -> str:
    """1 finding, 3 findings, 1,204 readings."""
    return f"{number_of:,} {noun if number_of == 1 else plural or noun + 's'}"


def case_name(number_of: int) -> str:
    """case-000042, as lists of one centre print it; partners know it with the site in front (Incident.case)."""
    return f"case-{number_of:06d}"


def short_name(device: str) -> str:
    """Short name of a device for narrow columns: the unit that its full name carries, else the name itself.

    >>> short_name("urn:dev:norm:norm-0005:meter"), short_name("pmu:109:norm-0009"), short_name("feeder 7")
    ('norm-0005', 'norm-0009', 'feeder 7')
    """
    parts = device.split(":")
    if device.startswith("urn:dev:") and len(parts) == 5:
        return parts[3]
    return parts[2].strip() if device.startswith("pmu:") and len(parts) == 3 else device


def counted(value: float) -> str:
    """A counter: whole where it is whole, else four significant digits."""
    return f"{int(value):,}" if float(value).is_integer() else number(value)


def size_of(octets: int) -> str:
    """Bytes for people: 512 B, 4.2 kB."""
    return f"{octets} B" if octets < 1_000 else f"{octets / 1_000:.1f} kB"


def hex_dump(data: bytes, limit: int = 1_024) -> str:
    """Offset, 16 bytes in hex, printable ASCII; past `limit` bytes a last line says how many are not shown."""
    lines = []
    for offset in range(0, min(len(data), limit), 16):
        part = data[offset : offset + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "·" for b in part)
        groups = " ".join(part[i : i + 8].hex(" ") for i in (0, 8)).rstrip()
        lines.append(f"{offset:06x}  {groups:<47}  {text}")
    if len(data) > limit:
        lines.append(f"… {len(data) - limit:,} more bytes kept")
    return "\n".join(lines)


def probability_of(probability: float) -> str:
    """How sure a finding is, never rounded up to certainty."""
    if probability >= 0.9995:
        return "> 99.9 % that this is no chance"
    return f"{100 * probability:.1f} % that this is no chance"
