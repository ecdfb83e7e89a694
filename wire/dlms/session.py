"""What one sender pushes over one connection: bytes to readings, opened and checked, all of them accounted for."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

import numpy as np

from model.errors import DecodeError, NotTrusted, PeerError
from wire.dlms.apdu import ApduTag, kind_of, strip_llc
from wire.dlms.cipher import Keys, check_counter, decipher, decode_sealed
from wire.dlms.hdlc import HdlcFrame, HdlcStream, Joiner
from wire.dlms.template import PushReader
from wire.dlms.wrapper import Wrapped, WrapperStream
from wire.framing import without_traceback
from wire.meter import MeterPack

_CIPHERED = (ApduTag.GENERAL_GLO_CIPHERING, ApduTag.GENERAL_DED_CIPHERING)


@dataclass(frozen=True, slots=True)
class Pushed:
    """Readings of one push. Of a ciphered one the system title, and as `sequence` of the pack its counter."""

    pack: MeterPack
    title: bytes = b""


@dataclass(frozen=True, slots=True)
class Refused:
    """Bytes that gave no readings, and why: no frame, no push, a wrong tag, a counter that did not rise."""

    error: PeerError
    data: bytes


Event = Pushed | ApduTag | Refused  # a tag alone: an APDU that we know and that carries no readings


class PushSession:
    """Decodes one direction of one connection, or all datagrams of one sender.

    `keys` by system title. `counters` holds the last invocation counter of each title and is advanced by every push
    that was opened: the caller keeps it with what it has committed. `plain`: whether pushes may come unciphered.
    """

    def __init__(
        self,
        stream: HdlcStream | WrapperStream,
        reader: PushReader,
        keys: Mapping[bytes, Keys],
        counters: MutableMapping[bytes, int],
        plain: bool = False,
    ) -> None:
        self.stream = stream
        self._joiner = Joiner()
        self._reader = reader
        self._keys = keys
        self._counters = counters
        self._plain = plain

    @property
    def waiting(self) -> int:
        """Segmented messages begun of which the last segment is missing."""
        return self._joiner.waiting

    def feed(self, data: bytes, now_ns: int) -> list[Event]:
        """Events in the order of the bytes, except that bytes which are no frame come last."""
        return self._events(self.stream.feed(data), now_ns)

    def close(self, now_ns: int) -> list[Event]:
        """The stream ended: decide what is left of it."""
        return self._events(self.stream.close(), now_ns)

    def _events(self, frames: list[HdlcFrame] | list[Wrapped], now_ns: int) -> list[Event]:
        events: list[Event] = []
        for frame in frames:
            data = frame.information if isinstance(frame, HdlcFrame) else frame.apdu
            try:
                whole = self._joiner.take(frame) if isinstance(frame, HdlcFrame) else data
                if whole is not None:
                    data = whole
                    events.append(self._event(strip_llc(whole), now_ns))
            except DecodeError as error:
                events.append(Refused(without_traceback(error), data))
            except NotTrusted as error:
                events.append(Refused(error.with_traceback(None), data))
        events += (Refused(reject.error, reject.data) for reject in self.stream.rejects)
        self.stream.rejects.clear()
        return events

    def _event(self, apdu: bytes, now_ns: int) -> Event:
        kind = kind_of(apdu)
        if kind in _CIPHERED:
            return self._opened(apdu, now_ns)
        if kind is not ApduTag.DATA_NOTIFICATION:
            return kind
        if not self._plain:
            raise NotTrusted("plain", "push of a meter", "not ciphered", "general-glo-ciphering")
        return Pushed(self._reader.decode(apdu, now_ns))

    def _opened(self, apdu: bytes, now_ns: int) -> Pushed | ApduTag:
        sealed = decode_sealed(apdu)
        keys = self._keys.get(sealed.title)
        if keys is None:
            raise NotTrusted("title", "system title of a push", sealed.title.hex(), "one with keys here")
        plain = decipher(sealed, keys)
        counter = self._counters[sealed.title] = check_counter(self._counters, sealed)
        kind = kind_of(plain)
        if kind is not ApduTag.DATA_NOTIFICATION:
            return kind
        pack = self._reader.decode(plain, now_ns)
        return Pushed(replace(pack, sequence=np.full(len(pack.time_ns), counter, np.int64)), sealed.title)
