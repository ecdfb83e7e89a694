"""Fields off the body of a frame, one after the other, never past its end."""

from __future__ import annotations

import struct
from typing import Any

from model.errors import DecodeError


class Reader:
    """Takes fields off a body and refuses to read past its end."""

    def __init__(self, body: bytes, what: str) -> None:
        self._body = body
        self._what = what
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes. Raises DecodeError (truncated) when fewer are left."""
        self.require(size)
        start, self._at = self._at, self._at + size
        return self._body[start : self._at]

    def require(self, size: int) -> None:
        """Check that so many bytes are left, before anything of that size is made."""
        if size > len(self._body) - self._at:
            left = len(self._body) - self._at
            raise DecodeError("truncated", f"rest of {self._what}", left, f">= {size} bytes")

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Fields of one struct."""
        return layout.unpack(self.take(layout.size))

    def numbers(self, code: str, count: int) -> tuple[int, ...]:
        """So many big-endian numbers of one struct code."""
        return struct.unpack(f">{count}{code}", self.take(struct.calcsize(f">{count}{code}")))

    def finish(self) -> None:
        """Raise DecodeError (size) if something is left over."""
        if self._at != len(self._body):
            raise DecodeError("size", f"length of {self._what}", len(self._body), f"{self._at} bytes")


def clean_name(raw: bytes) -> str:
    """Text of a padded name field; what is not printable becomes U+FFFD, so that no control character gets further."""
    text = raw.rstrip(b" \0").decode("utf-8", "replace").strip()
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
