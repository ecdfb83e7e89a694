"""The intake with one mistake put in: it acknowledges by a bus that does not sync. See the controls.

python -m tests.torture.careless_intake
"""

from __future__ import annotations

import sys

import app
from smc.gateway import checks


def believe(*_: object) -> None:
    """The real one asks the bus, and refuses to start."""


if __name__ == "__main__":
    checks.require_synced = believe
    sys.exit(app.main(["smc", "intake"]))
