"""CBOR (RFC 8949), the part that data of measurements need, read strictly and with bounds.

Integers of 64 bits, floats of 16, 32 and 64 bits, byte and text strings, booleans, null, arrays and maps (also of
indefinite length), and decimal fractions (tag 4), which become floats. Other tags, strings in pieces, big numbers and
simple values are refused: a general reader would make dates, patterns or huge numbers of hostile bytes. So are maps
with a key twice, depth beyond MAX_DEPTH, and lengths that the bytes do not have. Written is the shortest form.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from model.errors import DecodeError

MAX_DEPTH = 8
_UINT, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP, _TAG, _SIMPLE = range(8)
_INDEFINITE = 31
_BREAK = b"\xff"
_SHORT = 24  # smaller counts stand in the first byte
_DECIMAL_FRACTION = 4
_MAX_EXPONENT = 30
_SIZES = {24: 1, 25: 2, 26: 4, 27: 8}
_FLOATS = {25: struct.Struct(">e"), 26: struct.Struct(">f"), 27: struct.Struct(">d")}
_WORDS = {20: False, 21: True, 22: None}


def decode(data: bytes) -> Any:
    """The one value of all bytes. Raises DecodeError (truncated, cbor, duplicate, depth)."""
    value, at = _value(data, 0, 0)
    if at != len(data):
        raise DecodeError("cbor", "bytes behind a CBOR value", len(data) - at, 0)
    return value


def _value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if at >= len(data):
        raise _truncated(data, at, 1)
    first = data[at]
    if first < _SHORT:
        return first, at + 1
    major, small = first >> 5, first & 0x1F
    if major == _TEXT and small < _SHORT and at + small < len(data):  # the usual case, in one step
        return _string(data, at + 1, small, major)
    if major == _SIMPLE:
        return _simple(data, at + 1, small)
    if small == _INDEFINITE and major in (_ARRAY, _MAP):
        return _container(data, at + 1, major, -1, depth + 1)
    count, at = (small, at + 1) if small < _SHORT else _count(data, at + 1, small)
    if major <= _NEGATIVE:
        return (-1 - count if major else count), at
    if major <= _TEXT:
        return _string(data, at, count, major)
    read = _fraction if major == _TAG else _container
    return read(data, at, major, count, depth + 1)


def _truncated(data: bytes, at: int, size: int) -> DecodeError:
    return DecodeError("truncated", "rest of a CBOR value", max(0, len(data) - at), f">= {size} bytes")


def _count(data: bytes, at: int, small: int) -> tuple[int, int]:
    size = _SIZES.get(small)
    if size is None:
        raise DecodeError("cbor", f"length in CBOR at offset {at - 1}", small, "0..27")
    if at + size > len(data):
        raise _truncated(data, at, size)
    return int.from_bytes(data[at : at + size]), at + size


def _simple(data: bytes, at: int, small: int) -> tuple[Any, int]:
    layout = _FLOATS.get(small)
    if layout is not None:
        if at + layout.size > len(data):
            raise _truncated(data, at, layout.size)
        return layout.unpack_from(data, at)[0], at + layout.size
    if small not in _WORDS:
        raise DecodeError("cbor", f"simple value of CBOR at offset {at - 1}", small, "false, true, null or a float")
    return _WORDS[small], at


def _string(data: bytes, at: int, size: int, major: int) -> tuple[str | bytes, int]:
    end = at + size
    if end > len(data):
        raise _truncated(data, at, size)
    raw = data[at:end]
    if major == _BYTES:
        return raw, end
    try:
        return raw.decode(), end
    except UnicodeDecodeError as error:
        raise DecodeError("cbor", f"text of CBOR at offset {at}", raw[:20].hex(), "UTF-8") from error


def _fraction(data: bytes, at: int, _major: int, tag: int, depth: int) -> tuple[float, int]:
    """Tag 4: [exponent, mantissa] of a decimal number."""
    pair, end = _value(data, at, depth) if tag == _DECIMAL_FRACTION and depth <= MAX_DEPTH else ([], at)
    match pair:
        case [int(exponent), int(mantissa)] if abs(exponent) <= _MAX_EXPONENT:
            pass
        case _:
            raise DecodeError("cbor", f"tag of CBOR at offset {at}", tag, f"4, exponent within +-{_MAX_EXPONENT}")
    return (float(mantissa * 10**exponent) if exponent >= 0 else mantissa / 10**-exponent), end


def _container(data: bytes, at: int, major: int, count: int, depth: int) -> tuple[Any, int]:
    """An array or map of so many entries; -1: up to the break."""
    if depth > MAX_DEPTH:
        raise DecodeError("depth", "depth of CBOR", depth, f"<= {MAX_DEPTH}")
    if count * (1 + (major == _MAP)) > len(data) - at:
        raise _truncated(data, at, count)
    if major == _MAP:
        return _map(data, at, count, depth)
    values: list[Any] = []
    while count and not (count < 0 and data[at : at + 1] == _BREAK):
        value, at = _value(data, at, depth)
        values.append(value)
        count -= 1
    return values, at + (count < 0)


def _map(data: bytes, at: int, count: int, depth: int) -> tuple[dict[Any, Any], int]:
    fields: dict[Any, Any] = {}
    size = len(data)
    while count and not (count < 0 and data[at : at + 1] == _BREAK):
        if at < size and data[at] < _SHORT:  # a small label, the usual key
            key: Any = data[at]
            at += 1
        else:
            key, at = _value(data, at, depth)
        if type(key) not in (int, str):
            raise DecodeError("cbor", f"key of a CBOR map at offset {at}", type(key).__name__, "a number or text")
        if key in fields:
            raise DecodeError("duplicate", "keys of a CBOR map", repr(key)[:20], "each once")
        fields[key], at = _value(data, at, depth)
        count -= 1
    return fields, at + (count < 0)


def encode(value: object) -> bytes:
    """Bytes of a value: mappings, sequences, texts, bytes, numbers, booleans, None. Raises TypeError for others."""
    if value is None or isinstance(value, bool):
        return {False: b"\xf4", True: b"\xf5", None: b"\xf6"}[value]
    if isinstance(value, int):
        return _head(_UINT, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, str):
        raw = value.encode()
        return _head(_TEXT, len(raw)) + raw
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, Mapping):
        return _head(_MAP, len(value)) + b"".join(encode(part) for pair in value.items() for part in pair)
    if isinstance(value, Sequence):
        return _head(_ARRAY, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"CBOR of {type(value).__name__}, expected numbers, texts, bytes, lists and maps")


def _head(major: int, count: int) -> bytes:
    if count < _SHORT:
        return bytes([major << 5 | count])
    small, size = next(((small, size) for small, size in _SIZES.items() if count < 1 << 8 * size), (0, 0))
    if not size:
        raise ValueError(f"CBOR number {count}, expected 64 bits")
    return bytes([major << 5 | small]) + count.to_bytes(size)


def _float(value: float) -> bytes:
    """The shortest of 16, 32 and 64 bits that holds the number."""
    for small, layout in _FLOATS.items():
        try:
            raw = layout.pack(value)
        except OverflowError:
            continue
        if layout.unpack(raw)[0] == value or small == 27:
            return bytes([_SIMPLE << 5 | small]) + raw
    raise AssertionError("64 bits hold every float")
