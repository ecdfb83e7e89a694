"""The intake with one mistake put in: messages are answered on receipt, before the commit. See test_kill_intake.py.

python -m tests.smc.gateway.hasty_intake
"""

from __future__ import annotations

import sys
from typing import Any

import app
from smc.gateway.mqtt_link import MqttLink

_make_client = MqttLink._make_client


def hasty(link: MqttLink) -> Any:
    client = _make_client(link)
    client._package_handler._optimistic_acknowledgement = True
    return client


if __name__ == "__main__":
    MqttLink._make_client = hasty  # type: ignore[method-assign]
    sys.exit(app.main(["smc", "intake"]))
