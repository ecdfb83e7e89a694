"""DATA frames of many connections decoded together: a call for a thousand frames costs what it costs for one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from model.block import I32, Block, Origin
from wire.c37118.data import DataLayout
from wire.c37118.session import Batch


@dataclass(slots=True)
class _Group:
    """Frames of streams that decode alike, by the layout of the first."""

    layout: DataLayout
    frames: list[bytes] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    devices: list[I32] = field(default_factory=list)
    received_ns: list[int] = field(default_factory=list)

    def decode(self, origin: Origin) -> list[Block]:
        devices = np.stack(self.devices).astype(np.int32)
        received_ns = np.array(self.received_ns, np.int64)
        if max(self.counts) > 1:
            devices, received_ns = np.repeat(devices, self.counts, axis=0), np.repeat(received_ns, self.counts)
        return self.layout.decode(b"".join(self.frames), devices, received_ns, origin)


class Gathering:
    """Put in the batches of sessions as they come, take blocks out every few milliseconds. `len` counts frames."""

    def __init__(self) -> None:
        self._groups: dict[object, _Group] = {}
        self._frames = 0

    def __len__(self) -> int:
        return self._frames

    def add(self, batch: Batch, devices: I32, received_ns: int) -> None:
        """Frames of one stream whose PMUs are these devices, shape (pmus,)."""
        group = self._groups.get(batch.layout.meaning)
        if group is None:
            group = self._groups[batch.layout.meaning] = _Group(batch.layout)
        count = len(batch)
        group.frames.append(batch.frames)
        group.counts.append(count)
        group.devices.append(devices)
        group.received_ns.append(received_ns)
        self._frames += count

    def take(self, origin: Origin) -> list[Block]:
        """Blocks of all that came since the last time, in the order it came within each kind of stream.

        Rows tell their device; `origin` names the link and its provenance, no single peer.
        """
        groups, self._groups, self._frames = self._groups, {}, 0
        return [block for group in groups.values() for block in group.decode(origin)]
