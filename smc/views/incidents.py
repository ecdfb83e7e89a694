"""The queue: filters in the address, a dense grid, the selected incident beside it; it lives without losing a thing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from dash import Input, Output, State, ctx, dcc, html, no_update

from model.finding import Severity
from smc.store import desk
from smc.store.desk import QueuePage
from smc.views import detail, marks, queue
from smc.views.centre import Centre
from smc.views.queue import Id, Listed
from smc.views.state import QueueState, Span, queue_state
from trust.roles import Action
from web import URL, Page, Registry, fields, parts, session, tick

PAGE = Page("/incidents", "Incidents", "alert-triangle", Action.SEE_INCIDENTS, "Watch", keeps_state=True)
Component = Any


def layout(params: Mapping[str, str], centre: Centre) -> Component:
    """The page for the filters of the address."""
    state = queue_state(params)
    page = read(centre, state, centre.now())
    chosen = detail.incident_of(f"?sel={state.selected}")
    case = detail.read_case(centre, chosen) if chosen else None
    rows = queue.grid_rows(page.rows, centre.now())
    left = html.Div(
        [
            queue.filters(state, session().name),
            html.Div(
                [
                    html.Span(queue.total_words(page, state), id=Id.TOTAL, className="muted", role="status"),
                    html.Button("", id=Id.NEWS, className="news", type="button", hidden=True),
                ],
                className="queue-told",
            ),
            queue.grid(rows, state),
            html.Div(id=Id.CARDS, className="cards"),
            fields.pager(Id.PAGES, page.total, queue.ROWS, state.page),
            dcc.Store(id=Id.SHOWN, data=queue.shown(rows, state)),
        ],
        className="queue-list",
    )
    summary = html.Span("J and K move, Enter opens, / searches, ? lists the keys.", className="only-wide")
    return parts.page(
        "Incidents",
        html.Div([left, html.Div(detail.skeleton(case, centre), className="queue-side")], className="queue"),
        summary=summary,
        actions=html.Span(marks.origin_marks([r.provenance for r in page.rows]), className="case-marks"),
    )


def read(centre: Centre, state: QueueState, now: datetime) -> QueuePage:
    """The page of the queue that the address asks for."""
    with centre.read() as conn:
        return desk.queue(conn, state.filter(now), queue.ROWS, (state.page - 1) * queue.ROWS)


def listing(centre: Centre, state: QueueState) -> Listed:
    """The list of the address. After a change every open desk asks for the same one; their selections do not matter,
    and all who may see incidents see the same, so it is read and packed once."""
    now, asked = centre.second(), state.select(None)
    return centre.shared(("queue", asked, now), lambda: queue.listed(read(centre, asked, now), asked, now))


def register(app: Registry, centre: Centre) -> None:
    """Filters to the address, the address to the list, the selection to the address; and the incident beside it."""
    _register_filters(app)
    _register_list(app, centre)
    _register_selection(app)
    detail.register(app, centre)


def _register_filters(app: Registry) -> None:
    @app.callback(
        Action.SEE_INCIDENTS,
        Output(URL, "search"),
        Input(Id.WORDS, "value"),
        Input(Id.STATUSES, "value"),
        Input(Id.WHO, "value"),
        Input(Id.SPAN, "value"),
        Input(Id.SORT, "value"),
        Input(Id.SEVERITIES, "value"),
        Input(Id.PAGES, "value"),
        State(URL, "search"),
        prevent_initial_call=True,
    )
    def filtered(
        words: str, statuses: str, who: str, span: str, sort: str, severities: list[str], page: int, search: str
    ) -> Any:
        before = queue_state(search)
        after = replace(
            before,
            words=(words or "").strip(),
            statuses=before.statuses if statuses == queue.status_choice(before) else queue.STATUS_CHOICES[statuses],
            assignee="" if who == "anybody" else who,
            span=before.span if span == before.span.start else Span(span),
            sort=sort,
            severities=tuple(s for s in Severity if s in (severities or ())),
        )
        after = replace(after, page=page if after == before else 1)
        return no_update if after == before else after.query()


def _register_list(app: Registry, centre: Centre) -> None:
    app.clientside(
        Action.SEE_INCIDENTS, "desk", "cards", Output(Id.CARDS, "children"), Input(Id.GRID, "rowData")
    )  # in the browser: half of the callback's cost was making and packing the cards of screens that do not show them

    @app.callback(
        Action.SEE_INCIDENTS,
        Output(Id.GRID, "rowData"),
        Output(Id.TOTAL, "children"),
        Output(Id.PAGES, "total"),
        Output(Id.SHOWN, "data"),
        Output(Id.NEWS, "children"),
        Output(Id.NEWS, "hidden"),
        Input(URL, "search"),
        Input(tick("incidents"), "data"),
        Input(Id.NEWS, "n_clicks"),
        State(Id.SHOWN, "data"),
        prevent_initial_call=True,
    )
    def listed(search: str | None, _tick: Any, _news: Any, shown: dict[str, Any]) -> Any:
        state = queue_state(search)
        if from_only(URL) and shown["query"] == state.select(None).query():
            return [no_update] * 6  # only the selection changed: touching the rows now could take it back
        found = listing(centre, state)
        if state.selected and from_only(tick("incidents")):
            rows, fresh = queue.held(found.rows, shown["ids"])
            told = f"{fresh} new, show" if fresh else ""
            return rows, found.words, no_update, no_update, told, not fresh
        return found.packed, found.words, found.pages, found.shown, "", True


def from_only(source: str) -> bool:
    """Whether nothing but this component set the callback off."""
    return {t["prop_id"].split(".")[0] for t in ctx.triggered} == {source}


def _register_selection(app: Registry) -> None:
    @app.callback(
        Action.SEE_INCIDENTS,
        Output(URL, "search", allow_duplicate=True),
        Input(Id.GRID, "selectedRows"),
        State(URL, "search"),
        prevent_initial_call=True,
    )
    def selected(chosen: list[dict[str, Any]] | None, search: str | None) -> Any:
        state = queue_state(search)
        wanted = str(UUID(chosen[0]["id"])) if chosen else ""
        return no_update if wanted == state.selected else state.select(wanted).query() or "?"
