"""What the intake decodes per second, against the same work in plain Python: one frame, one field at a time."""

from __future__ import annotations

import json
import math
import struct
import time
from binascii import crc_hqx
from collections.abc import Callable

import numpy as np

from bench.table import Row, row
from model.block import Block, Origin
from model.device import Provenance
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu
from wire.c37118.data import DataLayout
from wire.c37118.frames import crc_of_many
from wire.c37118.stream import Stream
from wire.meter import decode_meter_pack, encode_meter_pack
from wire.senml import resolve

AREA = "intake"
START_NS = 1_700_000_000_000_000_000
FRAMES = 10_000
PHASORS = 6
SECONDS = 0.6  # of one measurement
ROUNDS = 3  # the best counts: others share the machine
_ORIGIN = Origin("bench", "", Provenance.SIMULATED)
_ALL_FLOAT = Format.FLOAT_PHASORS | Format.FLOAT_FREQUENCY | Format.FLOAT_ANALOGS
_HEAD = struct.Struct(">HHHII")


def run() -> list[Row]:
    """Frames per second to finished blocks, packs per second to resolved records."""
    rows = []
    for name, form in (("float rectangular", _ALL_FLOAT), ("integer polar", Format.POLAR)):
        layout = DataLayout(_stream(Format(form)))
        data = _frames(layout)
        peer = _rate(lambda d=data, y=layout: _plain(d, y), FRAMES)  # type: ignore[misc]
        for batch, goal in ((1_000, ">= 4.5"), (FRAMES, ">= 7.7")):
            part = data[: batch * layout.size]
            ours = _rate(lambda d=part, y=layout: _ours(d, y), batch)  # type: ignore[misc]
            title = f"C37.118 {name} {layout.size} B, bytes to block, batch {batch}"
            rows.append(row(AREA, title, ours, "frames/s", "struct and crc_hqx, same values", peer, goal))
    return [*rows, _splitter(), *_packs()]


def _stream(form: Format) -> Configuration:
    phasors = tuple(Phasor(f"V{i}", False, 1_000) for i in range(PHASORS))
    return Configuration(60, 1_000_000, (Pmu("bench", 61, form, phasors),), 50)


def _frames(layout: DataLayout) -> bytes:
    rng = np.random.default_rng(1)
    shape = (FRAMES, 1)
    phasors = rng.uniform(80, 90, (*shape, PHASORS)) * np.exp(1j * rng.uniform(-3, 3, (*shape, PHASORS)))
    frequency_hz = 50 + rng.normal(0, 0.01, shape)
    times_ns = START_NS + np.arange(FRAMES) * 20_000_000
    return b"".join(layout.encode(times_ns, np.zeros(shape, np.uint16), phasors, frequency_hz, np.zeros(shape)))


def _ours(data: bytes, layout: DataLayout) -> list[Block]:
    """CRC of every frame, then the block, as the links make it."""
    if crc_of_many(np.frombuffer(data, np.uint8).reshape(-1, layout.size)).any():
        raise ValueError("wrong CHK in the benchmark's own frames")
    return layout.decode(data, np.zeros(1, np.int32), START_NS, _ORIGIN)


def _plain(data: bytes, layout: DataLayout) -> list[tuple[object, ...]]:
    """The same values by struct, frame by frame: the floor that any Python decoder without numpy stands on."""
    pmu = layout.configuration.pmus[0]
    polar = bool(pmu.form & Format.POLAR)
    body = struct.Struct(f">H{'Hh' * PHASORS if polar else 'f' * (2 * PHASORS)}{'hh' if polar else 'ff'}")
    found: list[tuple[object, ...]] = []
    for at in range(0, len(data), layout.size):
        frame = data[at : at + layout.size]
        if crc_hqx(frame, 0xFFFF):
            raise ValueError("wrong CHK in the benchmark's own frames")
        _, _, _, soc, fracsec = _HEAD.unpack_from(frame)
        stat, *fields = body.unpack_from(frame, _HEAD.size)
        pairs = zip(fields[0:-2:2], fields[1:-2:2], strict=True)
        if polar:
            phasors = [(m * 0.01, a * 1e-4) for m, a in pairs]
            frequency, rocof = 50 + fields[-2] * 1e-3, fields[-1] * 0.01
        else:
            phasors = [(math.hypot(r, i), math.atan2(i, r)) for r, i in pairs]
            frequency, rocof = fields[-2:]
        time_ns = soc * 1_000_000_000 + (fracsec & 0xFFFFFF) * 1_000
        found.append((time_ns, stat | fracsec >> 24 << 16, frequency, rocof, phasors))
    return found


def _splitter() -> Row:
    """The splitter alone against its load: 1,000 PMUs at 50 frames/s on one core."""
    layout = DataLayout(_stream(Format(_ALL_FLOAT)))
    data = _frames(layout)
    rate = _rate(lambda: Stream().feed(data), FRAMES)
    return row(AREA, "C37.118 stream to checked frames", rate, "frames/s", "1,000 PMUs at 50/s", 50_000.0, ">= 4")


def _packs() -> list[Row]:
    pack = encode_meter_pack("urn:dev:norm:norm-0001:meter", np.array([START_NS]), np.arange(11.0)[None] + 0.25)
    parse = _rate(lambda: json.loads(pack), 1)
    resolved = _rate(lambda: resolve(pack, START_NS), 1)
    readings = _rate(lambda: decode_meter_pack(pack, START_NS), 1)
    peak = 16_700.0  # 1,000,000 meters within 60 s
    return [
        row(
            AREA,
            "SenML pack of 11 records, strict, resolved",
            resolved,
            "packs/s",
            "stdlib json, parse only",
            parse,
            ">= 0.25",
        ),
        row(AREA, "SenML pack to a meter's readings", readings, "packs/s", "1 M meters within 60 s", peak, ">= 1"),
    ]


def _rate(work: Callable[[], object], items: int) -> float:
    """Items per CPU-second of this process, of the best round."""
    work()
    best = 0.0
    for _ in range(ROUNDS):
        done, start = 0, time.process_time()
        while (spent := time.process_time() - start) < SECONDS / ROUNDS:
            work()
            done += items
        best = max(best, done / spent)
    return best
