"""Everybody who is enrolled: those with open incidents first, then the silent ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from dash import Input, Output, State, html, no_update

from model.device import DeviceKind
from smc.store import overview
from smc.store.overview import DeviceRow
from smc.views import marks
from smc.views.centre import Centre
from smc.views.state import DevicesState, devices_state
from smc.views.words import count, since
from trust.roles import Action
from web import URL, Page, Registry, fields, parts, table, tick

PAGE = Page("/devices", "Signals", "wave-sine", Action.SEE_SIGNALS, "Watch", keeps_state=True)
ROWS = 100
KIND_WORDS = {"": "all kinds", **{str(k): str(k) for k in DeviceKind}}
LIST, WORDS, KINDS, PAGES, TOTAL = "devices-list", "devices-words", "devices-kinds", "devices-pages", "devices-total"


def layout(params: Mapping[str, str], centre: Centre) -> Any:
    """The list for the filters of the address."""
    state = devices_state(params)
    rows, total = read(centre, state)
    kind = str(state.kinds[0]) if state.kinds else ""
    body = [
        fields.filters(
            fields.search(WORDS, state.words, "name, unit, feeder, gateway, zone"),
            fields.choice(KINDS, "Kind", kind, KIND_WORDS, 140),
        ),
        html.P(total_words(total), id=TOTAL, className="muted", role="status"),
        html.Div(listed(rows, centre.now()), id=LIST),
        fields.pager(PAGES, total, ROWS, state.page),
    ]
    return parts.page("Signals", body, summary="Every enrolled device; open one to see its signals and raw rows.")


def read(centre: Centre, state: DevicesState) -> tuple[list[DeviceRow], int]:
    """Devices of the address, and how many match."""
    with centre.read() as conn:
        return overview.device_list(conn, centre.now(), state.words, state.kinds, ROWS, (state.page - 1) * ROWS)


def total_words(total: int) -> str:
    """How many devices match."""
    return count(total, "device") if total else "No device matches."


def listed(rows: Sequence[DeviceRow], now: datetime) -> Any:
    """The table; a device that does not report is marked, never green."""
    if not rows:
        return parts.empty("No device here", "Change the search, or enrol devices with the inventory of the gateway.")
    unknown = html.Span("not known", className="muted")
    cells = [
        (
            marks.device_link(r.device, r.device.index),
            html.Span([r.device.kind, *marks.origin_marks([r.device.provenance])], className="case-marks"),
            reporting(r, now),
            r.device.unit or unknown,
            r.device.feeder or unknown,
            r.device.gateway or unknown,
            r.firmware or unknown,
            incidents_link(r),
        )
        for r in rows
    ]
    head = ("Device", "Kind", "Reports", "Unit", "Feeder", "Gateway", "Firmware", "Open incidents")
    return table.plain_table(head, cells)


def reporting(row: DeviceRow, now: datetime) -> Any:
    """Whether data come in now: reporting, silent since, or never observed (hatched)."""
    if row.device.received is None:
        return parts.not_observed("never observed")
    if row.reporting:
        return parts.status("reporting", "ok")
    return parts.status(f"silent for {since(row.device.received, now)}", "high")


def incidents_link(row: DeviceRow) -> Any:
    """How many open incidents name the device, leading to them."""
    if not row.open_incidents:
        return html.Span("none", className="muted")
    return parts.link(str(row.open_incidents), f"/incidents?q={row.device.name}", "tone-high")


def register(app: Registry, centre: Centre) -> None:
    """Filters to the address, the address and the clock to the list."""

    @app.callback(
        Action.SEE_SIGNALS,
        Output(URL, "search", allow_duplicate=True),
        Input(WORDS, "value"),
        Input(KINDS, "value"),
        Input(PAGES, "value"),
        State(URL, "search"),
        prevent_initial_call=True,
    )
    def filtered(words: str, kind: str, page: int, search: str | None) -> Any:
        before = devices_state(search)
        kinds = tuple(k for k in DeviceKind if k == kind)
        after = replace(before, words=(words or "").strip(), kinds=kinds)
        after = replace(after, page=page if after == before else 1)
        return no_update if after == before else after.query() or "?"

    @app.callback(
        Action.SEE_SIGNALS,
        Output(LIST, "children"),
        Output(TOTAL, "children"),
        Output(PAGES, "total"),
        Input(URL, "search"),
        Input(tick("figures"), "data"),
        prevent_initial_call=True,
    )
    def refresh(search: str | None, _tick: Any) -> Any:
        rows, total = read(centre, devices_state(search))
        return listed(rows, centre.now()), total_words(total), fields.pages_of(total, ROWS)
