"""Blocks of any size in the shape that the gateway makes, with random values: for speed, not for detection."""

from __future__ import annotations

import numpy as np

from model.block import (
    F64,
    I64,
    METER_COLUMNS,
    NO_SEQUENCE,
    UNKNOWN_TIME_ERROR_NS,
    Block,
    Origin,
    Schema,
    phasor_columns,
)
from model.device import Provenance
from model.time import NS_PER_S

START_NS = 1_795_046_400 * NS_PER_S  # midnight
FRAMES_PER_S = 50
_TRAVEL_NS = 40_000_000


def meter_rows(device: I64, time_ns: I64, seed: int = 1) -> Block:
    """Readings in the order given; each came by itself, so stamps of receipt and sequence numbers differ."""
    rows = len(device)
    generator = np.random.default_rng(seed)
    return Block(
        schema=Schema.METER,
        columns=METER_COLUMNS,
        origin=Origin("mqtt", "bench", Provenance.SIMULATED),
        device=device.astype(np.int32),
        time_ns=time_ns,
        received_ns=time_ns + _TRAVEL_NS + np.arange(rows),
        time_error_ns=np.full(rows, UNKNOWN_TIME_ERROR_NS),
        sequence=np.arange(rows),
        quality=np.zeros(rows, np.uint32),
        values=generator.normal(230, 5, (rows, len(METER_COLUMNS))),
    )


def phasor_frames(pmus: int, frames: int, phasors: int, start_ns: int = START_NS, seed: int = 1) -> Block:
    """Frames of PMUs 1..pmus as concentrators send them, 50 a second: frame after frame, PMU after PMU."""
    rows = pmus * frames
    number = np.arange(rows)
    columns = phasor_columns(phasors)
    time_ns = start_ns + number // pmus * (NS_PER_S // FRAMES_PER_S)
    return Block(
        schema=Schema.PHASOR,
        columns=columns,
        origin=Origin("c37.118", "bench", Provenance.SIMULATED),
        device=(number % pmus + 1).astype(np.int32),
        time_ns=time_ns,
        received_ns=np.full(rows, int(time_ns[-1]) + _TRAVEL_NS),
        time_error_ns=np.zeros(rows, np.int64),
        sequence=np.full(rows, NO_SEQUENCE),
        quality=np.zeros(rows, np.uint32),
        values=_phasor_values(rows, len(columns), seed),
    )


def _phasor_values(rows: int, columns: int, seed: int) -> F64:
    found: F64 = np.random.default_rng(seed).normal(50, 1, (rows, columns))
    return found
