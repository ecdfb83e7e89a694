"""What the intake decodes per second, against plain Python, the bare array library, and another decoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module

import numpy as np

from bench.phasor_flow import ROWS, PhasorFlow
from bench.phasor_peers import (
    NOMINAL_HZ,
    PHASORS,
    PHUNIT,
    TIME_BASE,
    bare_polar,
    bare_rectangular,
    plain_python,
    pyc37_decoder,
)
from bench.table import Row, row
from model.block import Block, Origin
from model.device import Provenance
from wire.c37118.configuration import Configuration, Format, Phasor, Pmu
from wire.c37118.data import DataLayout
from wire.c37118.frames import crc_of_many
from wire.c37118.stream import Stream

AREA = "intake"
START_NS = 1_700_000_000_000_000_000
FRAMES = 10_000
SECONDS = 0.6  # of one measurement
ROUNDS = 3  # the best counts: others share the machine
_ORIGIN = Origin("bench", "", Provenance.SIMULATED)
_ALL_FLOAT = Format.FLOAT_PHASORS | Format.FLOAT_FREQUENCY | Format.FLOAT_ANALOGS
_PYC37 = "pyc37 with its values"


def run() -> list[Row]:
    """Frames per CPU-second to finished blocks and to aligned sets."""
    rows = []
    for name, form, bare in (
        ("float rectangular", _ALL_FLOAT, bare_rectangular),
        ("integer polar", Format.POLAR, bare_polar),
    ):
        layout = DataLayout(_stream(Format(form)))
        data = _frames(layout)
        peer = _rate(lambda d=data, y=layout: plain_python(d, y.configuration), FRAMES)  # type: ignore[misc]
        for batch, goal in ((1_000, ">= 4.5"), (FRAMES, ">= 7.7")):
            ours = _our_rate(layout, data, batch)
            limit = _rate(lambda d=data[: batch * layout.size], f=bare: f(d, _ORIGIN), batch)  # type: ignore[misc]
            title = _title(name, layout, batch)
            rows.append(row(AREA, title, ours, "frames/s", "struct and crc_hqx, same values", peer, goal))
            rows.append(row(AREA, title, ours, "frames/s", "bare numpy, same block", limit, ">= 0.5"))
    return [*rows, *_against_pyc37(), _splitter(), *_flow()]


def _against_pyc37() -> list[Row]:
    """The other decoder in Python. Where it is not installed, or does not load, the rows fail by saying so."""
    rows = []
    forms = (("float rectangular, integer FREQ,", Format.FLOAT_PHASORS), ("integer polar", Format.POLAR))
    for name, form in forms:
        layout = DataLayout(_stream(Format(form)))
        data = _frames(layout)
        try:
            decode = pyc37_decoder(import_module("pyc37.frame"), layout.configuration)
        except ImportError as error:
            rows.append(
                row(AREA, _title(name, layout, FRAMES), 0.0, "frames/s", f"pyc37 not installed: {error}", 1.0, ">= 100")
            )
            continue
        few = [data[at : at + layout.size] for at in range(0, 500 * layout.size, layout.size)]
        theirs = _rate(lambda f=few, d=decode: d(f), len(few))  # type: ignore[misc]
        for batch in (200, 1_000, FRAMES):
            ours = _our_rate(layout, data, batch)
            rows.append(row(AREA, _title(name, layout, batch), ours, "frames/s", _PYC37, theirs, ">= 100"))
    return rows


def _title(name: str, layout: DataLayout, batch: int) -> str:
    return f"C37.118 {name} {layout.size} B, bytes to block with CRC, batch {batch:,}"


def _our_rate(layout: DataLayout, data: bytes, batch: int) -> float:
    part = data[: batch * layout.size]
    return _rate(lambda: _ours(part, layout), batch)


def _stream(form: Format) -> Configuration:
    phasors = tuple(Phasor(f"V{i}", False, PHUNIT) for i in range(PHASORS))
    return Configuration(60, TIME_BASE, (Pmu("bench", 61, form, phasors, nominal_hz=NOMINAL_HZ),), 50)


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


def _splitter() -> Row:
    """The splitter alone against its load: 1,000 PMUs at 50 frames/s on one core."""
    layout = DataLayout(_stream(Format(_ALL_FLOAT)))
    data = _frames(layout)
    rate = _rate(lambda: Stream().feed(data), FRAMES)
    return row(AREA, "C37.118 stream to checked frames", rate, "frames/s", "1,000 PMUs at 50/s", 50_000.0, ">= 4")


def _flow() -> list[Row]:
    """Alignment, and the whole way from bytes to sets, against a thousand PMUs at 50 frames/s on one core."""
    flow = PhasorFlow(_stream(Format(_ALL_FLOAT)), _ORIGIN, START_NS)
    if not flow.align() == flow.receive() == ROWS:
        raise ValueError("the benchmark's own rows did not align")
    aligned, received = _rate(flow.align, ROWS), _rate(flow.receive, ROWS)
    load = "1,000 PMUs at 50/s"
    return [
        row(AREA, "phasors of 1,000 PMUs aligned to sets", aligned, "rows/s", load, 50_000.0, ">= 10"),
        row(AREA, "1,000 connections, bytes to aligned sets", received, "frames/s", load, 50_000.0, ">= 0.67"),
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
