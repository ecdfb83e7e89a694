"""Blocks of simulated fleets, as the gateway would make them, for benchmarks and the score card."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from model.block import I32, METER_COLUMNS, NO_SEQUENCE, UNKNOWN_TIME_ERROR_NS, Block, Origin, Schema, phasor_columns
from model.device import Device, DeviceKind, Provenance
from model.time import NS_PER_S
from norm.fleet import Fleet as Twins
from norm.inventory import inventory

START_NS = 1_795_000_000 * NS_PER_S
FRAMES_PER_S = 10
PERIOD_S = 2
ORIGIN_METER = Origin("mqtt", "bench", Provenance.SIMULATED)
ORIGIN_PMU = Origin("c37.118", "bench", Provenance.SIMULATED)


def fleet_of(twins: Twins) -> list[Device]:
    """Inventory with indices as a store would give them: meters 1, 3, 5 …, PMUs 2, 4, 6 …"""
    return [replace(device, index=i) for i, device in enumerate(inventory(twins), 1)]


def fleet_blocks(twins: Twins, seconds: int, start_ns: int = START_NS) -> Iterator[Block]:
    """One block of frames per second, and one of meters every second second."""
    found = fleet_of(twins)
    meters = np.array([d.index for d in found if d.kind is DeviceKind.METER], np.int32)
    pmus = np.array([d.index for d in found if d.kind is DeviceKind.PMU], np.int32)
    for second in range(seconds):
        now = start_ns + second * NS_PER_S
        if second % PERIOD_S == 0:
            yield meter_block(twins, meters, now)
        yield pmu_block(twins, pmus, now)


def meter_block(twins: Twins, device: I32, now_ns: int) -> Block:
    """One reading of every meter."""
    samples = twins.meter_samples(now_ns)
    n = len(device)
    return Block(
        Schema.METER, METER_COLUMNS, ORIGIN_METER, device, samples.time_ns, np.full(n, now_ns + 10**7),
        np.full(n, UNKNOWN_TIME_ERROR_NS), samples.sequence, np.zeros(n, np.uint32), samples.values,
    )  # fmt: skip


def pmu_block(twins: Twins, device: I32, now_ns: int) -> Block:
    """A second of frames of every PMU, frame by frame."""
    times = now_ns + np.arange(FRAMES_PER_S) * (NS_PER_S // FRAMES_PER_S)
    frames = twins.pmu_frames(times)
    t, u, c = frames.phasors.shape
    values = np.empty((t * u, 2 + 2 * c))
    values[:, 0], values[:, 1] = frames.frequency_hz.ravel(), frames.rocof_hz_per_s.ravel()
    values[:, 2::2] = np.abs(frames.phasors).reshape(t * u, c)
    values[:, 3::2] = np.angle(frames.phasors).reshape(t * u, c)
    stamps = np.repeat(times, u)
    return Block(
        Schema.PHASOR, phasor_columns(c), ORIGIN_PMU, np.tile(device, t), stamps, stamps + 10**7,
        np.zeros(t * u, np.int64), np.full(t * u, NO_SEQUENCE), frames.stat.ravel().astype(np.uint32), values,
    )  # fmt: skip
