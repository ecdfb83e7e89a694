"""HDLC frames of DLMS/COSEM (IEC 62056-46): cut by their length, checked, segments joined.

0x7E, format u16 (0xA, bit 11 segmentation, 11 bits of length without flags), destination, source (1, 2 or 4 bytes, the
last has bit 0), control, HCS, information, FCS, 0x7E. There is no byte stuffing: 0x7E and 0x7D occur inside.
"""

from __future__ import annotations

from binascii import crc_hqx
from dataclasses import dataclass

from model.errors import DecodeError
from wire.framing import Cut, Skip, Splitter

FLAG = 0x7E
UNNUMBERED = 0x13  # UI with the poll bit: the control byte of a push
MAX_FRAME = 0x7FF  # bytes without the flags
MAX_INFORMATION = 65_536  # bytes of joined segments
MAX_OPEN = 16  # segmented messages of one stream that wait for their rest
_SEGMENTED = 0x0800
_FORMAT = 0xA
_CHECK = 2
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
_NO_FLAG = DecodeError("flag", "start of an HDLC frame", "other bytes", "0x7e, format 0xa and a plausible length")
_CUT_OFF = DecodeError("truncated", "rest of an HDLC frame", "missing", "as many bytes as its format says")


@dataclass(frozen=True, slots=True)
class HdlcFrame:
    """One frame; addresses as sent. `segmented`: its information goes on in the next frame of the same addresses."""

    destination: bytes
    source: bytes
    control: int
    information: bytes
    segmented: bool = False


def x25(data: bytes) -> int:
    """CRC-16/X-25 (reflected 0x8408, initial and final 0xFFFF).

    It is CRC-CCITT with the bits of every byte and of the result turned round, which leaves the loop to the library.

    >>> hex(x25(b"123456789"))
    '0x906e'
    """
    turned = crc_hqx(data.translate(_REVERSED), 0xFFFF)
    return (_REVERSED[turned & 0xFF] << 8 | _REVERSED[turned >> 8]) ^ 0xFFFF


def decode_frame(data: bytes) -> HdlcFrame:
    """Frame of exactly its bytes, flags included. Raises DecodeError (truncated, flag, size, fcs, hcs, address)."""
    if len(data) < 9:
        raise DecodeError("truncated", "length of an HDLC frame", len(data), ">= 9 bytes")
    form = int.from_bytes(data[1:3])
    if data[0] != FLAG or data[-1] != FLAG or form >> 12 != _FORMAT:
        raise DecodeError("flag", "flags and format of an HDLC frame", data[:3].hex(), "7ea..., ending with 7e")
    if (form & MAX_FRAME) + 2 != len(data):
        raise DecodeError("size", "length of an HDLC frame", form & MAX_FRAME, f"{len(data) - 2} bytes")
    _check(data, "fcs", len(data) - 1 - _CHECK)
    at, destination = _address(data, 3)
    at, source = _address(data, at)
    control, at = data[at], at + 1
    end = len(data) - 1 - _CHECK
    if at == end:  # no information: the FCS stands where the HCS would
        return HdlcFrame(destination, source, control, b"", bool(form & _SEGMENTED))
    if end - at < _CHECK:
        raise DecodeError("size", "header of an HDLC frame", end - at, "an HCS before the information")
    _check(data, "hcs", at)
    return HdlcFrame(destination, source, control, data[at + _CHECK : end], bool(form & _SEGMENTED))


def _check(data: bytes, which: str, at: int) -> None:
    found, expected = int.from_bytes(data[at : at + _CHECK], "little"), x25(data[1:at])
    if found != expected:
        raise DecodeError(which, f"{which.upper()} of an HDLC frame", f"{found:#06x}", f"{expected:#06x}")


