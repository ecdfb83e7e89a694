"""A centre's context on a fresh database, and the intake running in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from host.database import engine
from model.device import Device, DeviceKind, Protocol, Provenance
from model.time import SystemClock
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.gateway import intake
from smc.settings import SmcSettings
from smc.store import devices

SITE = "DSO-0001"
DEADLINE_S = 30.0


def meter(unit: str) -> Device:
    return Device(
        0,
        f"urn:dev:norm:{unit}:meter",
        DeviceKind.METER,
        Protocol.SENML_MQTT,
        SITE,
        Provenance.SIMULATED,
        unit=unit,
    )


@pytest.fixture
def context(smc_embedded: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StageContext]:
    monkeypatch.setattr(intake, "BEAT_S", 0.1)  # the tests watch the counters
    settings = SmcSettings(
        site=SITE,
        country="DE",
        area="DE-BY",
        database_url=smc_embedded,
        redis_url="",
        data=tmp_path,
        simulated=True,
        flush_s=0.05,
    )
    pool = engine(smc_embedded, "test")
    yield StageContext(settings, pool, MemoryBus(), SystemClock(), structlog.get_logger())
    pool.dispose()


def with_settings(context: StageContext, **changes: object) -> StageContext:
    return replace(context, settings=replace(context.settings, **changes))  # type: ignore[arg-type]


def enrol(context: StageContext, *members: Device) -> list[Device]:
    with context.engine.begin() as conn:
        return devices.enrol(conn, members)


@contextmanager
def running(context: StageContext) -> Iterator[threading.Event]:
    """The intake in a thread; stopped and joined at the end, its exception raised here."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(intake.run, context, stop)
        try:
            yield stop
        finally:
            stop.set()
        work.result(DEADLINE_S)


def eventually(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {DEADLINE_S} s: {what}"
        time.sleep(0.02)
