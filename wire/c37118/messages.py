"""Commands to a PMU and its header text."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from model.errors import DecodeError
from wire.c37118.frames import MAX_SIZE, MIN_SIZE, VERSION_2011, Frame, FrameKind, build_frame

MAX_EXTENDED = MAX_SIZE - MIN_SIZE - 2  # bytes after the code of an extended command: what a frame has room for
MAX_HEADER_CHARACTERS = 4_096
_CODE = struct.Struct(">H")


class CommandCode(IntEnum):
    """CMD words of the standard; 0x0100 to 0x0FFF are the user's, all others reserved."""

    OFF = 1
    ON = 2
    HEADER = 3
    CFG1 = 4
    CFG2 = 5
    CFG3 = 6
    EXTENDED = 8


@dataclass(frozen=True, slots=True)
class Command:
    """A command: the stream it is for, its code, and the bytes behind it (of an extended or a user's command)."""

    idcode: int
    code: int
    extended: bytes = b""

    @property
    def name(self) -> str:
        """Name of the code, or its number."""
        return CommandCode(self.code).name if self.code in _KNOWN else f"{self.code:#06x}"

    @property
    def of_the_user(self) -> bool:
        """Whether vendor and user gave the code its meaning."""
        return self.code in _USERS


_KNOWN = frozenset(int(code) for code in CommandCode)
_USERS = range(0x0100, 0x1000)


def decode_command(frame: Frame) -> Command:
    """Command of a CMD frame. Raises DecodeError."""
    body = frame.body
    if frame.kind is not FrameKind.COMMAND or len(body) < _CODE.size or len(body) - _CODE.size > MAX_EXTENDED:
        raise DecodeError(
            "size", "kind and body of a CMD frame", f"{frame.kind.name}, {len(body)} bytes", "CMD of >= 2 bytes"
        )
    return Command(frame.idcode, _CODE.unpack_from(body)[0], body[_CODE.size :])


def encode_command(
    idcode: int,
    code: int,
    time_ns: int = 0,
    extended: bytes = b"",
    version: int = VERSION_2011,
    time_quality: int = 0,
) -> bytes:
    """CMD frame; its time is told in microseconds. Raises ValueError for more than `MAX_EXTENDED` extended bytes."""
    body = _CODE.pack(code) + extended
    return build_frame(FrameKind.COMMAND, idcode, body, time_ns=time_ns, version=version, time_quality=time_quality)


def decode_header(frame: Frame) -> str:
    """Text of a HDR frame, which may be empty; cut to 4,096 characters, control characters but line ends replaced."""
    if frame.kind is not FrameKind.HEADER:
        raise DecodeError("kind", "kind of a header frame", frame.kind.name, "HEADER")
    text = frame.body.decode("utf-8", "replace")[:MAX_HEADER_CHARACTERS]
    return "".join(c if c.isprintable() or c in "\r\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def encode_header(
    idcode: int, text: str, time_ns: int = 0, version: int = VERSION_2011, time_quality: int = 0
) -> bytes:
    """HDR frame; its time is told in microseconds. Raises ValueError for a text that does not fit a frame."""
    body = text.encode()
    return build_frame(FrameKind.HEADER, idcode, body, time_ns=time_ns, version=version, time_quality=time_quality)
