"""Advice from Europe: early alerts as they were received. Data, never a command; no member is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dash import html

from model.advice import Advice
from smc.store import advice
from smc.views.centre import Centre
from smc.views.words import KIND_WORDS, count, since
from trust.roles import Action
from web import Page, Registry, parts

PAGE = Page("/advice", "Advice", "rss", Action.SEE_SHARING, "Europe")
LIST = "advice-list"

Component = Any


def layout(_params: Mapping[str, str], centre: Centre) -> Component:
    """The list, the newest first."""
    summary = "Early alerts of the pan-European centre. They inform; they raise no severity by themselves."
    return parts.page("Advice", html.Div(read(centre), id=LIST, className="stack"), summary=summary)


def read(centre: Centre) -> Component:
    """Every alert of the inbox as a panel."""
    with centre.read() as conn:
        return listed(advice.all(conn), federated=bool(centre.settings.taxii_url))


def listed(found: Sequence[Advice], *, federated: bool) -> Component:
    """Panels, or what it means that there are none."""
    if found:
        return [_panel(a) for a in found]
    next_step = "Alerts appear here by themselves." if federated else "Set SMC_TAXII_URL to join a federation."
    return parts.panel("No alert yet", parts.empty("Europe has sent no alert", next_step))


def _panel(a: Advice) -> Component:
    title = html.Span([parts.severity(a.severity), a.title, parts.tlp(a.marking)], className="case-marks")
    told = parts.facts(
        [
            ("Kind", KIND_WORDS[a.kind]),
            ("Technique", parts.mono(a.technique) if a.technique else html.Span("none fits", className="muted")),
            ("Seen by", f"{count(a.members, 'member')}, none is named"),
            ("First seen", parts.time_text(a.first_seen)),
            ("Published", parts.time_text(a.published)),
            ("Received", parts.time_text(a.received)),
            ("On its way for", since(a.published, a.received) if a.received else "not known"),
            ("Our receipt", _receipt(a)),
        ]
    )
    links = parts.link("Own incidents of this kind", f"/incidents?kind={a.kind}&status=all")
    return parts.panel(title, [html.P(a.text, className="explanation"), told], actions=links)


def _receipt(a: Advice) -> Component:
    if a.acknowledged is None:
        return parts.status("not confirmed by Europe yet", "medium")
    return html.Span(["confirmed ", parts.time_text(a.acknowledged)])


def register(app: Registry, centre: Centre) -> None:
    """New alerts appear by themselves."""
    app.follow(PAGE.action, LIST, ("advice",), lambda: read(centre))
