"""The bus: a block of rows per message against a row per message, on the embedded Valkey."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from bench.table import Row, row
from host.valkey import Valkey
from model.block import Block, Origin, Schema, decode_block, encode_block, phasor_columns
from model.device import Provenance
from smc.bus import RedisBus

ROWS_PER_BLOCK = 1_000
BLOCKS = 300
SINGLES = 3_000
PER_RECEIVE = 64


def run() -> list[Row]:
    """Rates of publishing, and of receiving with decoding and acknowledging, through our own bus client."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-bench-") as folder:
        Path(folder).chmod(0o711)
        with Valkey(Path(folder), max_memory_bytes=512 << 20) as server:
            bus = RedisBus(server.url, "bench", max_bytes=1 << 40)
            many = _rates(bus, encode_block(_block(ROWS_PER_BLOCK)), BLOCKS)
            single = _rates(bus, encode_block(_block(1)), SINGLES)
            bus.close()
    against = "row per message"
    return [
        row("bus", "publish blocks of 1,000 rows", many[0], "rows/s", against, single[0], ">= 100"),
        row("bus", "receive, decode, acknowledge blocks", many[1], "rows/s", against, single[1], ">= 100"),
    ]


def _rates(bus: RedisBus, body: bytes, messages: int) -> tuple[float, float]:
    """Rows per second published and received."""
    rows = len(decode_block(body)) * messages
    began = time.perf_counter()
    for _ in range(messages):
        bus.publish("blocks", body)
    published = time.perf_counter()
    left = messages
    while left:
        found = bus.receive("blocks", "detect", "bench", PER_RECEIVE, 1.0)
        for delivery in found:
            decode_block(delivery.body)
        bus.acknowledge("blocks", "detect", [delivery.entry for delivery in found])
        left -= len(found)
    return rows / (published - began), rows / (time.perf_counter() - published)


def _block(rows: int) -> Block:
    columns = phasor_columns(0)
    times = np.arange(rows, dtype=np.int64)
    return Block(
        schema=Schema.PHASOR,
        columns=columns,
        origin=Origin("bench", "bench", Provenance.SIMULATED),
        device=times.astype(np.int32),
        time_ns=times,
        received_ns=times,
        time_error_ns=times,
        sequence=times,
        quality=np.zeros(rows, np.uint32),
        values=np.random.default_rng(1).normal(50, 0.01, (rows, len(columns))),
    )
