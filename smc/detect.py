"""Blocks into findings: every detector over every block, in the order of the bus.

Order of work for a batch: judge, store the findings, publish them, save the detectors' state with the entries it has
seen, acknowledge. Whatever is handed out again after a crash is either in the saved state (passed over) or judged
again from the state before it, which gives the same findings with the same ids. The state is written beside and
renamed, so that a crash leaves the old or the new one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
import numpy as np
from prometheus_client import Histogram

from analytics.detectors import DETECTORS, Detector
from analytics.fleet import build_fleet
from model.block import Block, decode_block
from model.device import Device
from model.errors import DecodeError
from model.finding import Finding
from model.time import to_datetime
from smc.bus import BusDown, BusFull, Delivery, publish_when_free
from smc.context import StageContext
from smc.publisher import Stopped
from smc.stage import AWAY_S, Heart, patiently
from smc.store import devices, findings, quarantine

STAGE, TOPIC, NEXT = "detect", "blocks", "findings"
STATE_FILE = "detect.state"
BATCH = 64
WAIT_S = 0.5
SAVE_S = 1.0  # entries are acknowledged with the next save
INVENTORY_S = 10.0

_JUDGED = Histogram("grid_smc_detect_seconds", "Time to judge one block", ["detector"])


class SavedState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the state file holds: each detector's state by name, and the entries it has seen but not acknowledged."""

    detectors: dict[str, bytes]
    entries: list[str]


