"""I8: the incidents that the same readings make when nothing happens to anybody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine, text

from host.database import migrate
from host.postgres import Postgres
from model.block import Block, Origin, concatenate, encode_block
from model.device import Provenance
from model.time import NS_PER_S
from smc import detect, triage
from smc.bus import MemoryBus
from smc.store import devices
from tests.smc.gateway.sender import Load
from tests.smc.stages import line
from wire.meter import decode_meter_pack

TOGETHER = 100  # messages in one block


def incidents(store: Engine) -> frozenset[tuple[str, str]]:
    """Kind and group of every incident."""
    with store.connect() as conn:
        rows = conn.execute(text("SELECT kind, group_key FROM incidents"))
        return frozenset((kind, key) for kind, key in rows)


def undisturbed(server: Postgres, load: Load, messages: int, folder: Path) -> frozenset[tuple[str, str]]:
    """What detect and triage make of the first messages of a load, each once and in order."""
    url = server.create_database("undisturbed")
    migrate(url, "smc")
    context = line.centre(url, MemoryBus(), folder)
    context = replace(context, settings=replace(context.settings, site=load.site))
    with context.engine.begin() as conn:
        index = {device.name: device.index for device in devices.enrol(conn, load.devices())}
    blocks = [block_of(load, number, index) for number in range(messages)]
    for start in range(0, messages, TOGETHER):
        context.bus.publish("blocks", encode_block(concatenate(blocks[start : start + TOGETHER])))
    with line.running(context, detect, triage):
        line.until(lambda: all(context.bus.length(topic) == 0 for topic in ("blocks", "findings")), "all judged")
    found = incidents(context.engine)
    context.engine.dispose()
    return found


def block_of(load: Load, number: int, index: dict[str, int]) -> Block:
    """The block that the gateway makes of a message."""
    pack = decode_meter_pack(load.message(number)[1], load.start_s * NS_PER_S)
    return pack.block(index[pack.device], load.start_s * NS_PER_S, Origin("mqtt", "sender", Provenance.SIMULATED))
