"""A centre without federation keeps its incidents at home and its bus empty."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from smc import federate
from smc.bus import MemoryBus
from tests.smc.stages.line import centre


def test_without_federation_the_topic_is_emptied(smc_embedded: str, tmp_path: Path) -> None:
    bus = MemoryBus()
    context = centre(smc_embedded, bus, tmp_path)
    for _ in range(3):
        bus.publish("incidents", b'{"incident_id": "00000000-0000-4000-8000-000000000000"}')
    for delivery in bus.receive("incidents", "decide", "decide", 10, 0.0):
        bus.acknowledge("incidents", "decide", [delivery.entry])
    assert bus.length("incidents") == 3  # federate still owes its acknowledgement
    stop = threading.Event()
    thread = threading.Thread(target=federate.run, args=(context, stop))
    thread.start()
    deadline = time.monotonic() + 20
    while bus.length("incidents") and time.monotonic() < deadline:
        time.sleep(0.05)
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
    assert bus.length("incidents") == 0
    context.engine.dispose()
