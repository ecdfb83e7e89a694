"""One device: who it is, its signals around a time or a finding, its findings, and the raw rows under it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dash import html

from model.device import Device, DeviceKind
from model.finding import Finding
from smc.store import desk, devices, findings
from smc.views import evidence, marks, raw, signals
from smc.views.centre import Centre
from smc.views.signals import Signals
from smc.views.state import DeviceState, Span, device_state
from smc.views.words import age, count, moment, quantity, since
from trust.roles import Action
from web import Page, Registry, parts, table

PAGE = Page("/device", "Device", "wave-sine", Action.SEE_SIGNALS, in_rail=False)
CHOICES = (("now-5m", "5 min"), ("now-15m", "15 min"), ("now-1h", "1 h"), ("now-24h", "24 h"), ("now-7d", "7 d"))


def layout(params: Mapping[str, str], centre: Centre) -> Any:
    """The device of `index`, in the time of the address or around `finding`."""
    state = device_state(params)
    index = params.get("index", "")
    with centre.read() as conn:
        known = {str(d.index): d for d in devices.all_devices(conn)}
        device = known.get(index)
        if device is None:
            return _unknown(index, len(known))
        focus = _finding(findings.get(conn, UUID(state.finding)) if state.finding else None, device)
        start, end = evidence.window(focus, centre.now()) if focus and "from" not in params else _times(state, centre)
        found = signals.read(conn, device, start, end)
        received = desk.devices_named(conn, [device.index])[device.index].received
    body = [
        _focus(focus, device) if focus else None,
        parts.columns(_identity(device, received, centre.now()), _window(state, device, found)),
        html.Div([html.Section(c, className="panel") for c in signals.charts(found, focus)], className="charts"),
        _findings(found),
        raw.panel(found),
    ]
    title = [device.name, *marks.origin_marks([device.provenance])]
    back = parts.link("All devices", "/devices")
    return parts.page(html.Span(title, className="case-marks"), [b for b in body if b is not None], actions=back)


def _unknown(index: str, enrolled: int) -> Any:
    """What to say of an address that names no device of this centre."""
    title = f'There is no device with index "{index}"' if index else "The address names no device"
    told = [
        f"This centre knows {count(enrolled, 'device')}; an address names one by its index, as in /device?index=1. ",
        parts.link("Choose one from the list", "/devices"),
        ".",
    ]
    return parts.page("Device", parts.empty(title, told), actions=parts.link("All devices", "/devices"))


def _finding(finding: Finding | None, device: Device) -> Finding | None:
    return finding if finding and device.index in finding.devices else None


def _times(state: DeviceState, centre: Centre) -> tuple[datetime, datetime]:
    return state.span.resolve(centre.now())


def _focus(finding: Finding, device: Device) -> Any:
    """Which finding the page was opened for, and the way to the whole time."""
    return parts.panel(
        html.Span([parts.severity(finding.severity), finding.title], className="case-marks"),
        [html.P(finding.explanation), marks.evidence_table(finding.evidence)],
        actions=parts.link("Show the present instead", f"/device?index={device.index}"),
    )


def _identity(device: Device, received: datetime | None, now: datetime) -> Any:
    unknown = html.Span("not known", className="muted")
    return parts.panel(
        "Identity",
        parts.facts(
            [
                ("Kind", f"{device.kind} by {device.protocol}"),
                ("Enrolment", str(device.enrolment)),
                ("Unit", device.unit or unknown),
                ("Feeder", device.feeder or unknown),
                ("Gateway", device.gateway or unknown),
                ("Zone", device.zone or unknown),
                ("Vendor", device.vendor or unknown),
                ("Firmware", device.firmware or unknown),
                ("Nominal", f"{quantity(device.nominal_voltage_v, 'V')}, {device.nominal_hz:g} Hz"),
                ("Last received", f"{since(received, now)} ago" if received else parts.not_observed("never observed")),
            ]
        ),
    )


def _window(state: DeviceState, device: Device, found: Signals) -> Any:
    """What time is shown, how to change it, and a link that stays true."""
    fixed = replace(
        state, span=Span(found.start.isoformat(timespec="seconds"), found.end.isoformat(timespec="seconds"))
    )
    base = f"/device?index={device.index}"
    links = [
        parts.link(label, f"{base}&from={start}", "chosen" if state.span.start == start and not state.finding else "")
        for start, label in CHOICES
    ]
    rows = len(found.arrays["time_ns"])
    noun = "frame" if device.kind is DeviceKind.PMU else "reading"
    told = [
        ("From", moment(found.start)),
        ("To", moment(found.end)),
        ("Length", age((found.end - found.start).total_seconds())),
        ("In it", count(rows, noun) if rows else parts.not_observed("nothing observed")),
        ("Show", html.Span(links, className="choices")),
        ("Link", parts.link("with absolute times", f"{base}&{fixed.query().lstrip('?').replace('+', '%2B')}")),
    ]
    if device.kind is DeviceKind.PMU and rows and found.start > state.span.resolve(found.end)[0]:
        told.insert(3, ("Limit", "phasors show the newest 15 min of a longer time"))
    return parts.panel("Time", parts.facts(told))


def _findings(found: Signals) -> Any:
    """Findings of the device in this time; each puts itself in focus."""
    if not found.findings:
        return parts.panel(
            "Findings in this time", html.P("None: no detector judged anything here.", className="muted")
        )
    rows = [
        (
            parts.time_text(f.start),
            parts.severity(f.severity),
            parts.link(f.title, f"/device?index={found.device.index}&finding={f.finding_id}"),
            html.Span(f"{f.score:.2f}", className="number"),
            parts.link("incident", f"/incidents?q={found.device.name}"),
        )
        for f in found.findings
    ]
    return parts.panel("Findings in this time", table.plain_table(("Time", "Severity", "Finding", "Score", ""), rows))


def register(_app: Registry, _centre: Centre) -> None:
    """No callbacks: the address says everything, and the frame lays the page out anew when it changes."""
