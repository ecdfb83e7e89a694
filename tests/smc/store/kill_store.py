"""The process that is killed: the intake's own batcher between a Unix socket, the store and the bus. See test_kill.py.

python -m tests.smc.store.kill_store SOCKET DATABASE_URL BUS_URL after|before

A message is its number (u32), its length (u32) and a block's bytes; an acknowledgement is the number. `before`
acknowledges what is queued but not yet committed: the mistake that the test must be able to find.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import threading
from functools import partial

import structlog

from host.database import engine
from model.block import decode_block
from model.time import NS_PER_S, FixedClock
from smc.bus import RedisBus
from smc.context import StageContext
from smc.gateway.batcher import Batcher
from smc.gateway.registry import Registry
from smc.settings import SmcSettings
from tests.smc.store.blocks import START_NS

HEAD = struct.Struct("<II")
SITE = "DSO-0001"


async def serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, batcher: Batcher, acknowledge_before: bool
) -> None:
    """One sender, until it goes."""
    while True:
        try:
            number, size = HEAD.unpack(await reader.readexactly(HEAD.size))
            block = decode_block(await reader.readexactly(size))
        except asyncio.IncompleteReadError:
            return
        done = await batcher.put(block)
        answer = struct.pack("<I", number)
        if acknowledge_before:
            writer.write(answer)
        else:
            done.add_done_callback(partial(acknowledge, writer, answer))


def acknowledge(writer: asyncio.StreamWriter, answer: bytes, done: asyncio.Future[None]) -> None:
    """Committed and published: tell the sender."""
    if not done.cancelled():
        writer.write(answer)


async def main(path: str, url: str, bus_url: str, mode: str) -> None:
    settings = SmcSettings(site=SITE, country="DE", area="DE-BY", database_url=url, redis_url=bus_url, flush_s=0.02)
    clock = FixedClock(START_NS + 300 * NS_PER_S)  # the messages' stamps must stay plausible in later years
    stop, store = threading.Event(), engine(url, "killed")
    context = StageContext(settings, store, RedisBus(bus_url, SITE), clock, structlog.get_logger())
    batcher = Batcher(context, Registry(store, settings, clock), stop)
    await asyncio.start_unix_server(
        lambda reader, writer: serve(reader, writer, batcher, acknowledge_before=mode == "before"), path
    )
    await batcher.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
