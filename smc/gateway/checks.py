"""What must hold before the intake may acknowledge anything."""

from __future__ import annotations

import threading

from model.errors import SetupError
from smc import refusal
from smc.bus import ALWAYS, BusDown
from smc.context import StageContext
from smc.partition import FAMILY
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
    try:
        left = sum(context.bus.length(topic) for topic in [*context.bus.topics(FAMILY), refusal.TOPIC])
    except BusDown as error:  # it is waited for with the first message
        context.log.warning("intake.bus_away", error=str(error)[:200])
        return
    if left:
        remedy = "run `app.py smc store` until it has stored them, or set SMC_ACK=bus"
        raise SetupError("messages that the bus holds for the store", left, "0 with SMC_ACK=database", remedy)


def _synced(context: StageContext) -> str | None:
    try:
        return context.bus.synced()
    except BusDown as error:
        context.log.warning("intake.bus_away", error=str(error)[:200])
        return None
