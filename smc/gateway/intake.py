"""The intake stage: all links of a centre, one batcher, one heartbeat."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

from prometheus_client import Gauge
from sqlalchemy.exc import OperationalError

from smc.context import StageContext
from smc.gateway import checks
from smc.gateway.batcher import STAGE, Batcher, direct
from smc.gateway.c37118_link import PmuLink, parse_address
from smc.gateway.mqtt_link import MqttLink, parse_broker
from smc.gateway.registry import REFRESH_S, Registry
from smc.settings import ACK_BUS
from smc.store import health

BEAT_S = 2.0
_POLL_S = 0.1
_SETTLE_S = 0.2  # for acknowledgements that are on their way

_METRIC = Gauge("smc_intake", "Counters of the intake since its start", ["counter"])


def run(context: StageContext, stop: threading.Event) -> None:
    """Take in until told to stop; then commit what is there, acknowledge it and hang up."""
    asyncio.run(Intake(context, stop).run())


class Intake:
    """Wires links, batcher and heartbeat of one centre."""

    def __init__(self, context: StageContext, stop: threading.Event) -> None:
        self._context = context
        self._stop = stop
        self.registry = Registry(context.engine, context.settings, context.clock)
        self._addresses = [parse_address(text) for text in context.settings.pmus]
        if context.settings.mqtt:
            parse_broker(context.settings.mqtt)

    async def run(self) -> None:
        """Until `stop` is set, or one of our own faults ends it."""
        context = self._context
        await asyncio.to_thread(self._start)
        batcher = Batcher(context, self.registry, self._stop)
        pmus = [PmuLink(address, context, self.registry, batcher) for address in self._addresses]
        meters = [MqttLink(context, self.registry, batcher)] if context.settings.mqtt else []
        context.log.info("intake.started", pmu_links=len(pmus), mqtt_links=len(meters))
        async with asyncio.TaskGroup() as tasks:
            committing = tasks.create_task(batcher.run())
            others = [tasks.create_task(link.run()) for link in pmus]
            subscribed = [tasks.create_task(link.run()) for link in meters]
            others += [tasks.create_task(self._beat(batcher, pmus, meters)), tasks.create_task(self._refresh())]
            while not self._stop.is_set():
                await asyncio.sleep(_POLL_S)
            for task in others:
                task.cancel()
            await batcher.finish()
            await committing
            await asyncio.sleep(_SETTLE_S)
            for link in meters:
                await link.close()
            for task in subscribed:
                task.cancel()
        await self._unless_away(partial(self._tell, batcher, pmus, meters))
        context.log.info("intake.stopped", **batcher.counts)

    def _start(self) -> None:
        if self._context.settings.ack == ACK_BUS:
            checks.require_synced(self._context, self._stop)
        else:
            checks.require_nothing_left(self._context)
            direct(self._context, self._stop).tell_owed()
        with self._context.engine.begin() as conn:
            health.start(conn, STAGE)
        self.registry.refresh()

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            await self._unless_away(self.registry.refresh)

    async def _beat(self, batcher: Batcher, pmus: list[PmuLink], meters: list[MqttLink]) -> None:
        while True:
            await self._unless_away(partial(self._tell, batcher, pmus, meters))
            await asyncio.sleep(BEAT_S)

    async def _unless_away(self, work: Callable[[], None]) -> None:
        """Work that may be left out while the database is away: the batcher waits for it, the links go on."""
        try:
            await asyncio.to_thread(work)
        except OperationalError as error:
            self._context.log.warning("intake.database_away", error=str(error.orig)[:200])

    def _tell(self, batcher: Batcher, pmus: list[PmuLink], meters: list[MqttLink]) -> None:
        counters = _counters(batcher, pmus, meters)
        for name, value in counters.items():
            _METRIC.labels(name).set(value)
        with self._context.engine.begin() as conn:
            health.beat(conn, STAGE, counters)


def _counters(batcher: Batcher, pmus: list[PmuLink], meters: list[MqttLink]) -> dict[str, float]:
    """All counters of this run. `frames` are C37.118 frames, `readings` meter rows, `pmu_rows` frames times PMUs."""
    total: Counter[str] = Counter()
    links: list[PmuLink | MqttLink] = [*pmus, *meters]
    for link in links:
        total.update(link.counts)
    total.update(batcher.counts)
    return {
        **{name: float(value) for name, value in sorted(total.items())},
        "frames": float(total["frames"]),
        "readings": float(total["rows_meter"]),
        "pmu_rows": float(total["rows_phasor"]),
        "quarantined": float(total["quarantined"]),
        "gaps": float(total["gaps"]),
        "links": float(len(links)),
        "links_up": float(sum(link.connected for link in links)),
    }