class Bench:
    """The detectors over the present inventory, and which entries they have seen since the last save."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._path = context.settings.data / STATE_FILE
        self._inventory: list[Device] = []
        self._detectors: list[Detector] = []
        self._unknown: set[int] = set()
        self._loaded_s = self._saved_s = context.clock.monotonic_s()
        self.seen: dict[str, None] = {}
        self.owed: list[Finding] = []  # judged, but not stored and published yet
        self._load_inventory({})
        self._restore()

    def judge(self, block: Block) -> list[Finding]:
        """Findings of all detectors. They move on with it: a block is judged once."""
        found: list[Finding] = []
        for detector in self._detectors:
            with _JUDGED.labels(detector.name).time():
                found += detector.update(block)
        return found

    def save_due(self) -> bool:
        """Whether entries wait for a save, and long enough."""
        return bool(self.seen) and not self.owed and self._context.clock.monotonic_s() - self._saved_s >= SAVE_S

    def save(self) -> list[str]:
        """Write the state; returns the entries that may be acknowledged now."""
        entries = list(self.seen)
        write_state(self._path, SavedState(self._states(), entries))
        self._saved_s = self._context.clock.monotonic_s()
        return entries

    def _states(self) -> dict[str, bytes]:
        return {detector.name: detector.save() for detector in self._detectors}

    def follow_inventory(self, block: Block) -> None:
        """Take devices in that were enrolled after the start: at once if they send, else every now and then."""
        sending = set(np.unique(block.device).tolist())
        strangers = sending - {device.index for device in self._inventory} - self._unknown
        if strangers or self._context.clock.monotonic_s() - self._loaded_s >= INVENTORY_S:
            self._load_inventory(self._states())
            self._unknown = sending - {device.index for device in self._inventory}

    def _load_inventory(self, states: dict[str, bytes]) -> None:
        self._loaded_s = self._context.clock.monotonic_s()
        with self._context.engine.connect() as conn:
            inventory = sorted(devices.all_devices(conn), key=lambda device: device.index)
        if inventory == self._inventory and self._detectors:
            return
        self._inventory = inventory
        fleet = build_fleet(inventory)
        self._detectors = [make(fleet) for make in DETECTORS]
        self._take_up(states)
        self._context.log.info("detect.inventory_loaded", devices=len(inventory))

    def _restore(self) -> None:
        saved = read_state(self._path)
        if saved is None:
            return
        self._take_up(saved.detectors)
        self.seen = dict.fromkeys(saved.entries)
        self._context.log.info("detect.state_restored", file=str(self._path), entries=len(saved.entries))

    def _take_up(self, states: dict[str, bytes]) -> None:
        """A state that does not fit (another version, another inventory) is left: its detector learns anew."""
        for detector in self._detectors:
            if detector.name not in states:
                continue
            try:
                detector.restore(states[detector.name])
            except DecodeError as error:
                self._context.log.warning("detect.state_refused", detector=detector.name, reason=str(error))


def run(context: StageContext, stop: threading.Event) -> None:
    """Read blocks until told to stop; what was judged by then is saved and acknowledged."""
    heart, bench = Heart(context, STAGE), Bench(context)
    try:
        while not stop.is_set():
            _round(context, stop, heart, bench)
            patiently(context, stop, STAGE, heart.beat)
    except (BusFull, Stopped) as error:  # told to end while it waited: the rest is judged again after the next start
        context.log.info("detect.stopped_while_waiting", reason=str(error))
        return
    _settle_at_end(context, bench)


def _round(context: StageContext, stop: threading.Event, heart: Heart, bench: Bench) -> None:
    try:
        _hand_on(context, stop, bench)
        deliveries = context.bus.receive(TOPIC, STAGE, STAGE, BATCH, WAIT_S)
        _work(context, stop, heart, bench, deliveries)
        if bench.save_due():
            _settle(context, bench)
    except BusDown as error:
        context.log.warning("detect.bus_away", reason=str(error), wait_s=AWAY_S)
        stop.wait(AWAY_S)


def _work(
    context: StageContext, stop: threading.Event, heart: Heart, bench: Bench, deliveries: Sequence[Delivery]
) -> None:
    for delivery in deliveries:
        if delivery.entry in bench.seen:
            continue
        block = patiently(context, stop, STAGE, partial(_decode, context, delivery))
        if block is not None:
            patiently(context, stop, STAGE, partial(bench.follow_inventory, block))
        found = [] if block is None else bench.judge(block)
        # The detectors have moved on: from here on this entry must not reach them again in this process.
        bench.seen[delivery.entry] = None
        bench.owed += found
        heart.count({"blocks": 1, "readings": 0 if block is None else len(block), "findings": len(found)})
        heart.count({"quarantined": int(block is None)})
        _hand_on(context, stop, bench)


def _decode(context: StageContext, delivery: Delivery) -> Block | None:
    """The block, or None after its bytes went to quarantine."""
    try:
        return decode_block(delivery.body)
    except DecodeError as error:
        context.log.warning("detect.block_refused", entry=delivery.entry, reason=error.reason)
        with context.engine.begin() as conn:
            quarantine.put(conn, "bus", TOPIC, error, delivery.body, to_datetime(context.clock.now_ns()))
        return None


def _hand_on(context: StageContext, stop: threading.Event, bench: Bench) -> None:
    """Store, then publish what is owed: also what is stored already, since a crash may have come between the two."""
    if not bench.owed:
        return
    patiently(context, stop, STAGE, partial(_store, context, bench.owed))
    while bench.owed:
        finding = bench.owed[0]
        publish_when_free(context.bus, NEXT, msgspec.json.encode(finding), stop)
        context.log.info(
            "detect.found",
            kind=finding.kind,
            devices=finding.devices,
            severity=finding.severity,
            score=round(finding.score, 2),
            title=finding.title,
        )
        bench.owed.pop(0)


def _store(context: StageContext, found: Sequence[Finding]) -> None:
    with context.engine.begin() as conn:
        findings.add(conn, found)


def _settle(context: StageContext, bench: Bench) -> None:
    """Save, then acknowledge what the save holds."""
    entries = bench.save()
    context.bus.acknowledge(TOPIC, STAGE, entries)
    bench.seen.clear()


def _settle_at_end(context: StageContext, bench: Bench) -> None:
    if not bench.seen or bench.owed:
        return
    try:
        _settle(context, bench)
    except BusDown as error:
        context.log.warning("detect.not_acknowledged", reason=str(error), entries=len(bench.seen))


def read_state(path: Path) -> SavedState | None:
    """The saved state, or None where there is none or it is not readable as one (then everything is learnt anew)."""
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=SavedState)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def write_state(path: Path, state: SavedState) -> None:
    """Write beside and rename; after a crash there is the old state or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(msgspec.msgpack.encode(state))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
