"""The way of phasors without sockets: 1,000 connections of one PMU each, split, checked, decoded together, aligned."""

from __future__ import annotations

import numpy as np

from model.block import I64, Block, Origin, concatenate
from wire.c37118.configuration import Configuration, encode_cfg2
from wire.c37118.data import DataLayout
from wire.c37118.gather import Gathering
from wire.c37118.session import Batch, Session
from wire.concentrator import Concentrator, ReportingGrid, Rules

CONNECTIONS = 1_000
FRAMES_PER_S = 50
STEPS = 50  # one second
ROWS = CONNECTIONS * STEPS
_LATENCY_NS = 30_000_000


class PhasorFlow:
    """A second of traffic, made once: `frames[step][connection]` are the bytes of one read."""

    def __init__(self, configuration: Configuration, origin: Origin, start_ns: int) -> None:
        self._origin = origin
        self._layout = DataLayout(configuration)
        self._devices = np.arange(CONNECTIONS, dtype=np.int32)
        grid = ReportingGrid(FRAMES_PER_S)
        first = int(grid.slots(np.array([start_ns], np.int64))[0])
        self._times_ns: I64 = grid.times_ns(np.arange(first, first + STEPS))
        shape = (STEPS, 1)
        nothing = np.zeros(shape)
        phasors = np.full((*shape, len(configuration.pmus[0].phasors)), 85.0 + 10.0j)
        frames = self._layout.encode(self._times_ns, nothing.astype(np.uint16), phasors, nothing + 50.0, nothing)
        self._frames = [[frame] * CONNECTIONS for frame in frames]
        self._told = encode_cfg2(configuration, start_ns)
        self._blocks = [
            self._decoded([frame] * CONNECTIONS, int(t)) for frame, t in zip(frames, self._times_ns, strict=True)
        ]

    def align(self) -> int:
        """Blocks to sets; returns the rows that were aligned."""
        concentrator = self._concentrator()
        return sum(
            sum(len(block) for block in concentrator.step([block], int(t) + _LATENCY_NS).sets)
            for block, t in zip(self._blocks, self._times_ns, strict=True)
        )

    def receive(self) -> int:
        """Bytes of every connection to sets, all connections of a step decoded together."""
        concentrator, sessions, gathering = self._concentrator(), [Session() for _ in range(CONNECTIONS)], Gathering()
        for session in sessions:
            session.feed(self._told)
        aligned = 0
        for reads, time_ns in zip(self._frames, self._times_ns, strict=True):
            received_ns = int(time_ns) + _LATENCY_NS
            for i, (session, data) in enumerate(zip(sessions, reads, strict=True)):
                for event in session.feed(data):
                    if isinstance(event, Batch):
                        gathering.add(event, self._devices[i : i + 1], received_ns)
            out = concentrator.step(gathering.take(self._origin), received_ns)
            aligned += sum(len(block) for block in out.sets)
        return aligned

    def _decoded(self, frames: list[bytes], time_ns: int) -> Block:
        blocks = self._layout.decode(b"".join(frames), self._devices[:, None], time_ns + _LATENCY_NS, self._origin)
        return concatenate(blocks)

    def _concentrator(self) -> Concentrator:
        concentrator = Concentrator(Rules(ReportingGrid(FRAMES_PER_S)), self._origin)
        concentrator.join(self._devices, self._layout.runs[0].columns, 1)
        return concentrator
