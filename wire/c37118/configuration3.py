"""CFG-3: a configuration with long names, scales as floats, places, and frames that go on in the next one.

CONT_IDX leads each frame: 0 where one frame holds it all, else 1, 2, ... and 0xFFFF in the last; what follows it is cut
anywhere. Every digital word has sixteen names. PHSCALE and ANSCALE hold for floats too; a sender that has scaled its
floats already says 1 and 0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence

from model.errors import DecodeError
from wire.c37118.configuration import (
    BITS_PER_WORD,
    PHASOR_UNIT,
    Analog,
    AnalogScale,
    Configuration,
    Details,
    Format,
    Modification,
    Phasor,
    PhasorScale,
    Pmu,
    check_counts,
    check_head,
    cut_name,
    split_words,
)
from wire.c37118.frames import MAX_SIZE, MIN_SIZE, VERSION_2011, Frame, FrameKind, build_frame
from wire.c37118.reader import Reader, clean_name

ALONE = 0
FIRST = 1
LAST = 0xFFFF
MAX_BYTES = 1 << 20  # of one configuration, and of all that a connection has begun
_INDEX = struct.Struct(">H")
_HEAD = struct.Struct(">IH")
_PMU = struct.Struct(">H16sHHHH")
_PHASOR = struct.Struct(">HBBff")
_ANALOG = struct.Struct(">ff")
_TAIL = struct.Struct(">fffcii")
_END = struct.Struct(">HH")
_RATE = struct.Struct(">h")
_LEAST_PMU = 1 + _PMU.size + _TAIL.size + _END.size
_CURRENT = 1 << 3
_COMPONENT_MASK = 7
_NAME_BYTES = 255


class Fragments:
    """Collects the frames of CFG-3s until one is whole; `MAX_BYTES` bound what it holds."""

    def __init__(self) -> None:
        self._begun: dict[int, list[Frame]] = {}  # by IDCODE of the stream

    def add(self, frame: Frame) -> list[Frame] | None:
        """All frames of the configuration that this one completes, or None. Raises DecodeError (kind, truncated,
        continuation); then what was begun of that stream is dropped."""
        index = continuation(frame)
        if index in (ALONE, FIRST):
            self._begun.pop(frame.idcode, None)
        if index == ALONE:
            return [frame]
        begun = self._begun.pop(frame.idcode, [])
        if index not in (LAST, len(begun) + 1) or (index == LAST and not begun):
            raise DecodeError("continuation", f"CONT_IDX of stream {frame.idcode}", index, f"{len(begun) + 1} next")
        begun.append(frame)
        if index == LAST:
            return begun
        held = sum(len(f.data) for frames in (*self._begun.values(), begun) for f in frames)
        if held > MAX_BYTES:
            raise DecodeError("continuation", "CFG-3 frames without an end", f"{held} bytes", f"<= {MAX_BYTES} bytes")
        self._begun[frame.idcode] = begun
        return None


def continuation(frame: Frame) -> int:
    """CONT_IDX of a CFG-3 frame. Raises DecodeError."""
    if frame.kind is not FrameKind.CFG3:
        raise DecodeError("kind", "kind of a configuration frame", frame.kind.name, "CFG3")
    index: int = Reader(frame.body, "CFG3").fields(_INDEX)[0]
    return index


def decode_cfg3(frames: Sequence[Frame]) -> Configuration:
    """Configuration of one CFG-3 frame, or of all frames of a longer one in their order (see `Fragments`).

    Raises DecodeError (kind, truncated, continuation, time_base, pmus, channels, scale, size).
    """
    indices = [continuation(frame) for frame in frames]
    if indices not in ([ALONE], [*range(1, len(frames)), LAST]):
        raise DecodeError("continuation", "CONT_IDX of the frames", indices[:8], "0, or 1, 2, ... 65535")
    body = b"".join(frame.body[_INDEX.size :] for frame in frames)
    if len(body) > MAX_BYTES:
        raise DecodeError("size", "length of a CFG-3", len(body), f"<= {MAX_BYTES} bytes")
    reader = Reader(body, "CFG3")
    base, count = reader.fields(_HEAD)
    time_base = check_head(base, count)
    reader.require(count * _LEAST_PMU)
    pmus = tuple(_decode_pmu(reader) for _ in range(count))
    (rate,) = reader.fields(_RATE)
    reader.finish()
    return Configuration(frames[0].idcode, time_base, pmus, rate, frames[0].version)


def _decode_pmu(reader: Reader) -> Pmu:
    station = _take_name(reader)
    idcode, global_id, form, phasors, analogs, digitals = reader.fields(_PMU)
    check_counts(phasors, analogs, digitals)
    names = [_take_name(reader) for _ in range(phasors + analogs + BITS_PER_WORD * digitals)]
    form = Format(form & 0xF)
    phasor_channels = tuple(_take_phasor(reader, name, form) for name in names[:phasors])
    analog_channels = tuple(_take_analog(reader, name, form) for name in names[phasors : phasors + analogs])
    masks = reader.numbers("H", 2 * digitals)
    latitude, longitude, elevation, service, window_us, delay_us = reader.fields(_TAIL)
    nominal, changes = reader.fields(_END)
    return Pmu(
        station=station,
        idcode=idcode,
        form=form,
        phasors=phasor_channels,
        analogs=analog_channels,
        digitals=split_words(names[phasors + analogs :], masks),
        nominal_hz=50 if nominal & 1 else 60,
        changes=changes,
        details=Details(
            global_id=global_id,
            latitude_deg=_told(latitude),
            longitude_deg=_told(longitude),
            elevation_m=_told(elevation),
            service_class=clean_name(service).upper(),
            window_us=window_us,
            group_delay_us=delay_us,
        ),
    )


def _take_name(reader: Reader) -> str:
    (size,) = reader.take(1)
    return clean_name(reader.take(size))


def _take_phasor(reader: Reader, name: str, form: Format) -> Phasor:
    modified, kind, user, factor, turn_rad = reader.fields(_PHASOR)
    factor, turn_rad = _scale(factor, turn_rad, name, bool(form & Format.FLOAT_PHASORS))
    scale = PhasorScale(factor, turn_rad, kind & _COMPONENT_MASK, Modification(modified), user)
    return Phasor(name, bool(kind & _CURRENT), scale=scale)


def _take_analog(reader: Reader, name: str, form: Format) -> Analog:
    factor, offset = reader.fields(_ANALOG)
    return Analog(name, scale=AnalogScale(*_scale(factor, offset, name, bool(form & Format.FLOAT_ANALOGS))))


def _scale(factor: float, shift: float, name: str, floats: bool) -> tuple[float, float]:
    """Scale of a channel; a sender of floats that leaves it out (zero, NaN) has scaled them already."""
    if math.isfinite(factor) and math.isfinite(shift) and (factor or not floats):
        return factor, shift
    if not floats:
        raise DecodeError("scale", f"scale of channel {name!r}", f"{factor}, {shift}", "finite numbers")
    return 1.0, 0.0


def _told(value: float) -> float | None:
    return value if math.isfinite(value) else None


def encode_cfg3(configuration: Configuration, time_ns: int = 0, max_size: int = MAX_SIZE) -> list[bytes]:
    """CFG-3 frames of at most `max_size` bytes each: one, or as many as it takes. Names longer than 255 bytes are cut.

    What a configuration without scales and details does not tell is said as unknown; PHUNIT and ANUNIT become scales.
    Raises ValueError for a configuration too large to be told.
    """
    body = _HEAD.pack(configuration.time_base, len(configuration.pmus))
    body += b"".join(_encode_pmu(pmu) for pmu in configuration.pmus)
    body += _RATE.pack(configuration.data_rate)
    room = max_size - MIN_SIZE - _INDEX.size
    if len(body) > MAX_BYTES or room < 1:
        raise ValueError(
            f"CFG-3 of {len(body)} bytes in frames of {max_size}, expected <= {MAX_BYTES}, >= {MIN_SIZE + 3}"
        )
    parts = [body[start : start + room] for start in range(0, len(body), room)]
    indices = [ALONE] if len(parts) == 1 else [*range(1, len(parts)), LAST]
    return [
        build_frame(
            FrameKind.CFG3,
            configuration.idcode,
            _INDEX.pack(index) + part,
            time_ns=time_ns,
            time_base=configuration.time_base,
            version=VERSION_2011,
        )
        for index, part in zip(indices, parts, strict=True)
    ]


def _encode_pmu(pmu: Pmu) -> bytes:
    details = pmu.details or Details()
    names = [phasor.name for phasor in pmu.phasors] + [analog.name for analog in pmu.analogs]
    for word in pmu.digitals:
        names += [*word.names, *[""] * BITS_PER_WORD][:BITS_PER_WORD]
    place = (details.latitude_deg, details.longitude_deg, details.elevation_m)
    service = details.service_class.encode()
    parts = [_put_name(pmu.station), _PMU.pack(pmu.idcode, details.global_id, pmu.form, *pmu.counts)]
    parts += [_put_name(name) for name in names]
    parts += [_put_phasor(phasor, pmu.form) for phasor in pmu.phasors]
    parts += [_put_analog(analog, pmu.form) for analog in pmu.analogs]
    parts += [struct.pack(">HH", word.normal, word.valid) for word in pmu.digitals]
    parts.append(
        _TAIL.pack(
            *(math.inf if value is None else value for value in place),
            service if len(service) == 1 else b" ",
            details.window_us,
            details.group_delay_us,
        )
    )
    parts.append(_END.pack(1 if pmu.nominal_hz == 50 else 0, pmu.changes))
    return b"".join(parts)


def _put_name(name: str) -> bytes:
    raw = cut_name(name, _NAME_BYTES)
    return bytes([len(raw)]) + raw


def _put_phasor(phasor: Phasor, form: Format) -> bytes:
    plain = 1.0 if form & Format.FLOAT_PHASORS else phasor.factor * PHASOR_UNIT
    scale = phasor.scale or PhasorScale(plain)
    kind = phasor.current * _CURRENT | scale.component & _COMPONENT_MASK
    return _PHASOR.pack(scale.modified, kind, scale.user, scale.factor, scale.turn_rad)


def _put_analog(analog: Analog, form: Format) -> bytes:
    plain = 1.0 if form & Format.FLOAT_ANALOGS else float(analog.factor or 1)
    scale = analog.scale or AnalogScale(plain)
    return _ANALOG.pack(scale.factor, scale.offset)
