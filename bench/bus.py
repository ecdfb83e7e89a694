"""The bus: rows as blocks against a row per message, on the embedded Valkey, which syncs every write.

Its file lies in memory where the machine has such a folder, so that the bus is measured and not the disk; how much of
the disk's own rate it reaches is measured beside it.

Blocks go through our own client: encode, XADD, XREADGROUP, decode, acknowledge. A row per message goes through the
plain `redis` package: XADD of a packed row, XREADGROUP of a thousand, XACK. A rate is rows / (time to publish + time to
receive), one after the other in one process. A narrow row is a frame without phasors: device, time, frequency, ROCOF;
a meter row has all METER_COLUMNS and its own stamp of receipt and sequence number.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
from redis import Redis

from bench.measure import Contender, Spent, in_turn
from bench.servers import MEMORY, scratch
from bench.synthetic import START_NS, meter_rows, phasor_frames
from bench.table import Row, row
from host.valkey import Valkey
from model.block import METER_COLUMNS, Block, decode_block, encode_block
from smc.bus import RedisBus

AREA = "bus"
ROWS_PER_BLOCK = 20_000  # the largest message
NARROW_BLOCKS, METER_BLOCKS, SINGLES, DISK_BLOCKS = 100, 25, 2_000, 10
PER_RECEIVE, SINGLES_PER_RECEIVE = 16, 1_000
GOAL_ROWS_PER_S = 5e6
SINGLE = "row per message, plain client"
METER_COST = "meter rows as blocks, client and bus"
_STREAM, _GROUP = "bench:single", "bench"
_SINGLE_ROW = struct.Struct(f"<qqqi{len(METER_COLUMNS)}d")


def run() -> list[Row]:
    """Rates of both directions together, and the CPU that both sides spend on a row."""
    narrow, meters = phasor_frames(100, ROWS_PER_BLOCK // 100, 0), _meters()
    with _server(MEMORY) as server, Redis.from_url(server.url) as client:
        bus = RedisBus(server.url, "bench", max_bytes=1 << 40)
        contenders = {
            "narrow": Contender(partial(_blocks, bus, narrow, NARROW_BLOCKS)),
            "meters": Contender(partial(_blocks, bus, meters, METER_BLOCKS)),
            "single": Contender(partial(_singles, client, meters), partial(_emptied, client)),
        }
        found = in_turn(contenders, [server.pid])
        bus.close()
    return [*_rates(found), _disk(narrow)]


def _rates(found: dict[str, Spent]) -> list[Row]:
    single = SINGLES / found["single"].wall_s
    per_cpu_s = NARROW_BLOCKS * ROWS_PER_BLOCK / found["narrow"].cpu_s
    rate = {
        "narrow": NARROW_BLOCKS * ROWS_PER_BLOCK / found["narrow"].wall_s,
        "meters": METER_BLOCKS * ROWS_PER_BLOCK / found["meters"].wall_s,
    }
    cost_us = _us_per_row(found["meters"], METER_BLOCKS * ROWS_PER_BLOCK)
    goal, narrow = "goal", "narrow rows as blocks, both directions"
    return [
        row(AREA, f"{narrow}, client and bus", per_cpu_s, "rows/CPU-s", goal, GOAL_ROWS_PER_S, ">= 1"),
        row(AREA, narrow, rate["narrow"], "rows/s", goal, GOAL_ROWS_PER_S, ">= 1"),
        row(AREA, narrow, rate["narrow"], "rows/s", SINGLE, single, ">= 50"),
        row(AREA, "meter rows as blocks, both directions", rate["meters"], "rows/s", SINGLE, single, ">= 50"),
        row(AREA, METER_COST, cost_us, "CPU us/row", SINGLE, _us_per_row(found["single"], SINGLES), "<= 0.02"),
    ]


def _disk(block: Block) -> Row:
    """Publishing to a bus whose file is on the disk, against the disk itself."""
    body = encode_block(block)
    with _server(None) as server, (server.folder / "file").open("wb") as file:
        bus = RedisBus(server.url, "bench", max_bytes=1 << 40)
        contenders = {
            "bus": Contender(partial(_published, bus, body), partial(_discard, bus)),
            "file": Contender(partial(_written, file, body)),
        }
        found = in_turn(contenders)
        bus.close()
    rows = DISK_BLOCKS * ROWS_PER_BLOCK
    ours, disk = rows / found["bus"].wall_s, rows / found["file"].wall_s
    return row(
        AREA, "narrow rows published, on disk", ours, "rows/s", "write and sync of the same bytes", disk, ">= 0.2"
    )


def _published(bus: RedisBus, body: bytes) -> None:
    for _ in range(DISK_BLOCKS):
        bus.publish("blocks", body)


def _discard(bus: RedisBus) -> None:
    while found := bus.receive("blocks", "detect", "bench", PER_RECEIVE, 0.0):
        bus.acknowledge("blocks", "detect", [delivery.entry for delivery in found])


def _written(file: IO[bytes], body: bytes) -> None:
    for _ in range(DISK_BLOCKS):
        file.write(body)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _server(parent: Path | None) -> Iterator[Valkey]:
    with scratch(parent) as folder, Valkey(folder, max_memory_bytes=1 << 30) as server:
        yield server


def _blocks(bus: RedisBus, block: Block, messages: int) -> None:
    for _ in range(messages):
        bus.publish("blocks", encode_block(block))
    left = messages
    while left:
        found = bus.receive("blocks", "detect", "bench", PER_RECEIVE, 1.0)
        for delivery in found:
            decode_block(delivery.body)
        bus.acknowledge("blocks", "detect", [delivery.entry for delivery in found])
        left -= len(found)


def _singles(client: Redis, block: Block) -> None:
    for i in range(SINGLES):
        client.xadd(_STREAM, {"b": _packed(block, i)})
    left = SINGLES
    while left:
        answer: Any = client.xreadgroup(_GROUP, "bench", {_STREAM: ">"}, count=SINGLES_PER_RECEIVE)
        entries = answer[0][1]
        for _, fields in entries:
            _SINGLE_ROW.unpack(fields[b"b"])
        client.xack(_STREAM, _GROUP, *(entry for entry, _ in entries))
        left -= len(entries)


def _packed(block: Block, i: int) -> bytes:
    stamps = (int(block.time_ns[i]), int(block.received_ns[i]), int(block.sequence[i]))
    return _SINGLE_ROW.pack(*stamps, int(block.device[i]), *block.values[i].tolist())


def _emptied(client: Redis) -> None:
    client.delete(_STREAM)
    client.xgroup_create(_STREAM, _GROUP, id="0", mkstream=True)


def _meters() -> Block:
    device = np.arange(ROWS_PER_BLOCK) + 1
    return meter_rows(device, np.full(ROWS_PER_BLOCK, START_NS) + device)


def _us_per_row(cost: Spent, rows: int) -> float:
    return cost.cpu_s / rows * 1e6
