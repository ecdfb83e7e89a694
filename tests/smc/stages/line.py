"""A centre without its gateway: the stages as threads, a simulated fleet instead of the links."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import structlog

from host.database import engine
from model.block import Block, encode_block
from model.device import Device
from model.time import SystemClock
from norm.fleet import Fleet as Twins
from norm.inventory import inventory
from smc.bus import Bus
from smc.context import StageContext
from smc.settings import SmcSettings
from smc.store import devices
from tests.analytics import streams

SITE = "DSO-0001"
PATIENCE_S = 90.0


def centre(url: str, bus: Bus, data: Path) -> StageContext:
    settings = SmcSettings(
        site=SITE, country="DE", area="DE-BY", database_url=url, redis_url="unix:///none", data=data
    )  # fmt: skip
    log: Any = structlog.get_logger()
    return StageContext(settings, engine(url, "test"), bus, SystemClock(), log)


def enrol(context: StageContext, twins: Twins) -> list[Device]:
    with context.engine.begin() as conn:
        return devices.enrol(conn, inventory(twins))


@cache
def _simulated(twins: Twins, seconds: int) -> tuple[Block, ...]:
    return tuple(streams.blocks(twins, seconds))


def blocks_of(twins: Twins, enrolled: list[Device], seconds: int) -> list[Block]:
    """The fleet's blocks with the indices that the store has given."""
    index = {device.name: device.index for device in enrolled}
    own = [0, *(index[device.name] for device in inventory(twins))]
    return [
        replace(block, device=(block.device * 0 + [own[i] for i in block.device]).astype("int32"))
        for block in _simulated(twins, seconds)
    ]


def publish(bus: Bus, blocks: Iterable[Block]) -> None:
    for block in blocks:
        bus.publish("blocks", encode_block(block))


@contextmanager
def running(context: StageContext, *stages: Any) -> Iterator[None]:
    """Run stages as threads; what one of them raises fails the test."""
    stop, raised = threading.Event(), []

    def guarded(stage: Any) -> None:
        try:
            stage.run(context, stop)
        except BaseException as error:  # noqa: BLE001  (handed to the test's thread)
            raised.append(error)

    threads = [threading.Thread(target=guarded, args=(stage,)) for stage in stages]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert not raised, raised
    assert not any(thread.is_alive() for thread in threads)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for a true value and return it."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"not seen within {PATIENCE_S} s: {what}")
