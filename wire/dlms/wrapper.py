"""The wrapper of DLMS/COSEM over TCP and UDP (port 4059): version, source, destination, length (u16 each), APDU."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from model.errors import DecodeError
from wire.framing import Cut, Skip, Splitter

VERSION = 1
MAX_APDU = 65_535
_HEAD = struct.Struct(">HHHH")
_START = VERSION.to_bytes(2)
_NO_START = DecodeError("wrapper", "start of a DLMS wrapper", "other bytes", f"version {VERSION}")
_CUT_OFF = DecodeError("truncated", "rest of a wrapped APDU", "missing", "as many bytes as its length says")


@dataclass(frozen=True, slots=True)
class Wrapped:
    """An APDU with its wrapper ports."""

    source: int
    destination: int
    apdu: bytes


def decode_wrapper(data: bytes) -> Wrapped:
    """APDU of one datagram. Raises DecodeError (truncated, wrapper, size)."""
    if len(data) < _HEAD.size:
        raise DecodeError("truncated", "length of a wrapped APDU", len(data), f">= {_HEAD.size} bytes")
    version, source, destination, size = _HEAD.unpack_from(data)
    if version != VERSION:
        raise DecodeError("wrapper", "version of a DLMS wrapper", version, VERSION)
    if size != len(data) - _HEAD.size:
        raise DecodeError("size", "length in a DLMS wrapper", size, f"{len(data) - _HEAD.size} bytes")
    return Wrapped(source, destination, data[_HEAD.size :])


def encode_wrapper(wrapped: Wrapped) -> bytes:
    """Bytes of a wrapped APDU. Raises ValueError if it is too long for the wrapper."""
    if len(wrapped.apdu) > MAX_APDU:
        raise ValueError(f"APDU of {len(wrapped.apdu)} bytes, expected <= {MAX_APDU}")
    return _HEAD.pack(VERSION, wrapped.source, wrapped.destination, len(wrapped.apdu)) + wrapped.apdu


class WrapperStream(Splitter[Wrapped]):
    """Splits a TCP stream into wrapped APDUs."""

    def _step(self, buffer: bytes, at: int, last: bool) -> Cut[Wrapped] | Skip | None:
        if not _START.startswith(buffer[at : at + len(_START)]):
            following = buffer.find(_START[:1], at + 1)
            return Skip((following if following >= 0 else len(buffer)) - at, _NO_START)
        head = buffer[at : at + _HEAD.size]
        end = at + _HEAD.size + int.from_bytes(head[6:]) if len(head) == _HEAD.size else len(buffer) + 1
        if len(buffer) < end:
            return Skip(1, _CUT_OFF) if last else None
        return Cut(decode_wrapper(buffer[at:end]), end - at)
