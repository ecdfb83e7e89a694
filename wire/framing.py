"""A byte stream cut into messages that tell their own length. The same messages come out however the bytes were cut.

Every byte fed ends in a message, in a reject, in idle filling, or is still waited for: what came in is
`taken + skipped + idle + waiting`, once `close` was called.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Generic, TypeVar

from model.errors import DecodeError
from wire.c37118.stream import Reject

Message = TypeVar("Message")
MAX_REJECT = 65_536  # bytes of one reject


@dataclass(frozen=True, slots=True)
class Cut(Generic[Message]):
    """A message found, and how many bytes of the stream it took."""

    message: Message
    size: int


@dataclass(frozen=True, slots=True)
class Skip:
    """Bytes that start no message, and why; without an error they are filling that the protocol allows."""

    size: int
    error: DecodeError | None = None


def without_traceback(error: DecodeError) -> DecodeError:
    """The same error to keep: a traceback would keep alive all frames it went through, and the bytes in them."""
    return DecodeError(error.reason, error.what, error.value, error.expected)


class Splitter(ABC, Generic[Message]):
    """Splits the bytes of one direction of one connection; the caller keeps one for each and looks into `rejects`."""

    def __init__(self) -> None:
        self.taken = 0  # bytes of messages so far
        self.skipped = 0  # bytes rejected so far
        self.idle = 0  # bytes of filling so far
        self.rejects: list[Reject] = []
        self._buffer = bytearray()
        self._skip = bytearray()
        self._skip_error: DecodeError | None = None

    @property
    def waiting(self) -> int:
        """Bytes held back until the rest of their message is there."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Message]:
        """Messages that are complete now; look into `rejects` after each call and clear it."""
        self._buffer += data
        return self._cut(last=False)

    def close(self) -> list[Message]:
        """Messages that the end of the stream decides; a cut-off rest is rejected."""
        return self._cut(last=True)

    @abstractmethod
    def _step(self, buffer: bytes, at: int, last: bool) -> Cut[Message] | Skip | None:
        """What starts at `at`: a message, bytes to pass, or None to wait for more (never when `last`)."""

    def _cut(self, last: bool) -> list[Message]:
        found: list[Message] = []
        buffer = bytes(self._buffer)
        at = 0
        while at < len(buffer):
            step = self._step(buffer, at, last)
            if step is None:
                break
            at += step.size
            if isinstance(step, Cut):
                self._end_skip()
                self.taken += step.size
                found.append(step.message)
            elif step.error is None:
                self.idle += step.size
            else:
                self._pass(buffer[at - step.size : at], step.error)
        del self._buffer[:at]
        if last:
            self._end_skip()
        return found

    def _pass(self, data: bytes, error: DecodeError) -> None:
        if self._skip_error is None:
            self._skip_error = without_traceback(error)
        self._skip += data
        if len(self._skip) >= MAX_REJECT:
            self._end_skip()

    def _end_skip(self) -> None:
        if self._skip_error is not None:
            self.skipped += len(self._skip)
            self.rejects.append(Reject(self._skip_error, bytes(self._skip)))
            self._skip.clear()
            self._skip_error = None
