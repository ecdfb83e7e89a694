"""What a stream carries and how to read its DATA frames: the nouns, and their form in CFG-1 and CFG-2."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from model.block import MAX_COLUMNS
from model.errors import DecodeError
from wire.c37118.frames import COUNT_MASK, Frame, FrameKind, build_frame
from wire.c37118.reader import Reader, clean_name

NAME_BYTES = 16
BITS_PER_WORD = 16
PHASOR_UNIT = 1e-5  # PHUNIT counts 10 uV or 10 uA per bit
_PMU = struct.Struct(">16sHHHHH")
_HEAD = struct.Struct(">IH")
_TAIL = struct.Struct(">HH")
_RATE = struct.Struct(">h")
_FACTOR_MASK = 0x00FF_FFFF
_FACTOR_SIGN = 0x0080_0000


class Format(IntFlag):
    """The FORMAT word. A bit that is not set means: rectangular, integer."""

    POLAR = 1
    FLOAT_PHASORS = 2
    FLOAT_ANALOGS = 4
    FLOAT_FREQUENCY = 8


class Component(IntEnum):
    """Which phasor of a three-phase system; 3 and 7 are reserved."""

    ZERO = 0
    POSITIVE = 1
    NEGATIVE = 2
    PHASE_A = 4
    PHASE_B = 5
    PHASE_C = 6


class Modification(IntFlag):
    """What was done to a phasor on its way (PHSCALE, first word)."""

    INTERPOLATED = 1 << 1
    EXTRAPOLATED = 1 << 2
    RESELECTED = 1 << 3
    FIR_FILTERED = 1 << 4
    NON_FIR_FILTERED = 1 << 5
    FILTERED_SAME_RATE = 1 << 6
    MAGNITUDE_CALIBRATED = 1 << 7
    PHASE_CALIBRATED = 1 << 8
    ROTATED = 1 << 9
    PSEUDO_PHASOR = 1 << 10
    OTHER = 1 << 15


@dataclass(frozen=True, slots=True)
class PhasorScale:
    """PHSCALE of CFG-3. A phasor X as sent, integer or float, means factor * X * exp(-j turn) in V or A."""

    factor: float = 1.0
    turn_rad: float = 0.0
    component: int = Component.POSITIVE
    modified: Modification = Modification(0)
    user: int = 0


@dataclass(frozen=True, slots=True)
class Phasor:
    """One phasor channel. `factor` (PHUNIT) scales integer magnitudes, 10 uV or 10 uA per bit, and says nothing about
    floats; a `scale` (CFG-3) takes its place."""

    name: str
    current: bool = False
    factor: int = 0
    scale: PhasorScale | None = None


@dataclass(frozen=True, slots=True)
class AnalogScale:
    """ANSCALE of CFG-3: a value as sent, integer or float, means factor * value + offset."""

    factor: float = 1.0
    offset: float = 0.0


@dataclass(frozen=True, slots=True)
class Analog:
    """One analog channel: kind 0 point on wave, 1 rms, 2 peak, 65-255 of the user; signed factor (ANUNIT), the user's,
    of integers. A `scale` (CFG-3) takes its place."""

    name: str
    kind: int = 0
    factor: int = 1
    scale: AnalogScale | None = None


@dataclass(frozen=True, slots=True)
class DigitalWord:
    """Sixteen switches: their names from bit 0 up, normal state and mask of the valid ones."""

    names: tuple[str, ...]
    normal: int = 0
    valid: int = 0xFFFF


@dataclass(frozen=True, slots=True)
class Details:
    """What only CFG-3 says of a PMU. A place that is not told is None; class "M" (measurement) or "P" (protection)."""

    global_id: bytes = bytes(16)
    latitude_deg: float | None = None
    longitude_deg: float | None = None
    elevation_m: float | None = None
    service_class: str = "M"
    window_us: int = 0
    group_delay_us: int = 0


@dataclass(frozen=True, slots=True)
class Pmu:
    """One PMU of a stream. Its `idcode` may differ from the stream's; names may be blank or repeated."""

    station: str
    idcode: int
    form: Format
    phasors: tuple[Phasor, ...]
    analogs: tuple[Analog, ...] = ()
    digitals: tuple[DigitalWord, ...] = ()
    nominal_hz: int = 50
    changes: int = 0  # CFGCNT
    details: Details | None = None

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of phasors, analogs and digital words."""
        return len(self.phasors), len(self.analogs), len(self.digitals)


@dataclass(frozen=True, slots=True)
class Configuration:
    """A stream: its IDCODE, ticks per second of FRACSEC, its PMUs in the order of DATA, and DATA_RATE as sent."""

    idcode: int
    time_base: int
    pmus: tuple[Pmu, ...]
    data_rate: int
    version: int = 2

    @property
    def frames_per_s(self) -> float:
        """DATA_RATE is frames per second if positive, else seconds per frame."""
        return float(self.data_rate) if self.data_rate > 0 else -1.0 / self.data_rate if self.data_rate else 0.0

    @property
    def kind(self) -> FrameKind:
        """Which frame told it: CFG-3 has details of its PMUs; CFG-1 and CFG-2 are one form."""
        return FrameKind.CFG3 if any(pmu.details is not None for pmu in self.pmus) else FrameKind.CFG2


def decode_configuration(frame: Frame) -> Configuration:
    """Configuration of a CFG-1 or CFG-2 frame. Raises DecodeError; consumes exactly the frame."""
    if frame.kind not in (FrameKind.CFG1, FrameKind.CFG2):
        raise DecodeError("kind", "kind of a configuration frame", frame.kind.name, "CFG1 or CFG2")
    reader = Reader(frame.body, frame.kind.name)
    base, count = reader.fields(_HEAD)
    time_base = check_head(base, count)
    reader.require(count * (_PMU.size + _TAIL.size))
    pmus = tuple(_decode_pmu(reader) for _ in range(count))
    (rate,) = reader.fields(_RATE)
    reader.finish()
    return Configuration(frame.idcode, time_base, pmus, rate, frame.version)


def check_head(time_base: int, pmus: int) -> int:
    """The 24 bits of TIME_BASE that count; neither it nor the number of PMUs may be 0."""
    if not time_base & COUNT_MASK:
        raise DecodeError("time_base", "TIME_BASE", time_base, "1..16777215")
    if not pmus:
        raise DecodeError("pmus", "NUM_PMU", pmus, ">= 1")
    return time_base & COUNT_MASK


def check_counts(phasors: int, analogs: int, digitals: int) -> None:
    """Refuse more channels than a block has columns."""
    columns = 2 + 2 * phasors + analogs + digitals
    if columns > MAX_COLUMNS:
        raise DecodeError("channels", "columns of one PMU", columns, f"<= {MAX_COLUMNS}")


def _decode_pmu(reader: Reader) -> Pmu:
    station, idcode, form, phasors, analogs, digitals = _PMU.unpack(reader.take(_PMU.size))
    check_counts(phasors, analogs, digitals)
    names = phasors + analogs + BITS_PER_WORD * digitals
    reader.require(names * NAME_BYTES)
    channels = [clean_name(reader.take(NAME_BYTES)) for _ in range(names)]
    phasor_units = reader.numbers("I", phasors)
    analog_units = reader.numbers("I", analogs)
    masks = reader.numbers("H", 2 * digitals)
    nominal, changes = reader.fields(_TAIL)
    bits = channels[phasors + analogs :]
    return Pmu(
        station=clean_name(station),
        idcode=idcode,
        form=Format(form & 0xF),
        phasors=tuple(
            Phasor(name, bool(unit >> 24 & 1), unit & _FACTOR_MASK)
            for name, unit in zip(channels, phasor_units, strict=False)
        ),
        analogs=tuple(
            Analog(name, unit >> 24, _signed(unit & _FACTOR_MASK))
            for name, unit in zip(channels[phasors:], analog_units, strict=False)
        ),
        digitals=split_words(bits, masks),
        nominal_hz=50 if nominal & 1 else 60,
        changes=changes,
    )


def split_words(bits: list[str], masks: tuple[int, ...]) -> tuple[DigitalWord, ...]:
    """Digital words of 16 names each and a pair (normal state, valid mask) each."""
    return tuple(
        DigitalWord(tuple(bits[BITS_PER_WORD * i : BITS_PER_WORD * (i + 1)]), masks[2 * i], masks[2 * i + 1])
        for i in range(len(masks) // 2)
    )


def _signed(factor: int) -> int:
    return factor - 2 * _FACTOR_SIGN if factor & _FACTOR_SIGN else factor


def encode_cfg2(
    configuration: Configuration, time_ns: int = 0, kind: FrameKind = FrameKind.CFG2, time_quality: int = 0
) -> bytes:
    """CFG-2 frame (or CFG-1). Names longer than 16 bytes are cut. Raises ValueError if it does not fit a frame, or if
    channels have scales, which only CFG-3 can tell."""
    body = _HEAD.pack(configuration.time_base, len(configuration.pmus))
    body += b"".join(_encode_pmu(pmu) for pmu in configuration.pmus)
    body += _RATE.pack(configuration.data_rate)
    return build_frame(
        kind,
        configuration.idcode,
        body,
        time_ns=time_ns,
        time_base=configuration.time_base,
        version=configuration.version,
        time_quality=time_quality,
    )


def _encode_pmu(pmu: Pmu) -> bytes:
    names = [phasor.name for phasor in pmu.phasors] + [analog.name for analog in pmu.analogs]
    for word in pmu.digitals:
        names += [*word.names, *[""] * BITS_PER_WORD][:BITS_PER_WORD]
    scales = [*(phasor.scale for phasor in pmu.phasors), *(analog.scale for analog in pmu.analogs)]
    if any(scale is not None for scale in scales):
        raise ValueError(f"scales of PMU {pmu.idcode} fit CFG-3 only")
    parts = [_PMU.pack(_name(pmu.station), pmu.idcode, pmu.form, *pmu.counts)]
    parts += [_name(name) for name in names]
    parts += [struct.pack(">I", phasor.current << 24 | phasor.factor & _FACTOR_MASK) for phasor in pmu.phasors]
    parts += [struct.pack(">I", analog.kind << 24 | analog.factor & _FACTOR_MASK) for analog in pmu.analogs]
    parts += [struct.pack(">HH", word.normal, word.valid) for word in pmu.digitals]
    parts.append(_TAIL.pack(1 if pmu.nominal_hz == 50 else 0, pmu.changes))
    return b"".join(parts)


def cut_name(name: str, size: int) -> bytes:
    """UTF-8 of a name in so many bytes at most, never cut within a letter."""
    return name.encode()[:size].decode("utf-8", "ignore").encode()


def _name(name: str) -> bytes:
    return cut_name(name, NAME_BYTES).ljust(NAME_BYTES)
