"""IEC 60870-5-104: a recording as tshark prints it, every type both ways, streams cut anywhere, times, numbers."""

from __future__ import annotations

import os
import struct
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.errors import DecodeError
from model.time import to_ns
from tests.servers.needs import program
from tests.wire.material import START_NS, capture
from wire.c37118.stream import Reject
from wire.iec104 import elements
from wire.iec104.apci import (
    ApduStream,
    Function,
    Numbered,
    Supervisory,
    Unnumbered,
    decode_apdu,
    encode_apdu,
)
from wire.iec104.asdu import TYPES, Asdu, Cause, Information, decode_asdu, encode_asdu
from wire.iec104.elements import SELECT, TRANSIENT, Quality, Stamp, encode_stamp
from wire.iec104.session import Event, Heard, Session
from wire.pcap import Flow, pieces, read_packets, segments

RECORDING = "iec104/090813_diverse.pcap"
PORT = 2404
COUNTS = {1: 1, 13: 14, 30: 8, 45: 5, 46: 6, 50: 10, 58: 5, 59: 10, 61: 5, 63: 5, 100: 3}
VALUES = (
    *("siq.spi", "diq.dpi", "vti.v", "normval", "scalval", "float", "bcr.count"),
    *("sco.on", "dco.on", "rco.up", "coi", "qoi", "qcc", "qrp"),
)
BYTES = {"siq": 0xF0, "diq": 0xF0, "qds": 0xFF, "qos": 0xFF, "sco": 0xFC, "dco": 0xFC, "rco": 0xFC}
BARE = (103,)  # nothing but a stamp
UNQUALIFIED = (51, 64, 70, 100, 101, 103, 105)
BOOLS = {"True": 1, "False": 0}


def heard(data: bytes) -> tuple[list[Event], dict[Flow, Session]]:
    sessions: dict[Flow, Session] = {}
    events: list[Event] = []
    for piece in pieces(segments(read_packets(data))):
        if piece.flow.speaks(PORT):
            events += sessions.setdefault(piece.flow, Session()).feed(piece.payload)
    return events, sessions


def tshark_asdus(recording: Path) -> list[ElementTree.Element]:
    """The ASDU layers that tshark finds, in the order of the recording."""
    run = subprocess.run(
        [program("tshark", "tshark"), "-T", "pdml", "-r", str(recording)],
        capture_output=True,
        check=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC"},
    )
    return [p for p in ElementTree.fromstring(run.stdout).iter("proto") if p.get("name") == "iec60870_asdu"]


def shown(layer: ElementTree.Element, name: str) -> list[str]:
    return [f.get("show", "") for f in layer.iter("field") if f.get("name") == f"iec60870_asdu.{name}"]


def number(text: str) -> float:
    return BOOLS[text] if text in BOOLS else float(int(text, 0)) if text.lower().startswith("0x") else float(text)


def assert_same(asdu: Asdu, layer: ElementTree.Element) -> None:
    """Every field of an ASDU as tshark shows it."""
    heads = {name: number(shown(layer, name)[0]) for name in ("typeid", "causetx", "nega", "test", "oa", "addr", "sq")}
    flags = (asdu.negative, asdu.test, asdu.originator, asdu.address, asdu.sequence)
    assert tuple(heads.values()) == (asdu.type, asdu.cause, *flags)
    assert [number(text) for text in shown(layer, "numix")] == [len(asdu.objects)]
    objects = [f for f in layer.iter("field") if f.get("name") == "" and f.get("show", "").startswith("IOA:")]
    assert len(objects) == len(asdu.objects)
    for ours, theirs in zip(asdu.objects, objects, strict=True):
        assert ours.address == int(theirs.get("show", "").split(":")[1])
        values = [number(text) for name in VALUES for text in shown(theirs, name)]
        values += [float(swapped(int(number(text)))) for text in shown(theirs, "bitstring")]
        assert values == ([] if asdu.type in BARE else [pytest.approx(ours.value, rel=1e-5, abs=1e-6)])
        bits = [int(number(text)) & mask for name, mask in BYTES.items() for text in shown(theirs, name)]
        bits += counter_bits(theirs)
        assert bits == ([ours.quality & 0xFF] if asdu.type not in UNQUALIFIED else [])
        assert_same_stamp(ours.stamp, theirs)


