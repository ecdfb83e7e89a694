"""The bus between stages. What it promises: smc/bus/promises.py; one contract test runs over every bus.

`RedisBus` (streams.py) is the one of a centre; `MemoryBus` (memory.py) keeps the same promises inside one process.
"""

from __future__ import annotations

from smc.bus.memory import MemoryBus
from smc.bus.promises import (
    ALWAYS,
    GROUPS,
    MAX_BYTES,
    MAX_MESSAGES,
    MEMORY_SHARES,
    OLDEST,
    Bus,
    BusDown,
    BusError,
    BusFull,
    Delivery,
    publish_when_free,
)
from smc.bus.streams import RedisBus

__all__ = [
    "ALWAYS",
    "GROUPS",
    "MAX_BYTES",
    "MAX_MESSAGES",
    "MEMORY_SHARES",
    "OLDEST",
    "Bus",
    "BusDown",
    "BusError",
    "BusFull",
    "Delivery",
    "MemoryBus",
    "RedisBus",
    "publish_when_free",
]
