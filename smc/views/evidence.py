"""The evidence plot of an incident: the strongest finding's signals around its time, with the expected band."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from dash import html

from model.device import Device, DeviceKind
from model.finding import Finding
from smc.store import devices
from smc.views import signals
from smc.views.case import Case
from smc.views.centre import Centre
from web import parts

MARGIN_LEAST = timedelta(seconds=30)
MARGIN_MOST = timedelta(hours=6)


def of_case(case: Case, centre: Centre) -> Any:
    """The plot of the strongest finding that names a device, or a sentence on why there is none."""
    finding = next((f for f in case.findings if f.devices), None)
    if finding is None:
        return None
    with centre.read() as conn:
        known = {d.index: d for d in devices.all_devices(conn)}
        device = subject(finding, known)
        if device is None:
            return parts.empty(
                "The device of this finding is not enrolled any more", "Its finding stays in the record."
            )
        found = signals.read(conn, device, *window(finding, centre.now()))
    link = parts.link("All signals and raw rows", f"/device?index={device.index}&finding={finding.finding_id}")
    return parts.panel(
        "Evidence",
        html.Div(signals.evidence_charts(found, finding)),
        summary=f"{device.name}; the time of the finding is shaded.",
        actions=link,
    )


def subject(finding: Finding, known: dict[int, Device]) -> Device | None:
    """The device to draw: the meter where meter and PMU are compared, else the first that is enrolled."""
    named = [known[index] for index in finding.devices if index in known]
    meters = [d for d in named if d.kind is DeviceKind.METER]
    return next(iter(meters or named), None)


def window(finding: Finding, now: datetime) -> tuple[datetime, datetime]:
    """The finding's time with as much room on both sides, at least 30 s and at most 6 h, not into the future."""
    room = min(max(finding.end - finding.start, MARGIN_LEAST), MARGIN_MOST)
    return finding.start - room, max(min(finding.end + room, now), finding.end + timedelta(seconds=1))
