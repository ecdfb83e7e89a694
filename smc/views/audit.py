"""Who did what, when, to which thing: the audit chain with its hashes, and whether the chain holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dash import Input, Output, State, html, no_update

from smc.store import flow
from smc.store.flow import AuditRow
from smc.views.centre import Centre
from smc.views.state import ListState, Span, list_state
from smc.views.words import count
from trust.audit import AuditBroken
from trust.roles import Action
from trust.store import verify_audit
from web import URL, Page, Registry, fields, parts, table

PAGE = Page("/audit", "Audit", "list-check", Action.SEE_AUDIT, "House", keeps_state=True)
ROWS = 100
LIST, WORDS, SPAN, PAGES, CHECK, VERDICT = (
    "audit-list",
    "audit-words",
    "audit-span",
    "audit-pages",
    "audit-check",
    "audit-verdict",
)
SPANS = {"now-24h": "last 24 h", "now-7d": "last 7 d", "now-30d": "last 30 d", "now-365d": "last year"}

Component = Any


def layout(params: Mapping[str, str], centre: Centre) -> Component:
    """Filters, the lines, and a button that proves the chain."""
    state = list_state(params)
    rows, total = read(centre, state)
    body = [
        fields.filters(
            fields.search(WORDS, state.words, "who, what, case"),
            fields.choice(SPAN, "Time", state.span.start, SPANS, 140, other="chosen time"),
        ),
        html.Div(id=VERDICT, role="status", className="told"),
        html.Div(listed(rows, total), id=LIST),
        fields.pager(PAGES, total, ROWS, state.page),
    ]
    check = parts.button("Check the whole chain", CHECK, icon_name="shield-check")
    summary = "Append-only; each line carries the hash of the one before, so an edit or a gap shows."
    return parts.page("Audit", body, summary=summary, actions=check)


def read(centre: Centre, state: ListState) -> tuple[list[AuditRow], int]:
    """Lines of the address, and how many match."""
    start, end = state.span.resolve(centre.now())
    with centre.read() as conn:
        return flow.audit_rows(conn, start, end, state.words, ROWS, (state.page - 1) * ROWS)


def listed(rows: Sequence[AuditRow], total: int) -> Component:
    """The lines, the newest first."""
    if not rows:
        return parts.empty("No line in this time", "Choose a longer time or another search.")
    cells = [
        (
            html.Span(f"{r.number:,}", className="number"),
            parts.time_text(r.at),
            html.Strong(r.actor),
            r.action,
            parts.mono(r.object),
            html.Span(detail_words(r.detail), className="muted"),
            html.Span(r.hash.hex()[:12], className="mono muted", title=r.hash.hex()),
        )
        for r in rows
    ]
    head = ("№", "Time", "Who", "Did", "To what", "Detail", "Hash")
    return html.Div([html.P(count(total, "line"), className="muted"), table.plain_table(head, cells)])


def detail_words(detail: Mapping[str, Any]) -> str:
    """A detail for people: "to: acknowledged · reason: …"."""
    return " · ".join(f"{k}: {v if isinstance(v, str) else json.dumps(v)}" for k, v in detail.items() if v != "")


def verdict(centre: Centre) -> Component:
    """Walk the whole chain and say whether it holds."""
    try:
        with centre.read() as conn:
            head = verify_audit(conn)
    except AuditBroken as error:
        return html.Span([parts.icon("alert-circle"), f" The chain is broken: {error}"], className="tone-critical")
    told = f" The chain holds: {count(head.number, 'line')}, head {head.hash.hex()[:16]}…"
    return html.Span([parts.icon("shield-check"), told], className="tone-ok")


def register(app: Registry, centre: Centre) -> None:
    """Filters to the address, the address to the lines, and the proof."""

    @app.callback(
        Action.SEE_AUDIT,
        Output(URL, "search", allow_duplicate=True),
        Input(WORDS, "value"),
        Input(SPAN, "value"),
        Input(PAGES, "value"),
        State(URL, "search"),
        prevent_initial_call=True,
    )
    def filtered(words: str, span: str, page: int, search: str | None) -> Any:
        before = list_state(search)
        after = replace(
            before, words=(words or "").strip(), span=before.span if span == before.span.start else Span(span)
        )
        after = replace(after, page=page if after == before else 1)
        return no_update if after == before else after.query() or "?"

    @app.callback(
        Action.SEE_AUDIT,
        Output(LIST, "children"),
        Output(PAGES, "total"),
        Input(URL, "search"),
        prevent_initial_call=True,
    )
    def refresh(search: str | None) -> Any:
        rows, total = read(centre, list_state(search))
        return listed(rows, total), fields.pages_of(total, ROWS)

    @app.callback(Action.SEE_AUDIT, Output(VERDICT, "children"), Input(CHECK, "n_clicks"), prevent_initial_call=True)
    def check(_clicks: int | None) -> Component:
        return verdict(centre)
