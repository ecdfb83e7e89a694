"""Recordings (pcap) to packets, and packets to the TCP and UDP payloads they carry; pure, over bytes.

Both byte orders, microseconds and nanoseconds; Ethernet with VLAN tags, Linux cooked, raw IP and loopback; IPv4, IPv6.
Fragments of IP datagrams are passed over. A recording cut off in mid-packet yields what is whole, then a DecodeError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import ip_address

from model.errors import DecodeError
from model.time import NS_PER_S, NS_PER_US

MAX_PACKET = 262_144  # bytes; larger is no packet but a broken length
MAX_HELD = 1_048_576  # bytes of one direction held back for a missing segment
_PCAPNG = b"\x0a\x0d\x0d\x0a"
_MAGICS = {
    b"\xa1\xb2\xc3\xd4": (">", NS_PER_US),
    b"\xd4\xc3\xb2\xa1": ("<", NS_PER_US),
    b"\xa1\xb2\x3c\x4d": (">", 1),
    b"\x4d\x3c\xb2\xa1": ("<", 1),
}
_FILE_HEADER = 24
_PACKET_HEADER = 16
_ETHER_IPV4, _ETHER_IPV6 = 0x0800, 0x86DD
_VLANS = (0x8100, 0x88A8)
_TCP, _UDP = 6, 17
_IPV6_EXTENSIONS = (0, 43, 60)  # hop by hop, routing, destination
_SYN = 0x02


class Link(IntEnum):
    """Link types that we read."""

    NULL = 0
    ETHERNET = 1
    RAW_BSD = 12
    RAW = 101
    LOOP = 108
    LINUX_COOKED = 113


@dataclass(frozen=True, slots=True)
class Packet:
    """One recorded packet."""

    time_ns: int
    link: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Flow:
    """One direction of a conversation."""

    source: str
    source_port: int
    destination: str
    destination_port: int
    tcp: bool

    @property
    def reverse(self) -> Flow:
        """The other direction."""
        return Flow(self.destination, self.destination_port, self.source, self.source_port, self.tcp)

    def speaks(self, port: int) -> bool:
        """Whether one of the ends has this port."""
        return port in (self.source_port, self.destination_port)

    @property
    def sender(self) -> str:
        """Address and port it comes from."""
        return f"{self.source}:{self.source_port}"


@dataclass(frozen=True, slots=True)
class Segment:
    """Payload of one TCP segment or UDP datagram."""

    time_ns: int
    flow: Flow
    payload: bytes
    sequence: int = 0
    syn: bool = False


@dataclass(frozen=True, slots=True)
class Piece:
    """The next bytes of a flow in order. `start`: a new connection begins; `lost` bytes are missing before it."""

    time_ns: int
    flow: Flow
    payload: bytes
    start: bool = False
    lost: int = 0


def read_packets(data: bytes) -> Iterator[Packet]:
    """Packets of a recording in its order. Raises DecodeError (magic, truncated, size) naming the offset."""
    if data[:4] == _PCAPNG:
        raise DecodeError("magic", "kind of recording", "pcapng", "pcap (editcap -F pcap converts it)")
    if data[:4] not in _MAGICS:
        raise DecodeError("magic", "first bytes of a recording", data[:4].hex() or "none", "a pcap magic number")
    _require(data, 0, _FILE_HEADER)
    order, unit_ns = _MAGICS[data[:4]]
    (link,) = struct.unpack_from(f"{order}I", data, 20)
    header = struct.Struct(f"{order}IIII")
    at = _FILE_HEADER
    while at < len(data):
        _require(data, at, _PACKET_HEADER)
        seconds, fraction, size, _ = header.unpack_from(data, at)
        if size > MAX_PACKET:
            raise DecodeError("size", f"length of the packet at offset {at}", size, f"<= {MAX_PACKET} bytes")
        _require(data, at, _PACKET_HEADER + size)
        start = at + _PACKET_HEADER
        yield Packet(seconds * NS_PER_S + fraction * unit_ns, link & 0xFFFF, data[start : start + size])
        at = start + size


def _require(data: bytes, at: int, size: int) -> None:
    if len(data) - at < size:
        raise DecodeError("truncated", f"rest of the recording at offset {at}", len(data) - at, f">= {size} bytes")


def segments(packets: Iterator[Packet]) -> Iterator[Segment]:
    """TCP segments and UDP datagrams; packets that carry neither, or are cut short, are passed over."""
    for packet in packets:
        try:
            found = _segment(packet)
        except (struct.error, IndexError):  # the packet was recorded short, or lies about its lengths
            continue
        if found is not None:
            yield found


def _segment(packet: Packet) -> Segment | None:
    protocol, at = _network(packet)
    if protocol == _ETHER_IPV4:
        return _ipv4(packet, at)
    return _ipv6(packet, at) if protocol == _ETHER_IPV6 else None


def _network(packet: Packet) -> tuple[int, int]:
    """Ethernet type of the network layer, and where it starts."""
    data, link = packet.data, packet.link
    if link == Link.ETHERNET:
        at = 12
        while _u16(data, at) in _VLANS:
            at += 4
        return _u16(data, at), at + 2
    if link == Link.LINUX_COOKED:
        return _u16(data, 14), 16
    at = 4 if link in (Link.NULL, Link.LOOP) else 0
    if link not in (Link.NULL, Link.LOOP, Link.RAW, Link.RAW_BSD):
        return 0, 0
    return {4: _ETHER_IPV4, 6: _ETHER_IPV6}.get(data[at] >> 4, 0), at


def _u16(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">H", data, at)[0])


def _ipv4(packet: Packet, at: int) -> Segment | None:
    data = packet.data
    header, total, fragment = (data[at] & 0xF) * 4, _u16(data, at + 2), _u16(data, at + 6)
    if header < 20 or fragment & 0x3FFF:
        return None
    source, destination = data[at + 12 : at + 16], data[at + 16 : at + 20]
    body = data[at + header : at + total] if total else data[at + header :]  # 0: the sender's card cuts segments
    return _transport(packet.time_ns, data[at + 9], source, destination, body)


def _ipv6(packet: Packet, at: int) -> Segment | None:
    data = packet.data
    size, protocol = _u16(data, at + 4), data[at + 6]
    source, destination = data[at + 8 : at + 24], data[at + 24 : at + 40]
    body = data[at + 40 : at + 40 + size]
    while protocol in _IPV6_EXTENSIONS:
        protocol, body = body[0], body[(body[1] + 1) * 8 :]
    return _transport(packet.time_ns, protocol, source, destination, body)


def _transport(time_ns: int, protocol: int, source: bytes, destination: bytes, body: bytes) -> Segment | None:
    if protocol not in (_TCP, _UDP):
        return None
    source_port, destination_port = struct.unpack_from(">HH", body)
    flow = Flow(str(ip_address(source)), source_port, str(ip_address(destination)), destination_port, protocol == _TCP)
    if protocol == _UDP:
        return Segment(time_ns, flow, body[8 : _u16(body, 4)])
    (sequence,) = struct.unpack_from(">I", body, 4)
    return Segment(time_ns, flow, body[(body[12] >> 4) * 4 :], sequence, bool(body[13] & _SYN))


@dataclass(slots=True)
class _Direction:
    """What one end of a TCP connection has sent so far."""

    flow: Flow
    initial: int
    expected: int
    start: bool = True
    held: dict[int, Segment] = field(default_factory=dict)

    def take(self, segment: Segment) -> Iterator[Piece]:
        """Bytes that are in order now. Repeated and overlapping ones are dropped: the first version counts."""
        if segment.payload:
            known = self.held.get(segment.sequence)
            if known is None or len(known.payload) < len(segment.payload):
                self.held[segment.sequence] = segment
        yield from self._release()
        while self.held and sum(len(s.payload) for s in self.held.values()) > MAX_HELD:
            yield from self.skip()

    def _release(self) -> Iterator[Piece]:
        while self.held:
            sequence = min(self.held, key=self._ahead)
            if self._ahead(sequence) > 0:
                return
            segment = self.held.pop(sequence)
            fresh = segment.payload[-self._ahead(sequence) :]
            if fresh:
                yield self._piece(segment, fresh, 0)

    def skip(self) -> Iterator[Piece]:
        """Give up the missing bytes before the next held segment."""
        sequence = min(self.held, key=self._ahead)
        segment = self.held.pop(sequence)
        lost = self._ahead(sequence)
        self.expected = sequence
        yield self._piece(segment, segment.payload, lost)
        yield from self._release()

    def _ahead(self, sequence: int) -> int:
        """How far a sequence number lies ahead of the expected one, modulo 2^32, negative if behind."""
        return (sequence - self.expected + 0x8000_0000) % 0x1_0000_0000 - 0x8000_0000

    def _piece(self, segment: Segment, payload: bytes, lost: int) -> Piece:
        self.expected = (self.expected + len(payload)) % 0x1_0000_0000
        start, self.start = self.start, False
        return Piece(segment.time_ns, self.flow, payload, start, lost)


def pieces(found: Iterator[Segment]) -> Iterator[Piece]:
    """Payload in order: TCP put together again per direction, UDP as it came. Recordings start anywhere."""
    directions: dict[Flow, _Direction] = {}
    for segment in found:
        if not segment.flow.tcp:
            yield Piece(segment.time_ns, segment.flow, segment.payload, start=True)
            continue
        direction = directions.get(segment.flow)
        first = (segment.sequence + segment.syn) % 0x1_0000_0000
        if direction is None or (segment.syn and first != direction.initial):
            if direction is not None:
                yield from _rest(direction)
            direction = directions[segment.flow] = _Direction(segment.flow, first, first)
        yield from direction.take(segment)
    for direction in directions.values():
        yield from _rest(direction)


def _rest(direction: _Direction) -> Iterator[Piece]:
    while direction.held:
        yield from direction.skip()
