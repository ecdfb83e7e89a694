"""Recordings fed through the same decoders, store and bus as live traffic, marked as replayed.

Recorded times are kept (and marked as out of the window) or shifted to now. A shift is a whole number of seconds, so
that frames stay on their grid, and never goes back: the next round of a loop starts behind the last one.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from model.block import I32, Block, Origin, Quality
from model.device import Device, Provenance
from model.errors import DecodeError, PeerError, SetupError, UnknownDevice
from model.time import NS_PER_S
from smc.context import StageContext
from smc.gateway.batcher import Batcher, Item, Refused, Stopped, direct
from smc.gateway.recording import Heard, listen
from smc.gateway.registry import Registry
from smc.store import health
from wire.c37118.data import DataLayout
from wire.c37118.session import Batch, Configured
from wire.c37118.stream import Reject
from wire.meter import decode_meter_pack
from wire.mqtt import Publish

LINK = "replay"
STAGE = "replay"
BEAT_S = 2.0


def replay_files(
    paths: Sequence[Path], context: StageContext, speed: float, shift_to_now: bool, loop: bool, stop: threading.Event
) -> dict[str, int]:
    """Feed recordings in their order; speed 0 is as fast as possible, 1 as recorded. Blocks until done or stopped.

    Returns counts: frames, rows_phasor, rows_meter, rows_new, rows_duplicate, rows_conflicting, quarantined, rounds.
    Raises SetupError for a file that cannot be read or is no recording; one that is cut off is fed up to there.
    """
    recordings = [(path, _read(path)) for path in paths]
    player = _Player(context, speed, shift_to_now, stop)
    player.start()
    while not stop.is_set():
        for path, data in recordings:
            player.play(path.name, data)
        player.counts["rounds"] += 1
        if not loop:
            break
    return player.finish()


def _read(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        next(iter(listen(data)), None)
    except OSError as error:
        raise SetupError("recording", str(path), "a readable pcap file", error.strerror or "check the path") from error
    except DecodeError as error:
        raise SetupError("recording", str(path), "a pcap file with packets", str(error)) from error
    return data


@dataclass(slots=True)
class _Shift:
    """Seconds, in ns, added to recorded stamps, once the first stamp of the round is known."""

    ns: int | None = None


class _Player:
    """Paces one recording after another and commits what they hold."""

    def __init__(self, context: StageContext, speed: float, shift_to_now: bool, stop: threading.Event) -> None:
        self.counts: Counter[str] = Counter()
        self._context = context
        self._speed = speed
        self._shifted = shift_to_now
        self._stop = stop
        self._registry = Registry(context.engine, context.settings, context.clock)
        # Nobody waits for an acknowledgement here, but for the count of new rows: always into the database.
        self._batcher = Batcher(context, self._registry, stop, direct(context, stop))
        self._items: list[Item] = []
        self._rows = 0
        self._committed_s = self._beaten_s = context.clock.monotonic_s()
        self._latest_ns = -(2**62)  # newest stamp handed on, after the shift
        self._indices: dict[DataLayout, I32] = {}

    def start(self) -> None:
        """Announce the stage."""
        with self._context.engine.begin() as conn:
            health.start(conn, STAGE)
        self._registry.refresh()

    def play(self, name: str, data: bytes) -> None:
        """Feed one recording once."""
        clock = self._context.clock
        started_s = clock.monotonic_s()
        first_ns: int | None = None
        shift = _Shift()
        self._indices.clear()
        try:
            for heard in listen(data):
                first_ns = heard.time_ns if first_ns is None else first_ns
                if self._speed > 0 and not self._wait_until(
                    started_s + (heard.time_ns - first_ns) / NS_PER_S / self._speed
                ):
                    break
                self._take(heard, name, shift)
                self._commit_if_due()
        except DecodeError as error:
            self._put(Refused(LINK, name, error, b"", clock.now_ns()))
        self._commit()

    def finish(self) -> dict[str, int]:
        """Commit the rest and tell the counts."""
        self._commit()
        self._beat()
        self._context.log.info("replay.finished", **self._totals())
        return self._totals()

    def _totals(self) -> dict[str, int]:
        keys = ("frames", "rows_phasor", "rows_meter", "rows_new", "rows_duplicate", "rows_conflicting", "quarantined")
        total = self.counts + self._batcher.counts
        return {key: total[key] for key in (*keys, "rounds")}

    def _wait_until(self, moment_s: float) -> bool:
        """Pass the time until then, committing what grows old; False when told to stop."""
        clock = self._context.clock
        while (left_s := moment_s - clock.monotonic_s()) > 0:
            if self._stop.wait(min(left_s, self._context.settings.flush_s)):
                return False
            self._commit_if_due()
        return not self._stop.is_set()

    def _take(self, heard: Heard, name: str, shift: _Shift) -> None:
        what, peer = heard.what, f"{name} {heard.flow.sender}"
        received_ns = self._context.clock.now_ns()
        try:
            if isinstance(what, Configured) and (what.changed or what.layout not in self._indices):
                self._enrol(what.layout)
            elif isinstance(what, Batch):
                self._take_frames(what, peer, received_ns, shift)
            elif isinstance(what, Publish):
                self._put(self._mark(self._reading(what, heard, peer, received_ns), shift))
            elif isinstance(what, Reject):
                raise what.error
        except PeerError as error:
            data = what.data if isinstance(what, Reject) else what.payload if isinstance(what, Publish) else b""
            self._put(Refused(LINK, peer, error, data, received_ns))

    def _enrol(self, layout: DataLayout) -> list[Device]:
        enrolled = self._registry.enrol_pmus(layout.configuration, Provenance.REPLAYED)
        self._indices[layout] = np.array([device.index for device in enrolled], np.int32)
        return enrolled

    def _take_frames(self, batch: Batch, peer: str, received_ns: int, shift: _Shift) -> None:
        self.counts["frames"] += len(batch)
        origin = Origin(LINK, peer, Provenance.REPLAYED)
        for block in batch.layout.decode(batch.frames, self._indices[batch.layout], received_ns, origin):
            self._put(self._mark(block, shift))

    def _reading(self, publish: Publish, heard: Heard, peer: str, received_ns: int) -> Block:
        """A recorded meter must be enrolled: a recording proves no identity, but its device is known by name."""
        pack = decode_meter_pack(publish.payload, heard.time_ns)
        device = self._registry.find(pack.device)
        if device is None:
            raise UnknownDevice("unknown_device", "meter of the pack", pack.device, "one that is enrolled here")
        return pack.block(device.index, received_ns, Origin(LINK, peer, Provenance.REPLAYED))

    def _mark(self, block: Block, shift: _Shift) -> Block:
        """Recorded times kept and marked, or moved by the round's shift and marked."""
        if not self._shifted:
            return replace(block, quality=block.quality | np.uint32(Quality.OUT_OF_WINDOW))
        if shift.ns is None:
            start_ns = max(self._context.clock.now_ns(), self._latest_ns + NS_PER_S)
            shift.ns = (start_ns - int(block.time_ns.min())) // NS_PER_S * NS_PER_S
        moved = replace(
            block, time_ns=block.time_ns + shift.ns, quality=block.quality | np.uint32(Quality.SHIFTED_TIME)
        )
        self._latest_ns = max(self._latest_ns, int(moved.time_ns.max()))
        return moved

    def _put(self, item: Item) -> None:
        self._items.append(item)
        self._rows += len(item) if isinstance(item, Block) else 1

    def _commit_if_due(self) -> None:
        settings = self._context.settings
        waited_s = self._context.clock.monotonic_s() - self._committed_s
        if self._rows >= settings.flush_rows or (self._speed > 0 and waited_s >= settings.flush_s):
            self._commit()

    def _commit(self) -> None:
        items, self._items, self._rows = self._items, [], 0
        self._committed_s = self._context.clock.monotonic_s()
        if items:
            try:
                self._batcher.commit(items)
            except Stopped:
                self._context.log.warning("replay.stopped_uncommitted", items=len(items))
        if self._committed_s - self._beaten_s >= BEAT_S:
            self._beat()

    def _beat(self) -> None:
        self._beaten_s = self._context.clock.monotonic_s()
        with self._context.engine.begin() as conn:
            health.beat(conn, STAGE, {name: float(count) for name, count in self._totals().items()})
