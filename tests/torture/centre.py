"""Detect and stages as processes, fed with the blocks of a simulated fleet while faults happen to them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Engine, text

from bench.fleets import START_NS
from host.database import engine
from model.block import Block, encode_block
from model.device import Device
from norm.fleet import Fleet as Twins
from norm.inventory import inventory
from norm.scenario import parse_scenarios
from smc.bus import GROUPS, Bus, BusDown, RedisBus
from smc.store import devices
from tests.smc.gateway.kill_intake import PATIENCE_S, Process
from tests.smc.stages import line

UNITS, SECONDS = 6, 160
SCENARIO = "s01:2@25*0.6,s08:5@25*30,s01:4@90*0.6"
TWINS = Twins(5, line.SITE, UNITS, parse_scenarios(SCENARIO, START_NS, UNITS))
PACE_S = 0.05


@dataclass(frozen=True)
class Outcome:
    """Findings by id, incidents by group key with their number of findings, decisions by incident."""

    findings: frozenset[str]
    incidents: frozenset[tuple[str, str, int]]
    decisions: int

    @property
    def settled(self) -> bool:
        return bool(self.incidents) and self.decisions == len(self.incidents)


def outcome(store: Engine) -> Outcome:
    """What a centre has found by now."""
    with store.connect() as conn:
        found = conn.execute(text("SELECT finding_id FROM findings")).scalars()
        cases = conn.execute(text("SELECT group_key, kind, findings FROM incidents"))
        decisions = conn.execute(text("SELECT count(*) FROM decisions")).scalar_one()
        return Outcome(frozenset(map(str, found)), frozenset(tuple(row) for row in cases), int(decisions))


def enrolled(store: Engine) -> list[Device]:
    """The fleet, enrolled."""
    with store.begin() as conn:
        return devices.enrol(conn, inventory(TWINS))


def blocks_of(fleet: list[Device]) -> list[Block]:
    """The fleet's blocks, as its gateway would publish them."""
    return line.blocks_of(TWINS, fleet, SECONDS)


def idle(bus: Bus, topics: Iterable[str] = tuple(GROUPS)) -> bool:
    """Whether nothing is left to do on these topics."""
    return all(bus.length(topic) == 0 for topic in topics)


@dataclass
class Centre:
    """`detect` and `stages` of one site on a real bus; `in_hand`: unread blocks at each fault."""

    url: str
    bus_url: str
    folder: Path
    in_hand: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = engine(self.url, "judge")
        self.bus = RedisBus(self.bus_url, line.SITE)
        self.blocks = blocks_of(enrolled(self.store))
        self.detect, self.stages = self._start("detect"), self._start("stages")

    def _start(self, stage: str) -> Process:
        variables = {
            "SMC_SITE": line.SITE,
            "SMC_COUNTRY": "DE",
            "SMC_AREA": "DE-BY",
            "SMC_DATA": str(self.folder),
            "DATABASE_URL": self.url,
            "REDIS_URL": self.bus_url,
        }
        return Process(("app.py", "smc", stage), variables, self.folder / f"{stage}.log")

    def feed(self, faults: Mapping[int, Callable[[], None]]) -> None:
        """Publish all blocks at a steady pace; after block `number`, the fault of that number."""
        for number, block in enumerate(self.blocks):
            self.publish(encode_block(block))
            if number in faults:
                self.in_hand.append(self.bus.length("blocks"))
                faults[number]()
            time.sleep(PACE_S)

    def publish(self, body: bytes, topic: str = "blocks") -> None:
        """As the gateway does it: again until the bus has it."""

        def published() -> bool:
            try:
                self.bus.publish(topic, body)
            except BusDown:
                return False
            return True

        self.until(published, "a block published")

    def finish(self) -> Outcome:
        """Everything read by everybody."""

        def done() -> bool:
            try:
                return idle(self.bus) and outcome(self.store).settled
            except BusDown:
                return False

        self.until(done, "all topics empty and a decision for each incident")
        return outcome(self.store)

    def until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}; see {self.folder}"
            self.detect.watch()
            self.stages.watch()
            time.sleep(0.05)

    def close(self) -> None:
        self.detect.stop()
        self.stages.stop()
        self.bus.close()
        self.store.dispose()


@contextmanager
def centre(url: str, bus_url: str, folder: Path) -> Iterator[Centre]:
    made = Centre(url, bus_url, folder)
    try:
        yield made
    finally:
        made.close()


def moments(count: int, blocks: Sequence[Block], seed: int) -> list[int]:
    """Random places in the flow of blocks."""
    return sorted(random.Random(seed).sample(range(10, len(blocks) - 10), count))


def missing(truth: Outcome, found: Outcome) -> tuple[int, int]:
    """Findings and incidents that should be there and are not; that are there and should not."""
    lost = len(truth.findings - found.findings) + len(truth.incidents - found.incidents)
    extra = len(found.findings - truth.findings) + len(found.incidents - truth.incidents)
    return lost, extra