def _address(data: bytes, at: int) -> tuple[int, bytes]:
    for size in (1, 2, 4):
        last = at + size - 1
        if last >= len(data) - 1 - _CHECK:
            break
        if data[last] & 1 and not any(byte & 1 for byte in data[at:last]):
            return last + 1, data[at : last + 1]
    raise DecodeError("address", "address of an HDLC frame", data[at : at + 4].hex(), "1, 2 or 4 bytes")


def encode_frame(frame: HdlcFrame) -> bytes:
    """Bytes of a frame. Raises ValueError if the information does not fit into one (encode_frames cuts it)."""
    head = frame.destination + frame.source + bytes([frame.control])
    size = 2 + len(head) + _CHECK + (len(frame.information) + _CHECK if frame.information else 0)
    if size > MAX_FRAME:
        raise ValueError(f"HDLC frame of {size} bytes, expected <= {MAX_FRAME}")
    data = (_FORMAT << 12 | frame.segmented * _SEGMENTED | size).to_bytes(2) + head
    if frame.information:
        data += x25(data).to_bytes(_CHECK, "little") + frame.information
    return bytes([FLAG]) + data + x25(data).to_bytes(_CHECK, "little") + bytes([FLAG])


def encode_frames(information: bytes, destination: bytes, source: bytes, most: int = 1_024) -> bytes:
    """UI frames of one push, its information cut into segments of at most `most` bytes."""
    parts = [information[at : at + most] for at in range(0, len(information), most)] or [b""]
    frames = [
        HdlcFrame(destination, source, UNNUMBERED, part, segmented=i + 1 < len(parts)) for i, part in enumerate(parts)
    ]
    return b"".join(encode_frame(frame) for frame in frames)


class HdlcStream(Splitter[HdlcFrame]):
    """Splits bytes into checked frames. One flag may end a frame and start the next; idle flags are passed silently."""

    def __init__(self) -> None:
        super().__init__()
        self._shared = False  # the byte before `at` was the closing flag of a frame

    def _step(self, buffer: bytes, at: int, last: bool) -> Cut[HdlcFrame] | Skip | None:
        shared, self._shared = self._shared, False
        opened = buffer[at] == FLAG
        if not opened and not shared:
            following = buffer.find(FLAG, at)
            return Skip((following if following >= 0 else len(buffer)) - at, _NO_FLAG)
        body = at + opened  # where the format stands
        if len(buffer) < body + 2:
            self._shared = shared
            return Skip(len(buffer) - at, _CUT_OFF) if last else None
        form = int.from_bytes(buffer[body : body + 2])
        if form >> 12 != _FORMAT:
            return Skip(1, None if opened and buffer[body] == FLAG else _NO_FLAG)
        end = body + (form & MAX_FRAME) + 1
        if len(buffer) < end:
            self._shared = shared
            return Skip(1, _CUT_OFF) if last else None
        return self._frame(bytes([FLAG]) + buffer[body:end], end - at)

    def _frame(self, data: bytes, size: int) -> Cut[HdlcFrame] | Skip:
        try:
            frame = decode_frame(data)
        except DecodeError as error:
            return Skip(1, error)
        self._shared = True
        return Cut(frame, size)


class Joiner:
    """Joins the segments of messages, by addresses; bounded in bytes and in messages begun."""

    def __init__(self) -> None:
        self._open: dict[tuple[bytes, bytes], bytes] = {}

    @property
    def waiting(self) -> int:
        """Messages begun of which the last segment is missing."""
        return len(self._open)

    def take(self, frame: HdlcFrame) -> bytes | None:
        """Information of a whole message, or None while segments are missing. Raises DecodeError (segments)."""
        key = frame.destination, frame.source
        information = self._open.pop(key, b"") + frame.information
        if len(information) > MAX_INFORMATION:
            raise DecodeError("segments", "joined HDLC segments", len(information), f"<= {MAX_INFORMATION} bytes")
        if not frame.segmented:
            return information
        if len(self._open) >= MAX_OPEN:
            raise DecodeError("segments", "HDLC messages begun", len(self._open) + 1, f"<= {MAX_OPEN}")
        self._open[key] = information
        return None
