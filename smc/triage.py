"""Findings into incidents: what has one cause becomes one incident.

Group key: kind and feeder for what is about a device (the tampering of one meter and of its neighbour on the feeder
belong together), the finding itself where the whole site is concerned. Findings join an open incident of their group
that was seen within the last day; a closed one is never reopened by a machine.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import timedelta

import msgspec

from model.errors import DecodeError
from model.finding import Finding, FindingKind
from model.incident import Incident
from model.time import to_datetime
from smc.bus import Delivery, publish_when_free
from smc.context import StageContext
from smc.stage import consume
from smc.store import devices, findings, incidents

STAGE, TOPIC, NEXT = "triage", "findings", "incidents"
JOIN_WITHIN = timedelta(days=1)
WHOLE_SITE = frozenset({FindingKind.EUROPEAN_ADVICE})


def run(context: StageContext, stop: threading.Event) -> None:
    """Read findings until told to stop."""

    def handle(delivery: Delivery) -> Mapping[str, int]:
        incident, opened = group(context, decode(delivery.body))
        publish_when_free(context.bus, NEXT, incident_message(incident), stop)
        return {"findings": 1, "incidents_opened": int(opened)}

    consume(context, stop, TOPIC, STAGE, handle)


def decode(body: bytes) -> Finding:
    """The finding of a message. Raises DecodeError."""
    try:
        return msgspec.json.decode(body, type=Finding)
    except (msgspec.DecodeError, ValueError) as error:
        raise DecodeError("finding", "message on the topic findings", str(error)[:200], "a finding") from error


def group(context: StageContext, finding: Finding) -> tuple[Incident, bool]:
    """Put the finding where it belongs, in one transaction. True if an incident was opened for it."""
    now = to_datetime(context.clock.now_ns())
    with context.engine.begin() as conn:
        findings.add(conn, [finding])  # the detector stored it already; a hand-fed message is stored here
        feeder = ""
        if finding.devices and finding.kind not in WHOLE_SITE:
            device = devices.by_index(conn, finding.devices[0])
            feeder = device.feeder or device.name if device is not None else str(finding.devices[0])
        return incidents.open_or_extend(conn, finding, group_key(finding, feeder), finding.start - JOIN_WITHIN, now)


def group_key(finding: Finding, feeder: str) -> str:
    """What findings of one incident have in common. Simulated, replayed and measured data never share an incident."""
    concerned = str(finding.finding_id) if finding.kind in WHOLE_SITE else feeder
    return f"{finding.provenance}|{finding.kind}|{concerned}"


def incident_message(incident: Incident) -> bytes:
    """Message on the topic `incidents`: only the id, the store has the truth."""
    return json.dumps({"incident_id": str(incident.incident_id)}).encode()
