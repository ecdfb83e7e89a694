"""The store worker with one mistake put in: messages leave the bus before their rows are committed. See the controls.

python -m tests.torture.hasty_store
"""

from __future__ import annotations

import sys

import app
from smc.persist import Hand, Worker

_settle = Worker._settle


def hasty(worker: Worker, hand: Hand) -> None:
    for topic, entries in hand.entries.items():
        worker._context.bus.discard(topic, entries)
    _settle(worker, hand)


if __name__ == "__main__":
    Worker._settle = hasty  # type: ignore[method-assign]
    sys.exit(app.main(["smc", "store"]))
