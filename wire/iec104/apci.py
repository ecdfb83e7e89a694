"""APCI: 0x68, length, four control bytes. I frames carry an ASDU, S frames acknowledge, U frames start, stop, test."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from model.errors import DecodeError
from wire.framing import Cut, Skip, Splitter

START = 0x68
CONTROL_BYTES = 4
MAX_LENGTH = 253
NUMBERS = 1 << 15  # N(S) and N(R) count modulo this
_PEEK = 2
_NO_START = DecodeError("start", "start of an APDU", "other bytes", "0x68 and a length of 4..253")
_CUT_OFF = DecodeError("truncated", "rest of an APDU", "missing", "as many bytes as its length says")


class Function(IntEnum):
    """First control byte of a U frame."""

    STARTDT_ACT = 0x07
    STARTDT_CON = 0x0B
    STOPDT_ACT = 0x13
    STOPDT_CON = 0x23
    TESTFR_ACT = 0x43
    TESTFR_CON = 0x83


@dataclass(frozen=True, slots=True)
class Numbered:
    """I frame: its number, the number it acknowledges up to, and its ASDU."""

    send: int
    receive: int
    asdu: bytes


@dataclass(frozen=True, slots=True)
class Supervisory:
    """S frame: acknowledges up to a number."""

    receive: int


@dataclass(frozen=True, slots=True)
class Unnumbered:
    """U frame."""

    function: Function


Apdu = Numbered | Supervisory | Unnumbered
_FUNCTIONS = {int(function): function for function in Function}


def decode_apdu(data: bytes) -> Apdu:
    """APDU of exactly its bytes. Raises DecodeError (truncated, start, size, control)."""
    if len(data) < _PEEK + CONTROL_BYTES:
        raise DecodeError("truncated", "length of an APDU", len(data), f">= {_PEEK + CONTROL_BYTES} bytes")
    if data[0] != START or data[1] > MAX_LENGTH:
        raise DecodeError("start", "first bytes of an APDU", data[:2].hex(), "68 and a length of 4..253")
    if data[1] + _PEEK != len(data):
        raise DecodeError("size", "length of an APDU", data[1], f"{len(data) - _PEEK} bytes")
    first, second = int.from_bytes(data[2:4], "little"), int.from_bytes(data[4:6], "little")
    if not first & 1 and not second & 1:
        return Numbered(first >> 1, second >> 1, data[6:])
    if len(data) == _PEEK + CONTROL_BYTES:
        if first == 1 and not second & 1:
            return Supervisory(second >> 1)
        if first in _FUNCTIONS and second == 0:
            return Unnumbered(_FUNCTIONS[first])
    raise DecodeError("control", "control bytes of an APDU", data[2:6].hex(), "an I, S or U frame")


def encode_apdu(apdu: Apdu) -> bytes:
    """Bytes of an APDU. Raises ValueError if its ASDU is too long."""
    body = b""
    if isinstance(apdu, Numbered):
        first, second, body = apdu.send << 1, apdu.receive << 1, apdu.asdu
    elif isinstance(apdu, Supervisory):
        first, second = 1, apdu.receive << 1
    else:
        first, second = int(apdu.function), 0
    if CONTROL_BYTES + len(body) > MAX_LENGTH:
        raise ValueError(f"ASDU of {len(body)} bytes, expected <= {MAX_LENGTH - CONTROL_BYTES}")
    return bytes([START, CONTROL_BYTES + len(body)]) + first.to_bytes(2, "little") + second.to_bytes(2, "little") + body


class ApduStream(Splitter[Apdu]):
    """Splits the bytes of one direction into APDUs; after nonsense it goes on at the next start byte that fits."""

    def _step(self, buffer: bytes, at: int, last: bool) -> Cut[Apdu] | Skip | None:
        if buffer[at] != START:
            following = buffer.find(START, at)
            return Skip((following if following >= 0 else len(buffer)) - at, _NO_START)
        size = buffer[at + 1] if len(buffer) > at + 1 else MAX_LENGTH
        if not CONTROL_BYTES <= size <= MAX_LENGTH:
            return Skip(1, _NO_START)
        end = at + _PEEK + size
        if len(buffer) < end:
            return Skip(1, _CUT_OFF) if last else None
        try:
            return Cut(decode_apdu(buffer[at:end]), end - at)
        except DecodeError as error:
            return Skip(1, error)
