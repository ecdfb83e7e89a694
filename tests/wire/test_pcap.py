"""Recordings: byte orders, link types, IP versions, TCP put together again whatever the order, broken files."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DecodeError
from tests.wire.material import START_NS, capture, udp_pcap
from wire.mqtt import MqttStream, Publish
from wire.pcap import Flow, Packet, Piece, Segment, pieces, read_packets, segments

FLOW = Flow("192.0.2.1", 4712, "192.0.2.2", 40_000, tcp=True)


def udp(payload: bytes) -> bytes:
    return struct.pack(">HHHH", 4713, 9, 8 + len(payload), 0) + payload


def ipv4(body: bytes, fragment: int = 0) -> bytes:
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 1, fragment, 64, 17, 0, bytes(4), bytes([127, 0, 0, 1])
    )
    return head + body


def ipv6(body: bytes, extension: bytes = b"") -> bytes:
    head = struct.pack(">IHBB", 0x6000_0000, len(extension) + len(body), 0 if extension else 17, 64)
    return head + bytes(15) + b"\x01" + bytes(15) + b"\x02" + extension + body


HOP_BY_HOP = bytes([17, 0, 0, 0, 0, 0, 0, 0])
MAC = bytes(12)


@pytest.mark.parametrize(
    ("link", "data"),
    [
        (1, MAC + b"\x08\x00" + ipv4(udp(b"x")) + b"padding of a short frame"),
        (1, MAC + b"\x81\x00\x00\x01\x08\x00" + ipv4(udp(b"x"))),
        (1, MAC + b"\x88\xa8\x00\x01\x81\x00\x00\x02\x86\xdd" + ipv6(udp(b"x"))),
        (1, MAC + b"\x86\xdd" + ipv6(udp(b"x"), HOP_BY_HOP)),
        (113, bytes(14) + b"\x08\x00" + ipv4(udp(b"x"))),
        (101, ipv4(udp(b"x"))),
        (101, ipv6(udp(b"x"))),
        (12, ipv4(udp(b"x"))),
        (0, b"\x02\x00\x00\x00" + ipv4(udp(b"x"))),
        (108, b"\x00\x00\x00\x1e" + ipv6(udp(b"x"))),
    ],
)
def test_links_and_networks(link: int, data: bytes) -> None:
    (found,) = segments(iter([Packet(5, link, data)]))
    assert (found.payload, found.flow.source_port, found.flow.tcp) == (b"x", 4713, False)


@pytest.mark.parametrize("data", [b"", b"\x45", ipv4(udp(b"x"), fragment=0x2000), ipv4(udp(b"x"))[:24], b"\x00" * 60])
def test_fragments_and_stumps_are_passed_over(data: bytes) -> None:
    assert list(segments(iter([Packet(0, 101, data)]))) == []


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "unit_ns"), [(0xA1B2C3D4, 1_000), (0xA1B23C4D, 1)])
def test_byte_orders_and_units(order: str, magic: int, unit_ns: int) -> None:
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65_535, 101)
    data += struct.pack(f"{order}IIII", 7, 123, 3, 3) + b"abc"
    assert list(read_packets(data)) == [Packet(7_000_000_000 + 123 * unit_ns, 101, b"abc")]


def test_broken_files_name_the_offset() -> None:
    whole = udp_pcap([b"one", b"two"])
    for cut in range(1, len(whole)):
        found = []
        boundary = cut in (24, 24 + 16 + 28 + 3)
        with suppress(DecodeError) if boundary else pytest.raises(DecodeError) as caught:
            found.extend(read_packets(whole[:cut]))
        if not boundary and cut > 24:
            at = 24 if cut < 24 + 16 + 31 else 24 + 16 + 31
            assert f"at offset {at}" in str(caught.value)
            assert caught.value.reason == "truncated"
    huge = whole[:32] + struct.pack("<I", 2**31) + whole[36:]
    with pytest.raises(DecodeError, match="at offset 24"):
        list(read_packets(huge))


def cuts(data: bytes, rng: np.random.Generator, first: int) -> Iterator[Segment]:
    """Segments that cover all of the data, some twice, some overlapping, in disorder of a few places."""
    starts = sorted({0, *rng.integers(0, len(data), 12).tolist()})
    spans = list(zip(starts, [*starts[1:], len(data)], strict=True))
    sent = [(a, min(len(data), b + int(rng.integers(0, 6)))) for a, b in spans]
    sent += [sent[i] for i in rng.integers(0, len(sent), 4)]
    for i in sorted(range(len(sent)), key=lambda i: i + rng.integers(0, 4)):
        a, b = sent[i]
        yield Segment(START_NS, FLOW, data[a:b], (first + a) % 2**32)


@given(st.binary(min_size=30, max_size=400), st.integers(0, 10_000), st.sampled_from([1, 2**32 - 40, 2**31]))
@settings(deadline=None)
def test_tcp_is_put_together_whatever_the_order(data: bytes, seed: int, first: int) -> None:
    rng = np.random.default_rng(seed)
    syn = Segment(START_NS, FLOW, b"", first - 1, syn=True)
    found = list(pieces(iter([syn, *cuts(data, rng, first)])))
    assert b"".join(piece.payload for piece in found) == data
    assert not any(piece.lost for piece in found)
    assert [piece.start for piece in found] == [True] + [False] * (len(found) - 1)


def test_missing_bytes_are_told() -> None:
    found = list(pieces(iter([Segment(0, FLOW, b"abc", 100), Segment(0, FLOW, b"ghi", 106)])))
    assert [(piece.payload, piece.lost) for piece in found] == [(b"abc", 0), (b"ghi", 3)]


def test_a_new_connection_starts_anew() -> None:
    sent = [
        Segment(0, FLOW, b"", 99, syn=True),
        Segment(0, FLOW, b"abc", 100),
        Segment(0, FLOW, b"", 99, syn=True),  # the same SYN and data, repeated: nothing new
        Segment(0, FLOW, b"abc", 100),
        Segment(0, FLOW, b"", 5000, syn=True),
        Segment(0, FLOW, b"xyz", 5001),
    ]
    assert list(pieces(iter(sent))) == [Piece(0, FLOW, b"abc", start=True), Piece(0, FLOW, b"xyz", start=True)]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=120), st.integers(0, 120), st.integers(0, 255))
def test_any_change_of_a_recording_is_refused_or_read(extra: bytes, at: int, value: int) -> None:
    data = bytearray(udp_pcap([b"one", extra]))
    data[at % len(data)] = value
    with suppress(DecodeError):
        assert all(isinstance(piece.payload, bytes) for piece in pieces(segments(read_packets(bytes(data)))))


def test_real_recordings_have_no_hole() -> None:
    for name in ("C37.118_1PMU_TCP.pcap", "C37.118_4in1PMU_TCP.pcap"):
        data = capture(f"c37.118/{name}").read_bytes()
        assert not any(piece.lost for piece in pieces(segments(read_packets(data))) if piece.flow.speaks(4712))


def connect(version: int) -> bytes:
    body = b"\x00\x04MQTT" + bytes([version, 2, 0, 60]) + (b"\x00" if version == 5 else b"") + b"\x00\x01c"
    return bytes([0x10, len(body)]) + body


def publication(topic: bytes, payload: bytes, qos: int, properties: bytes = b"") -> bytes:
    body = len(topic).to_bytes(2) + topic + (b"\x00\x07" if qos else b"") + properties + payload
    return (
        bytes([0x30 | qos << 1, len(body) & 0x7F | (0x80 if len(body) > 127 else 0)])
        + (bytes([len(body) >> 7]) if len(body) > 127 else b"")
        + body
    )


@pytest.mark.parametrize(("version", "properties"), [(4, b""), (5, b"\x02\x01\x01")])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_publications_come_out_however_cut(version: int, properties: bytes, qos: int) -> None:
    data = connect(version) + b"\xc0\x00" + publication(b"a/b", b"p" * 200, qos, properties)
    data += publication(b"c", b"", qos, properties)
    expected = [Publish("a/b", qos, b"p" * 200), Publish("c", qos, b"")]
    for at in range(len(data)):
        stream = MqttStream()
        assert stream.feed(data[:at]) + stream.feed(data[at:]) == expected


@given(st.binary(max_size=60))
def test_any_bytes_are_mqtt_or_refused(data: bytes) -> None:
    with suppress(DecodeError):
        assert all(isinstance(message, Publish) for message in MqttStream().feed(data))
