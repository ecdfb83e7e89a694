"""What comes from one sender: configurations kept, DATA frames gathered into batches that a layout can decode."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.errors import DecodeError
from wire.c37118.configuration import decode_configuration
from wire.c37118.data import DataLayout
from wire.c37118.fields import STAT_CONFIGURATION_CHANGE
from wire.c37118.frames import Frame, FrameKind
from wire.c37118.stream import Reject, Stream


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
    """A CFG-2 came; `changed` unless it is the one we knew."""

    layout: DataLayout
    changed: bool


Event = Batch | Configured | Frame | Reject


class Session:
    """Decodes one direction of a connection. Frames that are neither DATA nor CFG-2 come out as they are.

    `layouts` (by the stream's IDCODE) may be shared between connections, where a configuration comes over TCP and the
    data over UDP.
    """

    def __init__(self, layouts: dict[int, DataLayout] | None = None) -> None:
        self.layouts: dict[int, DataLayout] = {} if layouts is None else layouts
        self.stream = Stream()

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
        if frame.kind is FrameKind.CFG3:
            error = DecodeError("cfg3", f"configuration of stream {frame.idcode}", "CFG-3", "CFG-2, which we ask for")
            return Reject(error, frame.data)
        return self._configured(frame) if frame.kind is FrameKind.CFG2 else frame

    def _configured(self, frame: Frame) -> Configured | Reject:
        try:
            configuration = decode_configuration(frame)
            known = self.layouts.get(frame.idcode)
            if known is not None and known.configuration == configuration:
                return Configured(known, changed=False)
            layout = DataLayout(configuration)
        except DecodeError as error:
            return Reject(error, frame.data)
        self.layouts[frame.idcode] = layout
        return Configured(layout, changed=True)

    def _batches(self, run: list[Frame]) -> list[Event]:
        """One batch of a run of DATA frames of one stream, and what does not fit its layout."""
        if not run:
            return []
        idcode = run[0].idcode
        layout = self.layouts.get(idcode)
        if layout is None:
            unknown = DecodeError(
                "configuration", f"configuration of stream {idcode}", "missing", "a CFG-2 before DATA"
            )
            return [Reject(unknown, frame.data) for frame in run]
        fitting = b"".join(frame.data for frame in run if len(frame.data) == layout.size)
        changing = bool(np.any(layout.stats(fitting) & STAT_CONFIGURATION_CHANGE))
        events: list[Event] = [Batch(layout, fitting, changing)] if fitting else []
        for frame in run:
            if len(frame.data) != layout.size:
                error = DecodeError("size", f"DATA of stream {idcode}", len(frame.data), f"{layout.size} bytes")
                events.append(Reject(error, frame.data))
        return events
