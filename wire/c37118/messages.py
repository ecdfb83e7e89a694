"""Commands to a PMU and its header text."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from model.errors import DecodeError
from wire.c37118.frames import Frame, FrameKind, build_frame

MAX_EXTENDED = 65_518  # bytes after the code of an extended command
MAX_HEADER_CHARACTERS = 4_096
_CODE = struct.Struct(">H")


class CommandCode(IntEnum):
    """CMD words of the standard; 0x0100 to 0x0FFF are the user's."""

    OFF = 1
    ON = 2
    HEADER = 3
    CFG1 = 4
    CFG2 = 5
    CFG3 = 6
    EXTENDED = 8


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the stream it is for, its code, and the bytes of an extended one."""

    idcode: int
    code: int
    extended: bytes = b""

    @property
    def name(self) -> str:
        """Name of the code, or its number."""
        return CommandCode(self.code).name if self.code in _KNOWN else f"{self.code:#06x}"


_KNOWN = frozenset(int(code) for code in CommandCode)


def decode_command(frame: Frame) -> Command:
    """Command of a CMD frame. Raises DecodeError."""
    body = frame.body
    if frame.kind is not FrameKind.COMMAND or len(body) < _CODE.size or len(body) - _CODE.size > MAX_EXTENDED:
        raise DecodeError(
            "size", "kind and body of a CMD frame", f"{frame.kind.name}, {len(body)} bytes", "CMD of >= 2 bytes"
        )
    return Command(frame.idcode, _CODE.unpack_from(body)[0], body[_CODE.size :])


def encode_command(idcode: int, code: int, time_ns: int = 0, extended: bytes = b"") -> bytes:
    """CMD frame."""
    return build_frame(FrameKind.COMMAND, idcode, _CODE.pack(code) + extended, time_ns=time_ns)


def decode_header(frame: Frame) -> str:
    """Text of a HDR frame, which may be empty; cut to 4,096 characters, control characters but line ends replaced."""
    if frame.kind is not FrameKind.HEADER:
        raise DecodeError("kind", "kind of a header frame", frame.kind.name, "HEADER")
    text = frame.body.decode("utf-8", "replace")[:MAX_HEADER_CHARACTERS]
    return "".join(c if c.isprintable() or c in "\r\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def encode_header(idcode: int, text: str, time_ns: int = 0) -> bytes:
    """HDR frame."""
    return build_frame(FrameKind.HEADER, idcode, text.encode(), time_ns=time_ns)
