"""A-XDR of DLMS/COSEM (IEC 61334-6): bytes to nodes and back.

A node is a pair (tag, value). Values: int, float, bool, None; bytes for octet strings, dates and times; str for texts;
(number of bits, bytes) for bit strings; a list of nodes for arrays and structures; (type description, list of nodes)
for compact arrays. Depth and number of nodes are bounded before anything is made.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any

from model.errors import DecodeError

MAX_DEPTH = 12
MAX_NODES = 8_192
Node = tuple[int, Any]


class Tag(IntEnum):
    """Types of A-XDR data."""

    NULL = 0
    ARRAY = 1
    STRUCTURE = 2
    BOOLEAN = 3
    BITS = 4
    INT32 = 5
    UINT32 = 6
    OCTETS = 9
    STRING = 10
    UTF8 = 12
    BCD = 13
    INT8 = 15
    INT16 = 16
    UINT8 = 17
    UINT16 = 18
    COMPACT = 19
    INT64 = 20
    UINT64 = 21
    ENUM = 22
    FLOAT32 = 23
    FLOAT64 = 24
    DATE_TIME = 25
    DATE = 26
    TIME = 27


_FIXED = {
    int(tag): struct.Struct(f">{code}")
    for tag, code in (
        (Tag.BOOLEAN, "?"),
        (Tag.INT32, "i"),
        (Tag.UINT32, "I"),
        (Tag.BCD, "b"),
        (Tag.INT8, "b"),
        (Tag.INT16, "h"),
        (Tag.UINT8, "B"),
        (Tag.UINT16, "H"),
        (Tag.INT64, "q"),
        (Tag.UINT64, "Q"),
        (Tag.ENUM, "B"),
        (Tag.FLOAT32, "f"),
        (Tag.FLOAT64, "d"),
        (Tag.DATE_TIME, "12s"),
        (Tag.DATE, "5s"),
        (Tag.TIME, "4s"),
    )
}
_READ = {tag: (layout.unpack_from, layout.size) for tag, layout in _FIXED.items()}
_NULL: Node = (0, None)
_ARRAY, _STRUCTURE, _BITS, _OCTETS, _STRING, _UTF8, _COMPACT = 1, 2, 4, 9, 10, 12, 19
_CONTAINERS = (_ARRAY, _STRUCTURE)
_LONG = 0x80  # lengths from here on tell how many bytes they have
_NUMBERS = frozenset({5, 6, 15, 16, 17, 18, 20, 21, 22, 23, 24})


def is_number(node: Node) -> bool:
    """Whether a node holds an int or float."""
    return node[0] in _NUMBERS


def decode(data: bytes, at: int = 0) -> tuple[Node, int]:
    """The node that starts at `at`, and where it ends. Raises DecodeError (truncated, tag, length, depth, count...)."""
    reader = _Reader(data)
    try:
        return reader.one(at, 0)
    except (IndexError, struct.error) as error:
        raise DecodeError("truncated", "A-XDR data", f"{len(data)} bytes", "as many as its tags say") from error


class _Reader:
    """Reads one tree; counts its nodes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_NODES

    def one(self, at: int, depth: int) -> tuple[Node, int]:
        nodes, at = self._many(at, 1, depth)
        return nodes[0], at

    def _many(self, at: int, count: int, depth: int) -> tuple[list[Node], int]:
        """So many tagged nodes one after the other."""
        self._take(count, depth)
        data, read = self._data, _READ
        nodes: list[Node] = []
        for _ in range(count):
            tag = data[at]
            fixed = read.get(tag)
            if fixed is not None:
                nodes.append((tag, fixed[0](data, at + 1)[0]))
                at += 1 + fixed[1]
            elif tag == _STRUCTURE and data[at + 1] < _LONG:  # the usual case, without the steps of the general one
                parts, at = self._many(at + 2, data[at + 1], depth + 1)
                nodes.append((tag, parts))
            else:
                node, at = self._open(tag, at + 1, depth)
                nodes.append(node)
        return nodes, at

    def _open(self, tag: int, at: int, depth: int) -> tuple[Node, int]:
        """A node whose length is not told by its tag."""
        if tag in _CONTAINERS:
            count, at = self._length(at)
            if count > len(self._data) - at:
                raise DecodeError("count", "elements of A-XDR data", count, f"<= {len(self._data) - at}")
            nodes, at = self._many(at, count, depth + 1)
            return (tag, nodes), at
        if tag == _COMPACT:
            return self._compact(at, depth + 1)
        return self._text(tag, at)

    def _text(self, tag: int, at: int) -> tuple[Node, int]:
        if tag == _OCTETS and self._data[at] < _LONG:
            end = at + 1 + self._data[at]
            if end <= len(self._data):
                return (tag, self._data[at + 1 : end]), end
        if tag == 0:
            return _NULL, at
        if tag not in (_OCTETS, _STRING, _UTF8, _BITS):
            raise DecodeError("tag", f"A-XDR tag at offset {at - 1}", tag, "a known type")
        count, at = self._length(at)
        end = at + (count if tag != _BITS else (count + 7) // 8)
        if end > len(self._data):
            raise DecodeError("truncated", "rest of A-XDR data", len(self._data) - at, f">= {end - at} bytes")
        return (tag, _text_value(tag, count, self._data[at:end])), end

    def _length(self, at: int) -> tuple[int, int]:
        first = self._data[at]
        if first < _LONG:
            return first, at + 1
        size = first & 0x7F
        if size not in (1, 2) or at + 1 + size > len(self._data):
            raise DecodeError("length", "length of A-XDR data", f"{first:#04x}", "< 0x80, 0x81 n or 0x82 nn")
        return int.from_bytes(self._data[at + 1 : at + 1 + size]), at + 1 + size

    def _take(self, count: int, depth: int) -> None:
        self._left -= count
        if depth > MAX_DEPTH:
            raise DecodeError("depth", "depth of A-XDR data", depth, f"<= {MAX_DEPTH}")
        if self._left < 0:
            raise DecodeError("count", "nodes of A-XDR data", f"> {MAX_NODES}", f"<= {MAX_NODES}")

    def _compact(self, at: int, depth: int) -> tuple[Node, int]:
        """Type description, length of the contents, contents without tags."""
        start = at
        kind, at = self._kind(at, depth)
        description = self._data[start:at]
        size, at = self._length(at)
        end = at + size
        if end > len(self._data) or not _least(kind):
            found = f"{size} bytes of elements of >= {_least(kind)}"
            raise DecodeError("count", "contents of a compact array", found, "as many bytes, elements that take some")
        nodes: list[Node] = []
        while at < end:
            node, at = self._untagged(kind, at, depth)
            nodes.append(node)
        if at != end:
            raise DecodeError("count", "end of a compact array", at, end)
        return (_COMPACT, (description, nodes)), at

    def _kind(self, at: int, depth: int) -> tuple[_Kind, int]:
        """A type description: a tag; arrays with the count and kind of their elements, structures with all kinds."""
        self._take(1, depth)
        tag, at = self._data[at], at + 1
        if tag == _ARRAY:
            count = int.from_bytes(self._data[at : at + 2])
            kind, at = self._kind(at + 2, depth + 1)
            return _Kind(tag, count, [kind]), at
        if tag == _STRUCTURE:
            count, at = self._length(at)
            kinds = []
            for _ in range(count):
                kind, at = self._kind(at, depth + 1)
                kinds.append(kind)
            return _Kind(tag, count, kinds), at
        if tag not in _READ and tag not in (0, _OCTETS, _STRING, _UTF8, _BITS):
            raise DecodeError("tag", f"type description at offset {at - 1}", tag, "a known type")
        return _Kind(tag, 0, []), at

    def _untagged(self, kind: _Kind, at: int, depth: int) -> tuple[Node, int]:
        self._take(1, depth)
        if kind.tag not in _CONTAINERS:
            fixed = _READ.get(kind.tag)
            if fixed is None:
                return self._text(kind.tag, at)
            return (kind.tag, fixed[0](self._data, at)[0]), at + fixed[1]
        nodes = []
        for part in kind.parts if kind.tag == _STRUCTURE else kind.parts * min(kind.count, self._left + 1):
            node, at = self._untagged(part, at, depth + 1)
            nodes.append(node)
        return (kind.tag, nodes), at


class _Kind:
    """Type of the elements of a compact array."""

    __slots__ = ("count", "parts", "tag")

    def __init__(self, tag: int, count: int, parts: list[_Kind]) -> None:
        self.tag = tag
        self.count = count
        self.parts = parts


def _least(kind: _Kind) -> int:
    """Fewest bytes that an element takes."""
    if kind.tag == _ARRAY:
        return kind.count * _least(kind.parts[0])
    if kind.tag == _STRUCTURE:
        return sum(map(_least, kind.parts))
    return _READ[kind.tag][1] if kind.tag in _READ else int(kind.tag != 0)


def _text_value(tag: int, count: int, raw: bytes) -> object:
    if tag == _BITS:
        return count, raw
    if tag == _OCTETS:
        return raw
    try:
        return raw.decode("utf-8" if tag == _UTF8 else "latin-1")  # meters put odd bytes into visible strings
    except UnicodeDecodeError as error:
        raise DecodeError("text", "text of A-XDR data", raw[:40].hex(), "UTF-8") from error


def encode(node: Node) -> bytes:
    """Bytes of a node. Raises ValueError or struct.error where the value is not of its tag."""
    tag, value = node
    if tag in _CONTAINERS:
        return bytes([tag]) + encode_length(len(value)) + b"".join(encode(part) for part in value)
    if tag == _COMPACT:
        description: bytes = value[0]
        contents = b"".join(_bare(part) for part in value[1])
        return bytes([tag]) + description + encode_length(len(contents)) + contents
    return bytes([tag]) + _bare(node)


def _bare(node: Node) -> bytes:
    """A node without its tag, containers without their count: as in the contents of a compact array."""
    tag, value = node
    if tag in _CONTAINERS:
        return b"".join(_bare(part) for part in value)
    if tag in _FIXED:
        return _FIXED[tag].pack(value)
    if tag == 0:
        return b""
    if tag == _BITS:
        return encode_length(value[0]) + bytes(value[1])
    raw: bytes = value if tag == _OCTETS else value.encode("utf-8" if tag == _UTF8 else "latin-1")
    return encode_length(len(raw)) + raw


def encode_length(size: int) -> bytes:
    """A length or count: one byte below 0x80, else 0x81 n or 0x82 nn. Raises ValueError above 65,535."""
    if size < 0x80:
        return bytes([size])
    if size > 0xFFFF:
        raise ValueError(f"A-XDR length {size}, expected <= 65535")
    return bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2)
