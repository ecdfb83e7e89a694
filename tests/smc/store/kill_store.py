"""The process that is killed: takes blocks from a Unix socket, stores them, acknowledges. See test_kill.py.

python -m tests.smc.store.kill_store SOCKET DATABASE_URL after|before

A message is its number (u32), its length (u32) and a block's bytes; an acknowledgement is the number. What waits is
stored in one transaction. `before` acknowledges before the commit: the mistake that the test must be able to find.
"""

from __future__ import annotations

import select
import socket
import struct
import sys
from pathlib import Path

from sqlalchemy import Engine

from host.database import engine
from model.block import decode_block
from smc.store.ingest import store_block

HEAD = struct.Struct("<II")
BATCH = 8


def read_message(stream: socket.socket) -> tuple[int, bytes] | None:
    """Next message, None at the end."""
    head = stream.recv(HEAD.size, socket.MSG_WAITALL)
    if len(head) < HEAD.size:
        return None
    number, size = HEAD.unpack(head)
    return number, stream.recv(size, socket.MSG_WAITALL)


def read_batch(stream: socket.socket) -> list[tuple[int, bytes]]:
    """One message at least, and what else is waiting; empty at the end."""
    batch: list[tuple[int, bytes]] = []
    while len(batch) < BATCH and (not batch or select.select([stream], [], [], 0)[0]):
        message = read_message(stream)
        if message is None:
            break
        batch.append(message)
    return batch


def serve(stream: socket.socket, store: Engine, acknowledge_before: bool) -> None:
    """Until the sender goes."""
    while batch := read_batch(stream):
        numbers = b"".join(struct.pack("<I", number) for number, _ in batch)
        if acknowledge_before:
            stream.sendall(numbers)
        with store.begin() as conn:
            for _, body in batch:
                store_block(conn, decode_block(body))
        if not acknowledge_before:
            stream.sendall(numbers)


def main(path: str, url: str, mode: str) -> None:
    Path(path).unlink(missing_ok=True)
    store = engine(url, "killed", pool_size=1)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            stream, _ = listener.accept()
            with stream:
                serve(stream, store, acknowledge_before=mode == "before")


if __name__ == "__main__":
    main(*sys.argv[1:])
