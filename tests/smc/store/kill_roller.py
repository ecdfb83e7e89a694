"""The process that is killed: it rolls up, portion by portion. See test_roller.py.

python -m tests.smc.store.kill_roller DATABASE_URL NOW_NS
"""

from __future__ import annotations

import sys

from host.database import engine
from model.time import to_datetime
from smc.store import rollups


def main(url: str, now_ns: str) -> None:
    """Until everything is done."""
    made = engine(url, "killed")
    with made.connect() as conn:
        print("begun", flush=True)
        while rollups.roll_up(conn, to_datetime(int(now_ns)), steps=1).behind:
            pass
    made.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
