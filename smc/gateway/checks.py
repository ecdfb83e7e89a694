"""What must hold before the intake may acknowledge anything."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from model.errors import SetupError
from smc import refusal
from smc.bus import ALWAYS, BusDown
from smc.context import StageContext
from smc.partition import FAMILY, partitions_of
from smc.publisher import AWAY_S


def require_synced(context: StageContext, stop: threading.Event) -> None:
    """Acknowledging by the bus is a promise about its disk. Raises SetupError if the bus does not sync every answer.

    Waits for a bus that is away, until it can be asked or `stop` is set.
    """
    while (found := _synced(context)) is None:
        if stop.wait(AWAY_S):
            return
    if not found:
        context.log.warning(
            "intake.bus_sync_unknown", reason="CONFIG is forbidden here: see that appendfsync is always"
        )
    elif found != ALWAYS:
        remedy = "set appendonly yes and appendfsync always, or SMC_ACK=database"
        raise SetupError("appendfsync of the bus", found, f"{ALWAYS} with SMC_ACK=bus", remedy)


def require_nothing_left(context: StageContext) -> None:
    """Readings acknowledged by the bus before SMC_ACK was changed must not be overtaken. Raises SetupError."""
    left = _waiting(context, [refusal.TOPIC])
    if left:
        remedy = "run `app.py smc store` until it has stored them, or set SMC_ACK=bus"
        raise SetupError(
            "messages that the bus holds for the store", sum(left.values()), "0 with SMC_ACK=database", remedy
        )


def require_order(context: StageContext) -> None:
    """The store empties the topics of another number of partitions first; of two other numbers it could not know which
    is the older one. Raises SetupError if the number was changed twice before anything was stored."""
    now = context.settings.partitions
    others = {partitions_of(topic) for topic in _waiting(context, [])} - {now}
    if len(others) > 1:
        found = " and ".join(map(str, sorted(others)))
        remedy = "run `app.py smc store` until it has stored them"
        raise SetupError("numbers of partitions that messages still wait for", found, f"one beside {now}", remedy)


def _synced(context: StageContext) -> str | None:
    try:
        return context.bus.synced()
    except BusDown as error:
        context.log.warning("intake.bus_away", error=str(error)[:200])
        return None


def _waiting(context: StageContext, others: Sequence[str]) -> dict[str, int]:
    """Messages for the store by topic, where there are any. A bus that is away cannot be asked: it is waited for with
    the first message."""
    try:
        lengths = {topic: context.bus.length(topic) for topic in [*context.bus.topics(FAMILY), *others]}
    except BusDown as error:
        context.log.warning("intake.bus_away", error=str(error)[:200])
        return {}
    return {topic: length for topic, length in lengths.items() if length}
