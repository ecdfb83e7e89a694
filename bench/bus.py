"""The bus: rows as blocks against a row per message, on the embedded Valkey with every write synced.

Blocks go through our own client: encode, XADD, XREADGROUP, decode, acknowledge. A row per message goes through the
plain `redis` package: XADD of a packed row, XREADGROUP of a thousand, XACK. A rate is rows / (time to publish + time to
receive), one after the other in one process. A narrow row is a frame without phasors: device, time, frequency, ROCOF;
a meter row has all METER_COLUMNS and its own stamp of receipt and sequence number.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
from redis import Redis

from bench.measure import Contender, Spent, in_turn
from bench.servers import scratch
from bench.synthetic import START_NS, meter_rows, phasor_frames
from bench.table import Row, row
from host.valkey import Valkey
from model.block import METER_COLUMNS, Block, decode_block, encode_block
from smc.bus import RedisBus

AREA = "bus"
ROWS_PER_BLOCK = 20_000  # the largest message
NARROW_BLOCKS, METER_BLOCKS, SINGLES = 100, 25, 200
PER_RECEIVE, SINGLES_PER_RECEIVE = 16, 1_000
GOAL_ROWS_PER_S = 5e6
SINGLE = "row per message, plain client"
METER_COST = "meter rows as blocks, client and bus"
_STREAM, _GROUP = "bench:single", "bench"
_SINGLE_ROW = struct.Struct(f"<qqqi{len(METER_COLUMNS)}d")


def run() -> list[Row]:
    """Rates of both directions together, and the CPU that both sides spend on a row."""
    narrow, meters = phasor_frames(100, ROWS_PER_BLOCK // 100, 0), _meters()
    with _server() as server, Redis.from_url(server.url) as client:
        bus = RedisBus(server.url, "bench", max_bytes=1 << 40)
        contenders = {
            "narrow": Contender(partial(_blocks, bus, narrow, NARROW_BLOCKS)),
            "meters": Contender(partial(_blocks, bus, meters, METER_BLOCKS)),
            "single": Contender(partial(_singles, client, meters), partial(_emptied, client)),
        }
        found = in_turn(contenders, [server.pid])
        bus.close()
    single = SINGLES / found["single"].wall_s
    rate = {
        "narrow": NARROW_BLOCKS * ROWS_PER_BLOCK / found["narrow"].wall_s,
        "meters": METER_BLOCKS * ROWS_PER_BLOCK / found["meters"].wall_s,
    }
    cost_us = _us_per_row(found["meters"], METER_BLOCKS * ROWS_PER_BLOCK)
    goal = "goal of both directions together"
    return [
        row(AREA, "narrow rows as blocks, both directions", rate["narrow"], "rows/s", goal, GOAL_ROWS_PER_S, ">= 1"),
        row(AREA, "narrow rows as blocks, both directions", rate["narrow"], "rows/s", SINGLE, single, ">= 50"),
        row(AREA, "meter rows as blocks, both directions", rate["meters"], "rows/s", SINGLE, single, ">= 50"),
        row(AREA, METER_COST, cost_us, "CPU us/row", SINGLE, _us_per_row(found["single"], SINGLES), "<= 0.02"),
    ]


@contextmanager
def _server() -> Iterator[Valkey]:
    with scratch() as folder, Valkey(folder, max_memory_bytes=1 << 30) as server:
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
