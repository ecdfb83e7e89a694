"""What meters and stations send, decoded per CPU-second, against other decoders and against the load of a million."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

import numpy as np

from bench.measure import Contender, in_turn
from bench.table import Row, row
from model.block import METER_COLUMNS
from wire.dlms.apdu import LLC_FROM_METER, Notification, encode_notification
from wire.dlms.axdr import Node, Tag
from wire.dlms.cipher import Keys, decipher, decode_sealed, encipher
from wire.dlms.hdlc import HdlcStream, encode_frames
from wire.dlms.push import CODES, TARGETS, Profile, decode_push
from wire.dlms.template import PushReader
from wire.dlms.times import ClockRule, encode_time
from wire.iec104.apci import Numbered, encode_apdu
from wire.iec104.asdu import Asdu, Information, encode_asdu
from wire.iec104.session import Session
from wire.meter import QUANTITIES, decode_meter_pack
from wire.reads import Layout, decode_reads
from wire.senml import Form, encode, resolve_columns
from wire.zeek import decode_lines

AREA = "meters"
START_NS = 1_700_000_000_000_000_000
PEAK = 16_700.0  # packs/s of 1,000,000 meters within 60 s
_UNITS = ("Wh", "Wh", "W", "var", "V", "V", "V", "A", "A", "A", "Hz")
_KEYS = Keys(bytes(range(16)), bytes(range(16, 32)))
_TITLE = b"SMC\x00\x00\x00\x00\x01"
_REGISTERS = 27  # as the meter of the recorded push sends
_PEER = "dlms-cosem 21.3.2"


def run() -> list[Row]:
    """Packs, pushes, ASDUs, log lines and rows per CPU-second of this process."""
    return [*_senml(), *_dlms(), *_stations(), *_files()]


def _rates(works: Mapping[str, tuple[Callable[[], object], int]], repeats: int) -> dict[str, float]:
    """Items per CPU-second of each work (what it does, items it handles), taken in turn."""
    contenders = {name: Contender(lambda w=work: _repeat(w, repeats)) for name, (work, _) in works.items()}  # type: ignore[misc]
    for work, _ in works.values():
        work()
    costs = in_turn(contenders)
    return {name: works[name][1] * repeats / cost.client_s for name, cost in costs.items()}


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def _senml() -> list[Row]:
    records: list[dict[str, Any]] = [
        {"n": n, "u": u, "v": i + 0.25} for i, (n, u) in enumerate(zip(QUANTITIES, _UNITS, strict=True))
    ]
    records += [{"n": "sequence", "u": "count", "v": 17}, {"n": "status", "u": "count", "v": 3}]
    records[0] = {"bn": "urn:dev:norm:norm-0001:meter:", "bt": START_NS // 10**9, **records[0]}
    pack, binary = encode(records), encode(records, Form.CBOR)
    found = _rates(
        {
            "json": (lambda: resolve_columns(pack, START_NS), 1),
            "stdlib": (lambda: json.loads(pack), 1),
            "readings": (lambda: decode_meter_pack(pack, START_NS), 1),
            "cbor": (lambda: resolve_columns(binary, START_NS, Form.CBOR), 1),
        },
        2_000,
    )
    title = f"SenML JSON, 13 records, {len(pack)} B, strict, resolved"
    return [
        row(AREA, title, found["json"], "packs/s", "stdlib json, parse only", found["stdlib"], ">= 0.75"),
        row(AREA, title, found["json"], "packs/s", "100,000 packs/s", 100_000.0, ">= 1"),
        row(
            AREA,
            "SenML JSON to a meter's readings",
            found["readings"],
            "packs/s",
            "1 M meters within 60 s",
            PEAK,
            ">= 2",
        ),
        row(
            AREA,
            f"SenML CBOR, {len(binary)} B, resolved",
            found["cbor"],
            "packs/s",
            "1 M meters within 60 s",
            PEAK,
            ">= 1",
        ),
    ]


def _push() -> bytes:
    """A push of 27 registers like the recorded one of 569 bytes: clock, power, voltages, currents, tariffs, energy."""
    clock: Node = (Tag.STRUCTURE, [(9, bytes([0, 0, 1, 0, 0, 255])), (9, encode_time(START_NS, ClockRule()))])
    items = [clock, *(_register(code, int(TARGETS[code[2:5]].unit)) for code in CODES.values())]
    items += [_register(bytes([1, 0, 101 + i, 7, 0, 255]), 27) for i in range(_REGISTERS - len(items))]
    return encode_notification(Notification(0x4000_0000, b"", (Tag.ARRAY, items)))


def _register(code: bytes, unit: int) -> Node:
    return (Tag.STRUCTURE, [(9, code), (6, 1_234), (Tag.STRUCTURE, [(15, -1), (22, unit)])])


def _dlms() -> list[Row]:
    push = _push()
    frame = encode_frames(LLC_FROM_METER + push, b"\x41", b"\x08\x83", 2_000)
    sealed = encipher(push, _TITLE, 7, _KEYS)
    reader = PushReader(Profile())
    works: dict[str, tuple[Callable[[], object], int]] = {
        "template": (lambda: reader.decode(push, START_NS), 1),
        "full": (lambda: decode_push(push, Profile(), START_NS), 1),
        "frame": (lambda: reader.decode(HdlcStream().feed(frame)[0].information, START_NS), 1),
        "sealed": (lambda: reader.decode(decipher(decode_sealed(sealed), _KEYS), START_NS), 1),
    }
    try:
        works |= _dlms_peer(push, frame)
    except ImportError as error:
        return [row(AREA, "DLMS push to readings", 0.0, "pushes/s", f"{_PEER} not installed: {error}", 1.0, ">= 5")]
    found = _rates(works, 100)
    name = f"DLMS push of {len(push)} B, {_REGISTERS} registers, to readings"
    peer, framed = f"{_PEER}, values only", f"{_PEER}, frame and values only"
    return [
        row(AREA, f"{name}, known model", found["template"], "pushes/s", peer, found["peer"], ">= 5"),
        row(AREA, f"{name}, first of its model", found["full"], "pushes/s", peer, found["peer"], ">= 1"),
        row(AREA, f"{name}, in HDLC", found["frame"], "pushes/s", framed, found["peer frame"], ">= 5"),
        row(AREA, f"{name}, AES-GCM", found["sealed"], "pushes/s", "1 M meters within 60 s", PEAK, ">= 1"),
    ]


def _dlms_peer(push: bytes, frame: bytes) -> dict[str, tuple[Callable[[], object], int]]:
    """The same push read by another decoder, to plain values without scalers, units or time."""
    a_xdr = import_module("dlms_cosem.a_xdr")
    notification = import_module("dlms_cosem.protocol.xdlms").DataNotification
    information = import_module("dlms_cosem.hdlc.frames").UnnumberedInformationFrame
    rules = a_xdr.EncodingConf([a_xdr.Sequence(attribute_name="body")])

    def read(apdu: bytes) -> object:
        return a_xdr.AXdrDecoder(encoding_conf=rules).decode(bytearray(notification.from_bytes(apdu).body))

    def unpack() -> object:
        return read(information.from_bytes(frame).payload[len(LLC_FROM_METER) :])

    return {"peer": (lambda: read(push), 1), "peer frame": (unpack, 1)}


def _stations() -> list[Row]:
    objects = tuple(Information(4_000 + i, 0.5 * i) for i in range(20))
    frames = [encode_apdu(Numbered(i, 0, encode_asdu(Asdu(13, 3, 1, objects)))) for i in range(50)]
    data = b"".join(frames)
    found = _rates({"iec104": (lambda: Session().feed(data), len(frames) * len(objects))}, 20)
    return [
        row(
            AREA, "IEC 104 stream to measured values", found["iec104"], "values/s", "a station's 1,000/s", 1e3, ">= 100"
        )
    ]


def _files() -> list[Row]:
    count = 5_000
    rows = [f"m-{i % 500},2026-01-01T{i // 500:02d}:15:00Z,{i}.5,{i},230.1" for i in range(count)]
    layout = Layout("meter", "time", {"A": ("energy_import", "Wh"), "P": ("power", "W"), "U": ("voltage_l1", "V")})
    table = "\n".join(["meter,time,A,P,U", *rows]).encode()
    line = {
        "_path": "conn",
        "ts": 1.7e9,
        "uid": "C8",
        "id.orig_h": "10.1.1.1",
        "id.orig_p": 1,
        "proto": "tcp",
        "orig_bytes": 9,
    }
    log = b"\n".join([json.dumps(line).encode()] * 200)
    found = _rates(
        {
            "reads": (lambda: decode_reads(table, layout), count),
            "plain": (lambda: _plain_reads(table), count),
            "lines": (lambda: decode_lines(log), 200),
            "json": (lambda: [json.loads(part) for part in log.split(b"\n")], 200),
        },
        4,
    )
    return [
        row(
            AREA,
            "CSV of reads to columns, checked",
            found["reads"],
            "rows/s",
            "split, float, fromisoformat",
            found["plain"],
            ">= 0.75",
        ),
        row(
            AREA,
            "Zeek JSON lines, typed and bounded",
            found["lines"],
            "lines/s",
            "stdlib json, parse only",
            found["json"],
            ">= 0.1",
        ),
    ]


def _plain_reads(table: bytes) -> Any:
    """The same values without a check: the floor of a reader in plain Python."""
    values = np.full((table.count(b"\n"), len(METER_COLUMNS)), np.nan)
    stamps = []
    for i, line in enumerate(table.decode().split("\n")[1:]):
        _, stamp, *numbers = line.split(",")
        stamps.append(datetime.fromisoformat(stamp).timestamp())
        values[i, [0, 2, 4]] = [float(number) for number in numbers]
    return stamps, values
