"""`app.py decode FILE.pcap`: one JSON line per decoded frame or message, a last line with counts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np

from model.block import METER_COLUMNS, Block, Origin, Quality
from model.device import Provenance
from model.errors import DecodeError, SetupError
from model.time import NS_PER_S, to_datetime
from smc.gateway.recording import Heard, listen
from wire.c37118.configuration import Configuration, Pmu
from wire.c37118.frames import Frame, FrameKind
from wire.c37118.messages import decode_command, decode_header
from wire.c37118.session import Batch, Configured
from wire.c37118.status import read_status
from wire.c37118.stream import Reject
from wire.meter import MeterPack, decode_meter_pack
from wire.mqtt import Publish

DIGITS = 9  # what a 32-bit float tells
_TQ_MASK = 0xFF
Line = dict[str, Any]


def decode_file(path: Path, out: TextIO) -> int:
    """Print what a recording holds. 0 if all could be decoded, 1 if something was rejected.

    Raises SetupError if the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SetupError("recording", str(path), "a readable pcap file", error.strerror or "check the path") from error
    kinds: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    try:
        for heard in listen(data):
            for line in _lines(heard, kinds, rejected):
                out.write(msgspec.json.encode(line).decode() + "\n")
    except DecodeError as error:
        rejected[error.reason] += 1
        out.write(msgspec.json.encode({"kind": "rejected", **_fault(error)}).decode() + "\n")
    counts = {"file": path.name, "counts": dict(sorted(kinds.items())), "rejected": dict(sorted(rejected.items()))}
    out.write(msgspec.json.encode(counts).decode() + "\n")
    return 1 if rejected else 0


def _lines(heard: Heard, kinds: Counter[str], rejected: Counter[str]) -> Iterator[Line]:
    what = heard.what
    try:
        if isinstance(what, Batch):
            kinds["data"] += len(what)
            yield from _data_lines(what, heard)
        elif isinstance(what, Reject):
            raise what.error
        elif isinstance(what, str):
            kinds[f"not decoded: {what}"] += 1
        else:
            line = _line(what, heard)
            kinds[line["kind"]] += 1
            yield line
    except DecodeError as error:
        rejected[error.reason] += 1
        size = len(what.data) if isinstance(what, Reject) else None
        yield {"kind": "rejected", "packet_time": _iso(heard.time_ns), "from": heard.flow.sender, **_fault(error)} | (
            {"bytes": size} if size is not None else {}
        )


def _line(what: Configured | Frame | Publish, heard: Heard) -> Line:
    origin = {"packet_time": _iso(heard.time_ns), "from": heard.flow.sender}
    if isinstance(what, Configured):
        configuration = what.layout.configuration
        return {"kind": configuration.kind.name.lower(), **origin, **_configuration(configuration)}
    if isinstance(what, Publish):
        return {"kind": "publish", **origin, "topic": what.topic, "qos": what.qos, **_meter(what, heard.time_ns)}
    if what.kind is FrameKind.COMMAND:
        return {"kind": "command", **origin, "stream": what.idcode, "command": decode_command(what).name}
    if what.kind is FrameKind.HEADER:
        return {"kind": "header", **origin, "stream": what.idcode, "text": decode_header(what)}
    return {"kind": what.kind.name.lower(), **origin, "stream": what.idcode, "size": len(what.data)}


def _configuration(configuration: Configuration) -> Line:
    return {
        "stream": configuration.idcode,
        "time_base": configuration.time_base,
        "frames_per_s": configuration.frames_per_s,
        "pmus": [asdict(pmu) | {"form": int(pmu.form)} for pmu in configuration.pmus],
    }


def _data_lines(batch: Batch, heard: Heard) -> Iterator[Line]:
    """One line per frame, with all its PMUs."""
    pmus = batch.layout.configuration.pmus
    origin = Origin("file", heard.flow.sender, Provenance.REPLAYED)
    positions = np.arange(len(pmus), dtype=np.int32)
    blocks = batch.layout.decode(batch.frames, positions, heard.time_ns, origin)
    for i in range(len(batch)):
        rows = [(block, row) for block in blocks for row in _rows_of_frame(block, i, len(batch))]
        yield {
            "kind": "data",
            "time": _iso(int(blocks[0].time_ns[rows[0][1]])),
            "packet_time": _iso(heard.time_ns),
            "from": heard.flow.sender,
            "stream": batch.layout.configuration.idcode,
            "pmus": [_pmu(block, row, pmus[int(block.device[row])]) for block, row in rows],
        }


def _rows_of_frame(block: Block, frame: int, frames: int) -> range:
    per_frame = len(block) // frames
    return range(frame * per_frame, (frame + 1) * per_frame)


def _pmu(block: Block, row: int, pmu: Pmu) -> Line:
    phasors, analogs, _ = pmu.counts
    values = [_number(value) for value in block.values[row].tolist()]
    quality = int(block.quality[row])
    first_analog, first_digital = 2 + 2 * phasors, 2 + 2 * phasors + analogs
    return {
        "device": f"pmu:{pmu.idcode}:{pmu.station}",
        "stat": f"{quality & Quality.STAT_MASK:#06x}",
        "status": read_status(quality & Quality.STAT_MASK).names,
        "time_quality": f"{quality >> Quality.TIME_QUALITY_SHIFT & _TQ_MASK:#04x}",
        "time_error_ns": int(block.time_error_ns[row]),
        "frequency_hz": values[0],
        "rocof_hz_per_s": values[1],
        "phasors": [
            {"name": p.name, "unit": "A" if p.current else "V", "magnitude": values[at], "angle_rad": values[at + 1]}
            for at, p in zip(range(2, first_analog, 2), pmu.phasors, strict=True)
        ],
        "analogs": [{"name": a.name, "value": values[first_analog + k]} for k, a in enumerate(pmu.analogs)],
        "digitals": values[first_digital:],
    }


def _meter(publish: Publish, time_ns: int) -> Line:
    pack: MeterPack = decode_meter_pack(publish.payload, time_ns)
    readings = [
        {"time": _iso(int(stamp))}
        | {name: value for name, value in zip(METER_COLUMNS, map(_number, row), strict=True) if value is not None}
        for stamp, row in zip(pack.time_ns, pack.values.tolist(), strict=True)
    ]
    return {"device": pack.device, "readings": readings}


def _number(value: float) -> float | None:
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def _fault(error: DecodeError) -> Line:
    return {"reason": error.reason, "what": error.what, "value": str(error.value), "expected": str(error.expected)}


def _iso(time_ns: int) -> str:
    return f"{to_datetime(time_ns):%Y-%m-%dT%H:%M:%S}.{time_ns % NS_PER_S:09d}Z"
