"""What comes from one sender: configurations kept, DATA frames gathered into batches that a layout can decode."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import DecodeError
from wire.c37118.configuration import Configuration, decode_configuration
from wire.c37118.configuration3 import Fragments, decode_cfg3
from wire.c37118.data import DataLayout
from wire.c37118.frames import Frame, FrameKind
from wire.c37118.stream import Reject, Stream

MAX_STREAMS = 256  # of one sender, each with its configuration
MAX_DATA_BYTES = 1 << 19  # of one DATA frame of each; bounds what their configurations hold


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring DATA frames of one layout, laid end to end. `changing`: a configuration change is announced."""

    layout: DataLayout
    frames: bytes
    changing: bool

    def __len__(self) -> int:
        return len(self.frames) // self.layout.size


@dataclass(frozen=True, slots=True)
class Configured:
    """A CFG-2 or a whole CFG-3 came; `changed` unless it is the one we knew."""

    layout: DataLayout
    changed: bool


Event = Batch | Configured | Frame | Reject


class Session:
    """Decodes one direction of a connection. DATA, CFG-2 and the last frame of a CFG-3 become events of their own, all
    other frames come out as they are. Both configurations say how to read DATA: the one that came last holds.

    `layouts` (by the stream's IDCODE) may be shared between connections, where a configuration comes over TCP and the
    data over UDP.
    """

    def __init__(self, layouts: dict[int, DataLayout] | None = None) -> None:
        self.layouts: dict[int, DataLayout] = {} if layouts is None else layouts
        self.stream = Stream()
        self._fragments = Fragments()

    def feed(self, data: bytes) -> list[Event]:
        """Events in the order of the bytes, except that rejected bytes come last."""
        return self._events(self.stream.feed(data))

    def resync(self) -> list[Event]:
        """Give up the frame being waited for."""
        return self._events(self.stream.resync())

    def close(self) -> list[Event]:
        """The stream ended: decide what is left of it."""
        return self._events(self.stream.close())

    def _events(self, frames: list[Frame]) -> list[Event]:
        events: list[Event] = []
        run: list[Frame] = []
        for frame in frames:
            if run and (frame.kind is not FrameKind.DATA or frame.idcode != run[0].idcode):
                events += self._batches(run)
                run = []
            if frame.kind is FrameKind.DATA:
                run.append(frame)
            else:
                events.append(self._other(frame))
        events += self._batches(run)
        events += self.stream.rejects
        self.stream.rejects.clear()
        return events

    def _other(self, frame: Frame) -> Event:
        try:
            if frame.kind is FrameKind.CFG2:
                return self._configured(decode_configuration(frame))
            if frame.kind is FrameKind.CFG3 and (whole := self._fragments.add(frame)):
                return self._configured(decode_cfg3(whole))
        except DecodeError as error:
            return Reject(error, frame.data)
        return frame

    def _configured(self, configuration: Configuration) -> Configured:
        known = self.layouts.get(configuration.idcode)
        if known is not None and known.configuration == configuration:
            return Configured(known, changed=False)
        layout = DataLayout(configuration)
        others = [other.size for idcode, other in self.layouts.items() if idcode != configuration.idcode]
        if len(others) >= MAX_STREAMS or sum(others) + layout.size > MAX_DATA_BYTES:
            found, expected = (
                f"{len(others) + 1}, {sum(others) + layout.size} bytes",
                f"{MAX_STREAMS}, {MAX_DATA_BYTES}",
            )
            raise DecodeError("streams", "streams of one sender and a DATA frame of each", found, f"<= {expected}")
        self.layouts[configuration.idcode] = layout
        return Configured(layout, changed=True)

    def _batches(self, run: list[Frame]) -> list[Event]:
        """One batch of a run of DATA frames of one stream, and what does not fit its layout."""
        if not run:
            return []
        idcode = run[0].idcode
        layout = self.layouts.get(idcode)
        if layout is None:
            unknown = DecodeError(
                "configuration", f"configuration of stream {idcode}", "missing", "a CFG-2 or CFG-3 before DATA"
            )
            return [Reject(unknown, frame.data) for frame in run]
        fitting = b"".join(frame.data for frame in run if len(frame.data) == layout.size)
        events: list[Event] = [Batch(layout, fitting, layout.announces_change(fitting))] if fitting else []
        for frame in run:
            if len(frame.data) != layout.size:
                error = DecodeError("size", f"DATA of stream {idcode}", len(frame.data), f"{layout.size} bytes")
                events.append(Reject(error, frame.data))
        return events
