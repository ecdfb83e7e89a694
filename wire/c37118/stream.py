"""A byte stream cut into frames. The same frames come out however the bytes were cut before."""

from __future__ import annotations

from dataclasses import dataclass

from model.errors import DecodeError
from wire.c37118.frames import MAX_SIZE, MIN_SIZE, SYNC_BYTE, Frame, is_sync, parse_frame

_PEEK = 4  # SYNC and FRAMESIZE
_MAX_SKIP = 65_536  # bytes of one reject
_NO_SYNC = DecodeError("sync", "start of a C37.118 frame", "other bytes", "0xaa, a known type and a plausible size")
_CUT_OFF = DecodeError("truncated", "rest of a C37.118 frame", "missing", "as many bytes as FRAMESIZE says")


@dataclass(frozen=True, slots=True)
class Reject:
    """Bytes that were no frame, and why."""

    error: DecodeError
    data: bytes


class Stream:
    """Splits bytes of one connection into frames; what fits no frame is rejected, counted and kept for quarantine.

    A frame counts when SYNC, size and CHK are right. When only CHK is wrong and another frame starts right behind it,
    the whole frame is rejected; otherwise the search goes on one byte further, since the size may have been the lie.
    """

    def __init__(self, max_size: int = MAX_SIZE) -> None:
        self.max_size = max_size
        self.skipped = 0  # bytes rejected so far
        self.rejects: list[Reject] = []
        self._buffer = bytearray()
        self._skip = bytearray()
        self._skip_error = _NO_SYNC

    @property
    def waiting(self) -> int:
        """Bytes held back until the rest of their frame is there."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Frames that are complete now; look into `rejects` after each call and clear it."""
        frame = None if self._buffer else self._whole(data)
        if frame is not None:
            self._end_skip()
            return [frame]
        self._buffer += data
        return self._cut(last=False)

    def _whole(self, data: bytes) -> Frame | None:
        """The frame that data is, if it is just that: what a PMU with a connection of its own mostly sends."""
        if not len(data) == int.from_bytes(data[2:_PEEK]) <= self.max_size:
            return None
        try:
            return parse_frame(data)
        except DecodeError:
            return None  # the long way says what is wrong, and how much of it

    def close(self) -> list[Frame]:
        """Frames that the end of the stream decides; a cut-off rest is rejected as truncated."""
        return self._cut(last=True)

    def resync(self) -> list[Frame]:
        """Give up the frame being waited for (its size may be a lie) and look for the next one behind its SYNC."""
        if not self._buffer:
            return []
        self._pass(bytes(self._buffer[:1]), 0, 1, _CUT_OFF)
        del self._buffer[:1]
        return self._cut(last=False)

    def _cut(self, last: bool) -> list[Frame]:
        frames: list[Frame] = []
        buffer = bytes(self._buffer)
        at = 0
        while at < len(buffer):
            step = self._step(buffer, at, last)
            if step is None:
                break
            at += step if isinstance(step, int) else self._accept(step, frames)
        del self._buffer[:at]
        if last:
            self._end_skip()
        return frames

    def _accept(self, frame: Frame, frames: list[Frame]) -> int:
        self._end_skip()
        frames.append(frame)
        return len(frame.data)

    def _step(self, buffer: bytes, at: int, last: bool) -> Frame | int | None:
        """The frame that starts here, or how many bytes to pass because none does, or None: wait for more."""
        if buffer[at] != SYNC_BYTE:
            following = buffer.find(SYNC_BYTE, at)
            return self._pass(buffer, at, (following if following >= 0 else len(buffer)) - at, _NO_SYNC)
        head = buffer[at : at + _PEEK]
        size = int.from_bytes(head[2:]) if len(head) == _PEEK else _PEEK
        if len(head) == _PEEK and not (is_sync(*head[:2]) and MIN_SIZE <= size <= self.max_size):
            return self._pass(buffer, at, 1, _NO_SYNC)
        if len(buffer) - at < size:
            return self._pass(buffer, at, 1, _CUT_OFF) if last else None
        return self._check(buffer, at, size, last)

    def _check(self, buffer: bytes, at: int, size: int, last: bool) -> Frame | int | None:
        data = buffer[at : at + size]
        try:
            return parse_frame(data)
        except DecodeError as error:
            behind = buffer[at + size : at + size + 2]
            if len(behind) < 2 and not last:
                return None
            if len(behind) == 2 and not is_sync(*behind):
                return self._pass(buffer, at, 1, error)
            self._end_skip()
            self._reject(error, data)
            return size

    def _pass(self, buffer: bytes, at: int, size: int, error: DecodeError) -> int:
        if not self._skip:
            self._skip_error = error
        self._skip += buffer[at : at + size]
        if len(self._skip) >= _MAX_SKIP:
            self._end_skip()
        return size

    def _end_skip(self) -> None:
        if self._skip:
            self._reject(self._skip_error, bytes(self._skip))
            self._skip.clear()

    def _reject(self, error: DecodeError, data: bytes) -> None:
        self.skipped += len(data)
        self.rejects.append(Reject(error, data))
