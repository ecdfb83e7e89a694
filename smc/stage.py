"""How a stage reads its topic: receive, handle, acknowledge, in that order, with a heartbeat and counters.

A crash between handling and acknowledging hands the message out again; `handle` must therefore be idempotent. Bytes
that are no message are quarantined and acknowledged, so that one poisoned entry stops nobody. While the database or the
bus is away a stage waits: it does not end, and it goes on by itself.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import TypeVar
from uuid import UUID

from prometheus_client import Counter as Metric
from prometheus_client import Gauge
from sqlalchemy.exc import OperationalError

from host.database import is_away
from model.errors import DecodeError, PeerError
from model.time import to_datetime
from smc.bus import BusDown, BusFull, Delivery
from smc.context import StageContext
from smc.publisher import Stopped
from smc.store import health, quarantine

WAIT_S = 1.0
BATCH = 100
BEAT_S = 2.0
AWAY_S = 0.5

_HANDLED = Metric("grid_smc_stage_total", "What a stage counted", ["stage", "what"])

_LEVELS = Gauge("grid_smc_stage_level", "What a stage sees now", ["stage", "what"])

Handle = Callable[[Delivery], Mapping[str, int]]
T = TypeVar("T")


def consume(
    context: StageContext,
    stop: threading.Event,
    topic: str,
    stage: str,
    handle: Handle,
    between: Callable[[], Mapping[str, int]] = dict,
) -> None:
    """Run until `stop`. `handle` does the whole work of one message and says what it counted, by name.

    `between` runs after each batch, and about once a second without messages or without a bus.
    """
    heart = Heart(context, stage)
    try:
        while not stop.is_set():
            _round(context, stop, topic, heart, handle)
            heart.count(patiently(context, stop, stage, between))
            patiently(context, stop, stage, heart.beat)
    except (Stopped, BusFull) as error:  # told to end while it waited: what is not acknowledged comes again
        context.log.info(f"{stage}.stopped_while_waiting", reason=str(error))


def _round(context: StageContext, stop: threading.Event, topic: str, heart: Heart, handle: Handle) -> None:
    """One batch of messages, or a wait where there is none."""
    stage = heart.stage
    try:
        for delivery in context.bus.receive(topic, stage, stage, BATCH, WAIT_S):
            work = partial(_handle_one, context, topic, delivery, handle)
            heart.count(patiently(context, stop, stage, work))
            context.bus.acknowledge(topic, stage, [delivery.entry])
            if stop.is_set():
                return
    except BusDown as error:
        context.log.warning(f"{stage}.bus_away", reason=str(error), wait_s=AWAY_S)
        stop.wait(AWAY_S)


def patiently(context: StageContext, stop: threading.Event, stage: str, work: Callable[[], T]) -> T:
    """What `work` gives; it is done again while the database is away. Raises Stopped when told to end meanwhile.

    An error that the content causes is not waited for: it is raised.
    """
    while True:
        try:
            return work()
        except OperationalError as error:
            if not is_away(error):
                raise
            context.log.warning(f"{stage}.database_away", error=str(error.orig)[:200], wait_s=AWAY_S)
            if stop.wait(AWAY_S):
                raise Stopped("the database is away") from error


def _handle_one(context: StageContext, topic: str, delivery: Delivery, handle: Handle) -> Mapping[str, int]:
    try:
        return handle(delivery)
    except PeerError as error:
        context.log.warning("stage.message_refused", topic=topic, entry=delivery.entry, reason=error.reason)
        received = to_datetime(context.clock.now_ns())
        with context.engine.begin() as conn:
            quarantine.put(conn, "bus", topic, error, delivery.body, received)
        return {"quarantined": 1}


def message_id(body: bytes, name: str) -> UUID:
    """The id in a message that carries only one: {"incident_id": "…"}. Raises DecodeError."""
    try:
        return UUID(json.loads(body)[name])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DecodeError("id", f"message with {name}", body[:80], f'{{"{name}": "a UUID"}}') from error


class Heart:
    """Counters of one stage, told to the store every two seconds and to Prometheus at once."""

    def __init__(self, context: StageContext, stage: str) -> None:
        self._context, self.stage = context, stage
        self._counted: Counter[str] = Counter()
        self._last_s = -BEAT_S
        with context.engine.begin() as conn:
            health.start(conn, stage)

    def count(self, counted: Mapping[str, int]) -> None:
        """Add to the counters."""
        for what, number in counted.items():
            self._counted[what] += number
            _HANDLED.labels(self.stage, what).inc(number)

    def show(self, what: str, level: int) -> None:
        """A level that goes up and down, told beside the counters."""
        self._counted[what] = level
        _LEVELS.labels(self.stage, what).set(level)

    def beat(self) -> None:
        """Say that the stage lives, at most every two seconds."""
        now_s = self._context.clock.monotonic_s()
        if now_s - self._last_s < BEAT_S:
            return
        self._last_s = now_s
        with self._context.engine.begin() as conn:
            health.beat(conn, self.stage, dict(self._counted))