def swapped(word: int) -> int:
    """tshark shows the first byte of a bit string as its highest."""
    return int.from_bytes(word.to_bytes(4), "little")


def counter_bits(theirs: ElementTree.Element) -> list[int]:
    """The byte behind a counter, which tshark shows in parts only."""
    places = {"bcr.sq": 0, "bcr.cy": 5, "bcr.ca": 6, "bcr.iv": 7}
    parts = [int(number(text)) << place for name, place in places.items() for text in shown(theirs, name)]
    return [sum(parts)] if parts else []


def assert_same_stamp(stamp: Stamp | None, theirs: ElementTree.Element) -> None:
    times = shown(theirs, "cp56time")
    assert (stamp is not None) == bool(times)
    if stamp is not None:
        day, month = number(shown(theirs, "cp56time.day")[0]), number(shown(theirs, "cp56time.month")[0])
        assert (stamp.raw[4] & 0x1F, stamp.raw[5] & 0x0F) == (day, month)
        assert stamp.invalid == bool(number(shown(theirs, "cp56time.iv")[0]))
        assert stamp.summer == bool(number(shown(theirs, "cp56time.su")[0]))
        printed = times[0].split(".")[0].removesuffix(" UTC")
        expected = datetime.strptime(printed, "%b %d, %Y %H:%M:%S").replace(tzinfo=UTC)
        milliseconds = int(number(shown(theirs, "cp56time.ms")[0])) % 1_000
        assert stamp.utc_ns() == to_ns(expected + timedelta(milliseconds=milliseconds))


def test_the_recording_is_what_tshark_prints() -> None:
    path = capture(RECORDING)
    events, sessions = heard(path.read_bytes())
    asdus = [event.asdu for event in events if isinstance(event, Heard)]
    assert Counter(asdu.type for asdu in asdus) == COUNTS
    assert len(events) == 86
    assert not any(session.unknown or session.stream.skipped for session in sessions.values())
    layers = tshark_asdus(path)
    assert len(layers) == len(asdus)
    for asdu, layer in zip(asdus, layers, strict=True):
        assert_same(asdu, layer)


def test_the_recording_is_written_again_byte_for_byte() -> None:
    spoken = pieces(segments(read_packets(capture(RECORDING).read_bytes())))
    for piece in (piece for piece in spoken if piece.flow.speaks(PORT)):
        frames = ApduStream().feed(piece.payload)
        assert b"".join(map(encode_apdu, frames)) == piece.payload
        for frame in frames:
            if isinstance(frame, Numbered):
                assert encode_asdu(decode_asdu(frame.asdu)) == frame.asdu


def test_what_the_recording_tells() -> None:
    """It starts in the middle; both ends have one address, so directions go by ports; no frame is missing."""
    events, sessions = heard(capture(RECORDING).read_bytes())
    assert {flow.source_port for flow in sessions} >= {PORT}
    numbers = [event for event in events if isinstance(event, Heard)]
    assert (numbers[0].send, sum(event.missing for event in numbers)) == (77, 0)
    assert Counter(e.function for e in events if isinstance(e, Unnumbered)).keys() == {
        Function.TESTFR_ACT,
        Function.TESTFR_CON,
    }
    commands = {asdu.type for event in numbers if (asdu := event.asdu).command and asdu.cause == Cause.ACTIVATION}
    assert commands == {45, 46, 50, 58, 59, 61, 63, 100}
    selects = [e for e in numbers if e.asdu.type == 59 and e.asdu.objects[0].quality & SELECT]
    assert selects
    assert {e.asdu.address for e in numbers} == {3}


