"""F4: the power of the machine fails, and what was not synced is gone (see power.py); and ways to lose then."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis

from host.valkey import Valkey
from tests.torture.conftest import Fault, server_folder
from tests.torture.editions import NAMES, bus_options, database_options
from tests.torture.power import EARLY_SIZES, Disk
from tests.torture.site import BUS, CARELESS, DATABASE, INTAKE, READING, RESUMED_S, Site, site

pytestmark = [pytest.mark.slow, pytest.mark.mosquitto, pytest.mark.timeout(600)]

CUTS = 5
SYNCED = 500
EARLY = "with sizes written early"
MOUNTS = {"as usual": (), EARLY: EARLY_SIZES}


@contextmanager
def mortal(
    ack: str,
    seed: int,
    mount: tuple[str, ...] = (),
    database: Mapping[str, object] | None = None,
    bus: Mapping[str, object] | None = None,
    intake: Sequence[str] = INTAKE,
) -> Iterator[tuple[Site, Disk]]:
    """A site whose servers keep their data on a disk that can lose its power."""
    with ExitStack() as stack:
        place = stack.enter_context(server_folder())
        disk = stack.enter_context(Disk(place, mount))
        made = stack.enter_context(
            site(place, ack, seed, database=database, bus=bus, on=disk.folder, stages=READING, intake=intake)
        )
        disk.sync()
        yield made, disk


@pytest.mark.parametrize(
    ("ack", "mount", "edition", "kind"),
    [
        pytest.param(DATABASE, "as usual", "embedded", "valkey", marks=[pytest.mark.embedded, pytest.mark.valkey]),
        pytest.param(DATABASE, EARLY, "timescale", "redis", marks=[pytest.mark.timescale, pytest.mark.redis]),
        pytest.param(BUS, "as usual", "timescale", "valkey", marks=[pytest.mark.timescale, pytest.mark.valkey]),
        pytest.param(BUS, EARLY, "embedded", "redis", marks=[pytest.mark.embedded, pytest.mark.redis]),
    ],
)
def test_power_cuts(ack: str, mount: str, edition: str, kind: str, fault: Fault) -> None:
    with mortal(ack, 4, MOUNTS[mount], database_options(edition), bus_options(kind)) as (made, disk):
        for _ in range(CUTS):
            made.suffer(lambda: made.lose_power(disk))
        verdict = made.finish()
    how = f"{CUTS} power cuts, acknowledged by the {ack}, {NAMES[edition]}, {NAMES[kind]}, ext4 mounted {mount}"
    counted = f"{verdict.acknowledged} readings acknowledged to the sender; up again by itself"
    fault("F4", how, counted, verdict.lost, verdict.doubled + verdict.wrong)
    assert (verdict.lost, verdict.doubled, verdict.wrong) == (0, 0, 0)
    assert min(made.line.in_hand) > 0
    assert made.slowest_s < RESUMED_S


def test_a_database_that_does_not_sync_is_found_out(fault: Fault) -> None:
    with mortal(DATABASE, seed=5, database={"options": {"fsync": "off"}}) as (made, disk):
        made.suffer(lambda: made.lose_power(disk))
        verdict = made.finish()
    how = "control: one power cut with fsync off in the database"
    fault("F4", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled + verdict.wrong, control=True)
    assert verdict.lost > 0


def test_a_bus_that_syncs_every_second_is_found_out(fault: Fault) -> None:
    with mortal(BUS, seed=6, intake=CARELESS, bus={"options": {"appendfsync": "everysec"}}) as (made, disk):
        for _ in range(CUTS):
            made.suffer(lambda: made.lose_power(disk))
        verdict = made.finish()
    how = f"control: {CUTS} power cuts with appendfsync everysec on the bus"
    fault("F4", how, f"{verdict.acknowledged} readings", verdict.lost, verdict.doubled + verdict.wrong, control=True)
    assert verdict.lost > 0


def test_a_file_that_ends_in_nul_bytes_is_repaired_at_the_start(fault: Fault) -> None:
    """A cut between a write and its sync, on a file system that writes sizes early: the end of the file is NUL."""
    with server_folder() as place, Disk(place, EARLY_SIZES) as disk:
        bus = Valkey(disk.folder / "bus", options={"appendfsync": "no"})
        with bus:
            push(bus, range(SYNCED))
            disk.sync()
            push(bus, range(SYNCED, 2 * SYNCED))
            sync_other_file(disk.folder)
            disk.cut()
            os.kill(bus.pid, signal.SIGKILL)
            bus.stop()
            disk.off()
            disk.on()
            (file,) = (bus.data / "appendonlydir").glob("*.incr.aof")
            nul = file.stat().st_size - len(file.read_bytes().rstrip(b"\0"))
            bus.start()
            with redis.Redis.from_url(bus.url) as client:
                left = [int(number) for number in client.lrange("line", 0, -1)]
    how = "a power cut that leaves NUL bytes at the end of the bus's file"
    fault("F4", how, f"{SYNCED} synced entries; the bus starts by itself", max(0, SYNCED - len(left)), 0)
    assert nul > 0, "no NUL bytes: nothing was tried"
    assert left == list(range(len(left)))
    assert len(left) >= SYNCED


def push(bus: Valkey, numbers: range) -> None:
    with redis.Redis.from_url(bus.url) as client, client.pipeline(transaction=False) as pipe:
        for number in numbers:
            pipe.rpush("line", number)
        pipe.execute()


def sync_other_file(folder: Path) -> None:
    """Commits the journal, with the sizes of all files, and the contents of this one alone."""
    with (folder / "other").open("wb") as file:
        file.write(b"x")
        file.flush()
        os.fsync(file.fileno())
