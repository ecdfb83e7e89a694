"""One direction of an IEC 104 connection: frames in order, ASDUs read, unknown types and lost numbers counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from model.errors import DecodeError
from wire.c37118.stream import Reject
from wire.framing import without_traceback
from wire.iec104.apci import NUMBERS, Apdu, ApduStream, Numbered, Supervisory, Unnumbered, encode_apdu
from wire.iec104.asdu import Asdu, decode_asdu


@dataclass(frozen=True, slots=True)
class Heard:
    """An ASDU with the number of its frame; `missing` frames before it never came (0 for the first one heard)."""

    asdu: Asdu
    send: int
    receive: int
    missing: int


Event = Heard | Supervisory | Unnumbered | Reject


class Session:
    """Decodes one direction; the caller keeps one for each, by addresses and ports. Recordings may start anywhere."""

    def __init__(self) -> None:
        self.stream = ApduStream()
        self.unknown: Counter[int] = Counter()  # ASDUs by a type that we do not know
        self._expected: int | None = None

    def feed(self, data: bytes) -> list[Event]:
        """Events in the order of the bytes, except that bytes which are no frame come last."""
        return self._events(self.stream.feed(data))

    def close(self) -> list[Event]:
        """The stream ended: decide what is left of it."""
        return self._events(self.stream.close())

    def _events(self, frames: list[Apdu]) -> list[Event]:
        events: list[Event] = [self._event(frame) for frame in frames]
        events += self.stream.rejects
        self.stream.rejects.clear()
        return events

    def _event(self, frame: Apdu) -> Event:
        if not isinstance(frame, Numbered):
            return frame
        missing = 0 if self._expected is None else (frame.send - self._expected) % NUMBERS
        self._expected = (frame.send + 1) % NUMBERS
        try:
            asdu = decode_asdu(frame.asdu)
        except DecodeError as error:
            return Reject(without_traceback(error), encode_apdu(frame))
        if not asdu.known:
            self.unknown[asdu.type] += 1
        return Heard(asdu, frame.send, frame.receive, missing)