def samples(kind: int) -> tuple[list[float | None], list[int]]:
    """Values and quality bits to try with a type."""
    element = TYPES[kind].kind
    table: dict[int, tuple[list[float | None], list[int]]] = {
        id(elements.SINGLE): ([0, 1], [0, Quality.INVALID | Quality.BLOCKED, Quality.SUBSTITUTED]),
        id(elements.DOUBLE): ([0, 1, 2, 3], [0, Quality.NOT_TOPICAL]),
        id(elements.STEP): ([-64, -1, 0, 63], [0, TRANSIENT, Quality.OVERFLOW, TRANSIENT | Quality.INVALID]),
        id(elements.BITS32): ([0, 1, 2**32 - 1], [0, Quality.INVALID]),
        id(elements.NORMAL): ([-1.0, 0.0, 0.5, 32767 / 32768], [0, Quality.OVERFLOW]),
        id(elements.SCALED): ([-32768, 0, 32767], [0, Quality.INVALID]),
        id(elements.FLOAT): ([-1.5, 0.0, 230.25, 2.0**100], [0, Quality.NOT_TOPICAL]),
        id(elements.COUNTER): ([-(2**31), 0, 2**31 - 1], [0, 0x1F, 0xE0]),
        id(elements.BARE_NORMAL): ([-1.0, 0.25], [0]),
        id(elements.SINGLE_COMMAND): ([0, 1], [0, SELECT, 0x7C]),
        id(elements.DOUBLE_COMMAND): ([1, 2], [0, SELECT | 0x04]),
        id(elements.BITS32_COMMAND): ([0, 2**32 - 1], [0]),
        id(elements.BYTE): ([0, 20, 255], [0]),
        id(elements.WORD): ([0, 0x55AA], [0]),
        id(elements.NOTHING): ([None], [0]),
    }
    return table[id(element)]


def made(kind: int, sequence: bool) -> list[Asdu]:
    values, bits = samples(kind)
    stamp = encode_stamp(START_NS, invalid=True) if TYPES[kind].stamped else None
    pairs = [(value, quality) for value in values for quality in bits]
    objects = tuple(Information(4_000 + i, v, int(q), stamp) for i, (v, q) in enumerate(pairs))
    return [
        Asdu(kind, Cause.ACTIVATION, 0x1234, objects, sequence=sequence),
        Asdu(kind, Cause.SPONTANEOUS, 3, objects[:1], originator=7, test=True, negative=True, sequence=sequence),
    ]


@pytest.mark.parametrize("sequence", [False, True])
@pytest.mark.parametrize("kind", TYPES)
def test_every_type_round_trips(kind: int, sequence: bool) -> None:
    for asdu in made(kind, sequence):
        data = encode_asdu(asdu)
        assert decode_asdu(data) == asdu
        for cut in range(len(data)):
            with pytest.raises(DecodeError):
                decode_asdu(data[:cut])


