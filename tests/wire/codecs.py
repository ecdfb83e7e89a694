"""Every codec of wire/ with what it reads: a table for the one contract that holds for all of them.

`read` takes any bytes and accounts for all of them: it returns what it read, or raises DecodeError. A codec of streams
asserts that every byte and message is accepted, rejected or waited for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import numpy as np

from model.block import Origin, decode_block, encode_block
from model.device import Provenance
from model.stix_alert import ack_objects
from tests.wire.material import START_NS, capture, made, stream, udp_pcap
from wire import cbor
from wire.c37118.configuration import decode_configuration, encode_cfg2
from wire.c37118.configuration3 import decode_cfg3, encode_cfg3
from wire.c37118.frames import FrameKind, crc, parse_frame
from wire.c37118.messages import decode_command, decode_header, encode_command, encode_header
from wire.c37118.session import Batch, Session
from wire.c37118.stream import Reject, Stream
from wire.dlms import axdr
from wire.dlms.apdu import decode_notification, encode_notification, strip_llc
from wire.dlms.cipher import Keys, Sealed, decipher, decode_sealed, encipher
from wire.dlms.hdlc import HdlcStream, Joiner, decode_frame, encode_frame, encode_frames, x25
from wire.dlms.push import Profile, decode_push
from wire.dlms.session import Pushed, PushSession
from wire.dlms.template import PushReader
from wire.dlms.wrapper import Wrapped, WrapperStream, decode_wrapper, encode_wrapper
from wire.framing import Splitter
from wire.iec104 import session as iec104
from wire.iec104.apci import ApduStream, decode_apdu, encode_apdu
from wire.iec104.asdu import decode_asdu, encode_asdu
from wire.meter import MeterPack, decode_meter_pack, encode_meter_pack
from wire.mqtt import MqttStream
from wire.pcap import pieces, read_packets, segments
from wire.reads import Layout, decode_reads
from wire.senml import Form, encode, resolve
from wire.stix import check, parse_envelope
from wire.zeek import decode_lines

ORIGIN = Origin("test", "", Provenance.SIMULATED)
KEYS = Keys(bytes(range(16)), bytes(range(16, 32)))
TITLE = b"SMC\x00\x00\x00\x00\x01"
METER = "urn:dev:norm:norm-0001:meter"
IEC104 = "iec104/090813_diverse.pcap"
C37118 = "c37.118/C37.118_1PMU_TCP.pcap"
PUSHES = ("aidon_no_list_1", "aidon_no_list_3", "aidon_se_list")
FRAMES = ("aidon_hdlc_7d_in_info", "aidon_se_hdlc")
WIDE = Layout("meter", "time", {"A+": ("energy_import", "kWh"), "U1": ("voltage_l1", "V")})
LONG = Layout("meter", "time", {"1.8.0": ("energy_import", "kWh")}, register="obis", value="value", delimiter=";")


@dataclass(frozen=True)
class Codec:
    """`write` gives back the bytes of what was read; `whole`: no part of a sample is a message of its own; `mend` sets
    lengths and checksums right again, so that changed bytes get past them."""

    name: str
    read: Callable[[bytes], Any]
    samples: Callable[[], list[bytes]]
    write: Callable[[Any], bytes] | None = None
    whole: bool = True
    growth: int = 64  # bytes of memory that one byte read may take
    mend: Callable[[bytes], bytes] = bytes


# --- recorded and made bytes ------------------------------------------------------------------------------------------


def hexadecimal(*names: str) -> Callable[[], list[bytes]]:
    return lambda: [bytes.fromhex(capture(f"dlms/{name}.hex").read_text()) for name in names]


def apdus() -> list[bytes]:
    return [strip_llc(data) for data in hexadecimal(*PUSHES)()]


def spoken(name: str, port: int) -> bytes:
    found = pieces(segments(read_packets(capture(name).read_bytes())))
    return b"".join(piece.payload for piece in found if piece.flow.source_port == port)


def iec104_apdus() -> list[bytes]:
    return [encode_apdu(frame) for frame in ApduStream().feed(spoken(IEC104, 2404))]


def iec104_asdus() -> list[bytes]:
    return sorted({data[6:] for data in iec104_apdus() if len(data) > 6})


def c37118_frames() -> list[bytes]:
    recorded = Stream().feed(spoken(C37118, 4712))
    return [
        *(frame.data for frame in recorded[:4]),
        encode_cfg2(stream(15)),
        *encode_cfg3(stream(6, pmus=1)),
        encode_command(60, 8, START_NS, b"extended"),
        encode_header(60, "text"),
        made(5).frames[0],
    ]


def senml_files(*endings: str) -> list[bytes]:
    return [capture(f"senml/{name}").read_bytes().rstrip() for name in endings]


def recording() -> bytes:
    """The first packets of a recording, whole."""
    data, at = capture(IEC104).read_bytes(), 24
    for packet in list(read_packets(data))[:8]:
        at += 16 + len(packet.data)
    return data[:at]


def meter_packs() -> list[bytes]:
    times_ns = START_NS + np.array([0, 900]) * 10**9
    return [
        encode_meter_pack(METER, times_ns[:1], np.arange(11.0)[None] + 0.25, np.array([5])),
        encode_meter_pack(METER, times_ns, np.arange(22.0).reshape(2, 11)),
    ]


def envelopes() -> list[bytes]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    version = "2026-01-01T00:00:00.000Z"
    report = "report--a6ad3a48-9a33-4f0b-9e0a-1f3c2b7d1c11"
    note = ack_objects("DSO-0001", report, version, "read", at)[-1]
    return [json.dumps({"objects": [note]}).encode()]


def mqtt_bytes() -> list[bytes]:
    body = b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01c"
    connect = bytes([0x10, len(body)]) + body
    body = b"\x00\x03a/b\x00\x07\x00" + meter_packs()[0]
    publish = bytes([0x32, len(body) & 0x7F | 0x80, len(body) >> 7]) + body
    return [connect + publish + b"\xc0\x00" + publish]


def log_lines() -> list[bytes]:
    conn = {"_path": "conn", "ts": 1521911721.25, "uid": "C8", "id.orig_h": "10.1.1.1", "id.orig_p": 1, "proto": "tcp"}
    other = {"@timestamp": "2022-01-24T20:31:01Z", "event": {"dataset": "dnp3"}, "zeek": {"uid": "C", "x": [1, "a"]}}
    return [b"\n".join(json.dumps(fields).encode() for fields in (conn, other, conn)) + b"\n"]


def wide_reads() -> list[bytes]:
    rows = [f'm-{i},2026-01-01T00:{i:02d}:00Z,{i}.5,"230"' for i in range(20)]
    return ["\r\n".join(["meter,time,A+,U1", *rows]).encode()]


def long_reads() -> list[bytes]:
    rows = [f"m-{i % 3};2026-01-01T00:{i % 5:02d}:00Z;1.8.0;{i}" for i in range(20)]
    return ["\n".join(["meter;time;obis;value", *rows]).encode()]


def blocks() -> list[bytes]:
    pack = decode_meter_pack(meter_packs()[1], 0)
    return [encode_block(pack.block(7, START_NS, ORIGIN))]


# --- checksums set right ----------------------------------------------------------------------------------------------


def mend_c37118(data: bytes) -> bytes:
    if len(data) < 16:
        return data
    body = data[:2] + len(data).to_bytes(2) + data[4:-2]
    return body + crc(body).to_bytes(2)


def mend_hdlc(data: bytes) -> bytes:
    """One frame, whose addresses may have changed their lengths."""
    if len(data) < 12:
        return data
    ends = [at for at in range(3, min(len(data) - 6, 11)) if data[at] & 1]
    head = b"\x7e" + (0xA000 | data[1] << 8 & 0x800 | len(data) - 2 & 0x7FF).to_bytes(2)
    body = head + data[3:-3]
    if len(ends) > 1 and len(body) > ends[1] + 3:
        at = ends[1] + 2  # behind the control byte
        body = body[:at] + x25(body[1:at]).to_bytes(2, "little") + body[at + 2 :]
    return body + x25(body[1:]).to_bytes(2, "little") + b"\x7e"


def mend_block(data: bytes) -> bytes:
    if len(data) < 24:
        return data
    return data[:20] + crc32(data[24:], crc32(data[:20])).to_bytes(4, "little") + data[24:]


# --- reading with every byte accounted for ----------------------------------------------------------------------------


def read_splitter(make: Callable[[], Splitter[Any]]) -> Callable[[bytes], list[Any]]:
    def read(data: bytes) -> list[Any]:
        splitter = make()
        half = len(data) // 2
        found = splitter.feed(data[:half]) + splitter.feed(data[half:]) + splitter.close()
        assert splitter.taken + splitter.skipped + splitter.idle == len(data)
        assert splitter.skipped == sum(len(reject.data) for reject in splitter.rejects)
        assert splitter.waiting == 0
        return found

    return read


def read_hdlc_messages(data: bytes) -> list[bytes]:
    joiner = Joiner()
    return [whole for frame in read_splitter(HdlcStream)(data) if (whole := joiner.take(frame)) is not None]


def read_dlms(data: bytes) -> list[Any]:
    """Every frame is a push, another APDU, a refusal, or a segment of a message that goes on."""
    counters: dict[bytes, int] = {}
    session, alone = PushSession(HdlcStream(), READER, {TITLE: KEYS}, counters, plain=True), HdlcStream()
    events = session.feed(data, START_NS) + session.close(START_NS)
    frames = alone.feed(data) + alone.close()
    begun = sum(frame.segmented for frame in frames)
    assert len(frames) - begun + len(alone.rejects) <= len(events) <= len(frames) + len(alone.rejects)
    opened = [event.pack.sequence[0] for event in events if isinstance(event, Pushed) and event.title]
    assert opened == sorted(set(opened))
    return [event for event in events if isinstance(event, Pushed)]


def pushed() -> list[bytes]:
    """Frames, plain and ciphered, whole and in segments."""
    sealed = [encipher(apdu, TITLE, 5 + i, KEYS) for i, apdu in enumerate(apdus()[:2])]
    return [b"".join(encode_frames(apdu, b"\x03", b"\x21", 120) for apdu in (*sealed, apdus()[0], b"\x63\x00"))]


def read_iec104(data: bytes) -> list[Any]:
    session, frames = iec104.Session(), ApduStream()
    events = session.feed(data) + session.close()
    count = len(frames.feed(data) + frames.close())
    assert count + len(frames.rejects) == len(events)
    heard = [event.asdu for event in events if isinstance(event, iec104.Heard)]
    assert sum(session.unknown.values()) == sum(not asdu.known for asdu in heard)
    return events


def read_c37118_stream(data: bytes) -> list[Any]:
    session, alone = Session(), Stream()
    events = session.feed(data) + session.close()
    frames = alone.feed(data) + alone.close()
    assert sum(len(frame.data) for frame in frames) + alone.skipped == len(data)
    sizes = [len(event) if isinstance(event, Batch) else 1 for event in events]
    assert sum(sizes) == len(frames) + len(alone.rejects)
    for event in events:
        if isinstance(event, Batch):
            devices = np.arange(len(event.layout.configuration.pmus), dtype=np.int32)
            for block in event.layout.decode(event.frames, devices, START_NS, ORIGIN):
                assert len(block) % len(event) == 0
    return [event for event in events if not isinstance(event, Reject)]


def read_c37118_frame(data: bytes) -> bytes:
    frame = parse_frame(data)
    if frame.kind in (FrameKind.CFG1, FrameKind.CFG2):
        decode_configuration(frame)
    elif frame.kind is FrameKind.CFG3:
        decode_cfg3([frame])
    elif frame.kind is FrameKind.COMMAND:
        decode_command(frame)
    elif frame.kind is FrameKind.HEADER:
        decode_header(frame)
    return frame.data


def read_pack(read: Callable[[bytes], MeterPack]) -> Callable[[bytes], MeterPack]:
    def checked(data: bytes) -> MeterPack:
        pack = read(data)
        rows = len(pack.time_ns)
        assert pack.values.shape == (rows, 11)
        assert (pack.time_ns.dtype, len(pack.sequence)) == (np.int64, rows)
        assert not np.isinf(pack.values).any()
        assert len(pack.block(1, START_NS, ORIGIN)) == rows > 0
        return pack

    return checked


def read_sealed(data: bytes) -> tuple[Sealed, bytes]:
    sealed = decode_sealed(data)
    return sealed, decipher(sealed, KEYS)


def read_node(data: bytes) -> axdr.Node:
    node, end = axdr.decode(data)
    assert end <= len(data)
    return node


def read_lines(data: bytes) -> Any:
    found = decode_lines(data)
    lines = data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    assert len(found.logs) + len(found.refused) + found.blank == lines
    return found


def read_reads(layout: Layout) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        found = decode_reads(data, layout)
        assert found.used + len(found.refused) == found.rows
        assert found.used >= len(found.time_ns) == len(found.device) == len(found.values)
        assert not np.isinf(found.values).any()
        assert all(refused.line > 1 for refused in found.refused)
        return found

    return read


def read_envelope(data: bytes) -> list[Any]:
    return [check(received) for received in parse_envelope(data)]


def records_of(pack: bytes, form: Form = Form.JSON) -> list[Any]:
    records = resolve(pack, START_NS, form)
    assert all(-(2**63) <= record.time_ns < 2**63 for record in records)
    assert [record.time_ns for record in records] == sorted(record.time_ns for record in records)
    return records


READER = PushReader(Profile())
CODECS = (
    Codec("c37118 frames", read_c37118_frame, c37118_frames, bytes, mend=mend_c37118),
    Codec(
        "c37118 session",
        lambda data: read_c37118_stream(encode_cfg2(stream(5)) + mend_c37118(data)),
        lambda: [made(5).frames[0], encode_cfg2(stream(5)), *encode_cfg3(stream(6, pmus=1))],
        whole=False,
    ),
    Codec("c37118 stream", read_c37118_stream, lambda: [spoken(C37118, 4712)[:700]], whole=False),
    Codec(
        "senml json",
        records_of,
        lambda: senml_files(*(f"ex{number}.json" for number in range(1, 14))),
    ),
    Codec(
        "senml cbor",
        lambda data: records_of(data, Form.CBOR),
        lambda: senml_files("ex3.gen.cbor", "ex5.gen.cbor"),
    ),
    Codec("cbor", cbor.decode, lambda: [encode(json.loads(pack), Form.CBOR) for pack in meter_packs()], cbor.encode),
    Codec("meter packs", read_pack(lambda data: decode_meter_pack(data, START_NS)), meter_packs),
    Codec("dlms frames", decode_frame, hexadecimal(*FRAMES), encode_frame, mend=mend_hdlc),
    Codec(
        "dlms frame stream",
        read_splitter(HdlcStream),
        hexadecimal(*FRAMES),
        lambda frames: encode_frame(frames[0]),
        whole=False,
        mend=mend_hdlc,
    ),
    Codec(
        "dlms segments",
        read_hdlc_messages,
        lambda: [encode_frames(apdu, b"\x03", b"\x21", 90) for apdu in apdus()],
        lambda found: encode_frames(found[0], b"\x03", b"\x21", 90),
        whole=False,
    ),
    Codec("dlms session", read_dlms, pushed, whole=False),
    Codec("dlms pushes in frames", read_dlms, hexadecimal(*FRAMES), whole=False, mend=mend_hdlc),
    Codec("dlms data", read_node, lambda: [apdu[6:] for apdu in apdus()], axdr.encode),
    Codec("dlms notifications", decode_notification, apdus, encode_notification, growth=128),
    Codec("dlms pushes", read_pack(lambda data: decode_push(data, Profile(), START_NS)), hexadecimal(*PUSHES)),
    Codec("dlms templates", read_pack(lambda data: READER.decode(data, START_NS)), hexadecimal(*PUSHES)),
    Codec(
        "dlms ciphering",
        read_sealed,
        lambda: [encipher(apdu, TITLE, 5, KEYS) for apdu in apdus()],
        lambda opened: encipher(opened[1], opened[0].title, opened[0].counter, KEYS, opened[0].security),
    ),
    Codec(
        "dlms wrapper",
        decode_wrapper,
        lambda: [encode_wrapper(Wrapped(1, 16, apdu)) for apdu in apdus()],
        encode_wrapper,
    ),
    Codec(
        "dlms wrapper stream",
        read_splitter(WrapperStream),
        lambda: [b"".join(encode_wrapper(Wrapped(1, 16, apdu)) for apdu in apdus())],
        lambda found: b"".join(map(encode_wrapper, found)),
        whole=False,
    ),
    Codec("iec104 frames", decode_apdu, iec104_apdus, encode_apdu),
    Codec("iec104 asdus", decode_asdu, iec104_asdus, encode_asdu),
    Codec(
        "iec104 stream",
        read_splitter(ApduStream),
        lambda: [b"".join(iec104_apdus()[:30])],
        lambda frames: b"".join(map(encode_apdu, frames)),
        whole=False,
    ),
    Codec("iec104 session", read_iec104, lambda: [b"".join(iec104_apdus()[:12])], whole=False),
    Codec("zeek logs", read_lines, log_lines, whole=False, growth=400),  # each refused line keeps its reason
    Codec("wide reads", read_reads(WIDE), wide_reads, whole=False),
    Codec("long reads", read_reads(LONG), long_reads, whole=False),
    Codec(
        "recordings",
        lambda data: list(pieces(segments(read_packets(data)))),
        lambda: [recording(), udp_pcap([b"one", b"two" * 40])],
        whole=False,
    ),
    Codec("mqtt", lambda data: MqttStream().feed(data), mqtt_bytes, whole=False),
    Codec("stix envelopes", read_envelope, envelopes),
    Codec("blocks", decode_block, blocks, encode_block, mend=mend_block),
)
