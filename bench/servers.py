"""Servers of a benchmark: both editions of the database, with fsync, in a folder that goes with them."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from host.database import migrate
from host.postgres import Postgres
from scripts import timescale  # type: ignore[import-not-found]
from smc.bus import Bus

PLAIN, TIMESCALE = "plain", "TimescaleDB"
EDITIONS = (PLAIN, TIMESCALE)
DATABASE = "bench"
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (a file system in memory, on every Linux)
MEMORY = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
OPTIONS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


@contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A folder for servers and their files, by default where the machine keeps such things."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-bench-", dir=parent, ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # a server started by root runs as nobody and must get through
        yield folder


@contextmanager
def postgres(folder: Path, edition: str, options: Mapping[str, str] = OPTIONS) -> Iterator[Postgres]:
    """A server of an edition with the migrated database `bench`; writes are synced as in operation."""
    found = dict(options) | (timescale.OPTIONS if edition == TIMESCALE else {})
    binaries = timescale.get() if edition == TIMESCALE else None
    with Postgres(folder / edition, binaries=binaries, options=found, durable=False) as server:
        migrate(server.create_database(DATABASE), "smc")
        yield server


@contextmanager
def off_the_bus(bus: Bus) -> Iterator[None]:
    """Somebody who takes the blocks off the bus, as the detectors do."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            found = bus.receive("blocks", "detect", "bench", 16, 0.2)
            bus.acknowledge("blocks", "detect", [delivery.entry for delivery in found])

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
