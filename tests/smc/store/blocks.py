"""Blocks for the store's tests, and what a store should hold after any of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import Engine, make_url

from model.block import METER_COLUMNS, NO_SEQUENCE, UNKNOWN_TIME_ERROR_NS, Block, Origin, Schema, phasor_columns
from model.device import Provenance
from model.time import NS_PER_S

START_NS = 1_793_520_000 * NS_PER_S  # 2026-11-01T08:00:00Z


def engine_of(url: str) -> Engine:
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"), connect_args={"options": "-c TimeZone=UTC"}
    )


@contextmanager
def transaction(url: str) -> Iterator[Connection]:
    engine = engine_of(url)
    try:
        with engine.begin() as conn:
            yield conn
    finally:
        engine.dispose()


def block_of(schema: Schema, columns: tuple[str, ...], device: object, time_ns: object, values: object) -> Block:
    times = np.asarray(time_ns, np.int64)
    rows = len(times)
    return Block(
        schema,
        columns,
        Origin("test", "tests", Provenance.SIMULATED),
        np.asarray(device, np.int32),
        times,
        times + NS_PER_S // 10,
        np.full(rows, UNKNOWN_TIME_ERROR_NS, np.int64),
        np.full(rows, NO_SEQUENCE, np.int64),
        np.zeros(rows, np.uint32),
        np.asarray(values, np.float64).reshape(rows, len(columns)),
    )


def meter_block(devices: int, readings: int, seed: int = 0, step_s: int = 10) -> Block:
    """Unsorted readings of meters 1..devices."""
    rows = devices * readings
    generator = np.random.default_rng(seed)
    device = np.repeat(np.arange(1, devices + 1), readings)
    time_ns = START_NS + np.tile(np.arange(readings), devices) * step_s * NS_PER_S
    values = generator.normal(230, 5, (rows, len(METER_COLUMNS)))
    return block_of(Schema.METER, METER_COLUMNS, device, time_ns, values).take(generator.permutation(rows))


def phasor_block(devices: int, frames: int, phasors: int = 2, analogs: int = 1, seed: int = 0, rate: int = 10) -> Block:
    """Frames of PMUs 1..devices in the order of time, as a concentrator sends them."""
    rows = devices * frames
    generator = np.random.default_rng(seed)
    columns = phasor_columns(phasors, analogs)
    time_ns = START_NS + np.repeat(np.arange(frames), devices) * NS_PER_S // rate
    device = np.tile(np.arange(1, devices + 1), frames)
    return block_of(Schema.PHASOR, columns, device, time_ns, generator.normal(50, 1, (rows, len(columns))))