def tcp_pcap(payloads: list[bytes]) -> bytes:
    """A recording (raw IPv4) of TCP segments from a station to its master."""
    parts = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 101)]
    sequence = 1
    for i, payload in enumerate(payloads):
        tcp = struct.pack(">HHIIBBHHH", PORT, 40_000, sequence, 1, 0x50, 0x18, 8_192, 0, 0) + payload
        ends = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), i & 0xFFFF, 0, 64, 6, 0, *ends) + tcp
        parts.append(struct.pack("<IIII", START_NS // 10**9, i, len(ip), len(ip)) + ip)
        sequence += len(payload)
    return b"".join(parts)


@pytest.mark.parametrize("sequence", [False, True])
def test_every_type_that_we_encode_reads_the_same_in_tshark(sequence: bool, tmp_path: Path) -> None:
    shown_types = [kind for kind in TYPES if kind not in (21, 102, 107)]  # tshark 4.0 shows no objects of these
    asdus = [asdu for kind in shown_types for asdu in made(kind, sequence)]
    frames = [encode_apdu(Numbered(i, 0, encode_asdu(asdu))) for i, asdu in enumerate(asdus)]
    path = tmp_path / "made.pcap"
    path.write_bytes(tcp_pcap(frames))
    layers = tshark_asdus(path)
    assert len(layers) == len(asdus)
    for asdu, layer in zip(asdus, layers, strict=True):
        assert_same(asdu, layer)


FRAMES = [
    Unnumbered(Function.STARTDT_ACT),
    Numbered(0, 0, encode_asdu(made(13, sequence=False)[0])),
    Supervisory(1),
    Numbered(1, 0, encode_asdu(made(36, sequence=True)[1])),
    Unnumbered(Function.TESTFR_CON),
]


@given(st.lists(st.integers(0, 140), max_size=6))
def test_the_same_frames_however_cut(cuts: list[int]) -> None:
    data = b"".join(map(encode_apdu, FRAMES))
    stream, found = ApduStream(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        found += stream.feed(data[start:end])
    assert found == FRAMES
    assert (stream.taken, stream.skipped, stream.waiting) == (len(data), 0, 0)


def test_frames_come_again_after_nonsense() -> None:
    good = encode_apdu(FRAMES[1])
    stream = ApduStream()
    assert stream.feed(b"\x00\x68\x02" + good + b"\x68\x04\x03\x00\x00\x00" + good) == [FRAMES[1]] * 2
    stream.feed(good[:9])
    assert stream.close() == []
    assert [reject.error.reason for reject in stream.rejects] == ["start", "control", "truncated"]
    assert stream.taken + stream.skipped == 3 + 6 + 9 + 2 * len(good)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("", "truncated"),
        ("6804010000", "truncated"),
        ("670401000000", "start"),
        ("680501000000", "size"),
        ("680403000000", "control"),
        ("680407000100", "control"),
        ("680401000100", "control"),
        ("68050100000000", "control"),
    ],
)
def test_wrong_frames_are_refused(data: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_apdu(bytes.fromhex(data))
    assert caught.value.reason == reason


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ("0d01030003", "truncated"),
        ("0d0003000300", "count"),
        ("0d0103000300 140500 0000f041", "size"),
        ("0d0103000300 140500 0000f04100 00", "size"),
        ("0182030003 00 ffffff 0001", "address"),
    ],
)
def test_wrong_asdus_are_refused(data: str, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_asdu(bytes.fromhex(data))
    assert caught.value.reason == reason


def test_unknown_types_are_counted_with_their_bytes() -> None:
    unknown = bytes.fromhex("7f0203000300") + b"anything"
    session = Session()
    events = session.feed(encode_apdu(Numbered(5, 0, unknown)) + encode_apdu(Numbered(6, 0, b"\x0d\x01")))
    first, second = events
    assert isinstance(first, Heard)
    assert (first.asdu.known, first.asdu.objects, session.unknown) == (False, (), Counter({127: 1}))
    assert encode_asdu(first.asdu) == unknown
    assert isinstance(second, Reject)
    assert second.error.reason == "truncated"


def test_lost_frames_are_counted_across_the_end_of_the_numbers() -> None:
    session, asdu = Session(), encode_asdu(made(1, sequence=False)[0])
    sent = [32_766, 32_767, 0, 3]
    events = session.feed(b"".join(encode_apdu(Numbered(n, 0, asdu)) for n in sent))
    assert [event.missing for event in events if isinstance(event, Heard)] == [0, 0, 0, 2]


@given(st.integers(0, 2 * 10**12), st.sampled_from([UTC, ZoneInfo("Europe/Oslo"), ZoneInfo("Asia/Kolkata")]))
def test_stamps_round_trip(milliseconds: int, zone: Any) -> None:
    assert encode_stamp(milliseconds * 10**6, zone).utc_ns(zone) == milliseconds * 10**6


def test_the_hour_that_comes_twice_is_told_by_the_summer_bit() -> None:
    oslo = ZoneInfo("Europe/Oslo")
    first, second = (to_ns(datetime(2026, 10, 25, hour, 30, tzinfo=UTC)) for hour in (0, 1))
    one, two = encode_stamp(first, oslo), encode_stamp(second, oslo)
    assert (one.summer, two.summer) == (True, False)
    assert (one.utc_ns(oslo), two.utc_ns(oslo)) == (first, second)


@pytest.mark.parametrize(
    "raw", ["00000000000000", "60ea0000010101", "0000003f010101", "00000000 1f 02 1a", "ffffffffffffff"]
)
def test_clocks_that_show_no_time_are_none(raw: str) -> None:
    assert Stamp(bytes.fromhex(raw)).utc_ns() is None


@settings(max_examples=300)
@given(st.binary(max_size=300))
def test_any_bytes_are_accounted_for(data: bytes) -> None:
    session = Session()
    session.feed(data)
    session.close()
    stream = session.stream
    assert stream.taken + stream.skipped == len(data)
    assert stream.waiting == 0
