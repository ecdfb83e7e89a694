"""What leaves the house: how far each peer is behind, and every message byte for byte as it was signed and sent."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dash import html

from smc.store import outbox
from smc.store.outbox import Lag, Parcel
from smc.views.centre import Centre
from smc.views.state import list_state
from smc.views.words import since, size_of
from trust.roles import Action
from web import Page, Registry, parts, table

PAGE = Page("/sharing", "Sharing", "share", Action.SEE_SHARING, "Europe")
SHOWN_BYTES = 20_000

Component = Any


def layout(params: Mapping[str, str], centre: Centre) -> Component:
    """Lag per peer, the opened message, the list."""
    state = list_state(params)
    now = centre.now()
    with centre.read() as conn:
        lags, sent = outbox.lag(conn), outbox.recent(conn)
    opened = next((p for p in sent if str(p.outbox_id) == state.opened), None)
    body = [_lags(lags, centre, now), _opened(opened) if opened else None, _listed(sent)]
    summary = "Nothing else leaves: no meter name, no raw series; names are keyed pseudonyms."
    return parts.page("Sharing", [b for b in body if b is not None], summary=summary)


def _lags(lags: Sequence[Lag], centre: Centre, now: datetime) -> Component:
    if not centre.settings.taxii_url:
        return parts.panel(
            "Peers", parts.empty("This centre is not federated", "Set SMC_TAXII_URL to join a federation.")
        )
    if not lags:
        return parts.panel(
            "Peers", parts.empty("Nothing has left the house yet", "Incidents worth sharing queue here.")
        )
    rows = [
        (
            parts.mono(lag.peer),
            _lag_state(lag),
            html.Span(str(lag.waiting), className="number"),
            html.Span(str(lag.failed), className="number"),
            html.Span(str(lag.complete), className="number"),
            f"{since(lag.oldest, now)}" if lag.oldest else "nothing waits",
            parts.time_text(lag.last_completed),
            lag.last_error or "–",
        )
        for lag in lags
    ]
    head = ("Peer", "State", "Waiting", "Refused", "Arrived", "Oldest waits for", "Last arrival", "Last error")
    return parts.panel("Peers", table.plain_table(head, rows))


def _lag_state(lag: Lag) -> Component:
    if lag.failed:
        return parts.status("failed")
    return parts.status("waiting" if lag.waiting else "complete")


def _listed(sent: Sequence[Parcel]) -> Component:
    if not sent:
        return None
    rows = [
        (
            parts.link(f"{p.peer} № {p.number}", f"/sharing?open={p.outbox_id}", "mono"),
            p.kind,
            parts.link("incident", f"/incident?id={p.incident_id}") if p.incident_id else "–",
            parts.status(p.state),
            parts.time_text(p.created),
            parts.time_text(p.completed, "not yet"),
            html.Span(str(p.attempts), className="number"),
            html.Span(size_of(len(p.body)), className="number"),
        )
        for p in sent
    ]
    head = ("Message, opens its bytes", "Kind", "About", "State", "Frozen", "Arrived", "Attempts", "Size")
    return parts.panel("What left the house", table.plain_table(head, rows))


def _opened(parcel: Parcel) -> Component:
    readable = reading(parcel.body)
    shown = [
        html.H3("What it says"),
        html.Pre(readable[:SHOWN_BYTES], className="bytes", tabIndex=0),
        html.H3(f"The bytes as they leave, {size_of(len(parcel.body))}"),
        html.Pre(parcel.body[:SHOWN_BYTES].decode("utf-8", "backslashreplace"), className="bytes wrap", tabIndex=0),
    ]
    title = f"{parcel.peer} № {parcel.number}, byte for byte"
    return parts.panel(title, shown, actions=parts.link("Close", "/sharing"), class_name="opened")


def reading(body: bytes) -> str:
    """A signed message for people: JSON indented, and the payload of a JWS (compact or JSON) decoded the same way."""
    text = body.decode("utf-8", "backslashreplace")
    if text.count(".") == 2 and not text.lstrip().startswith("{"):
        return _decoded(text.split(".")[1], text)
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if isinstance(value, dict) and isinstance(value.get("payload"), str):
        value = {**value, "payload": _json(_decoded(value["payload"], value["payload"]))}
    return json.dumps(value, indent=2, ensure_ascii=False)


def _decoded(part: str, otherwise: str) -> str:
    """A base64url part as indented JSON, or `otherwise` where it is neither."""
    try:
        plain = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
        return json.dumps(json.loads(plain), indent=2, ensure_ascii=False)
    except (binascii.Error, ValueError):
        return otherwise


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def register(_app: Registry, _centre: Centre) -> None:
    """No callbacks: the address says everything."""
