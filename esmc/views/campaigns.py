"""Campaigns: cases of several members that tell one story, with the statistic, the reason and the timeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from dash import Input, Output, State, html

from esmc.store import correlation
from esmc.store.correlation import Campaign, EuropeanIncident
from esmc.views.centre import Europe, ago, technique_text
from model.stix_alert import Alert
from model.time import to_ns
from trust.roles import Action
from web import URL, Page, Registry, params_of, parts, table, tick
from web.chart import chart, figure, marks

PAGE = Page("/campaigns", "Campaigns", "topology-star-3", Action.SEE_EUROPE, "Europe")
BODY = "europe-campaigns-body"

Component = Any


def layout(params: Mapping[str, str], europe: Europe) -> Component:
    """The list, and above it the campaign of the address."""
    told = "One kind of case at several members within the window becomes a campaign; measured and simulated never mix."
    return parts.page("Campaigns", html.Div(body(params, europe), id=BODY, className="stack"), summary=told)


def register(app: Registry, europe: Europe) -> None:
    """The page follows what arrives."""

    @app.callback(
        PAGE.action,
        Output(BODY, "children"),
        Input(tick("campaigns"), "data"),
        Input(tick("advice"), "data"),
        State(URL, "search"),
        prevent_initial_call=True,
    )
    def refresh(_campaigns: Any, _advice: Any, search: str | None) -> Component:
        return body(params_of(search), europe)


def body(params: Mapping[str, str], europe: Europe) -> list[Component]:
    """The chosen campaign, then all of them."""
    wanted = _uuid(params.get("id", ""))
    with europe.read() as conn:
        every, alerts = correlation.campaigns(conn), correlation.alerts(conn)
        chosen = correlation.campaign(conn, wanted) if wanted else None
        cases = correlation.incidents_of(conn, wanted) if wanted else []
    if not every:
        return [parts.empty("No campaign so far", "Cases of several members of one kind open one by themselves.")]
    found = [_detail(chosen, cases, alerts.get(chosen.campaign_id), europe)] if chosen else []
    return [*found, _list(every, alerts, europe)]


def _list(every: Sequence[Campaign], alerts: Mapping[UUID, Alert], europe: Europe) -> Component:
    now = europe.now()
    rows = [
        (
            parts.severity(c.severity),
            parts.link(f"Campaign {c.number}: {c.kind.replace('-', ' ')}", f"/campaigns?id={c.campaign_id}", "strong"),
            technique_text(c.technique),
            html.Span(str(c.members), className="number"),
            html.Span(str(c.incidents), className="number"),
            html.Span(f"{100 * c.probability:.1f} %", className="number"),
            ago(c.last_seen, now),
            parts.status("published", "ok") if c.campaign_id in alerts else parts.status("not told", "muted"),
            parts.provenance("simulated" if c.simulated else "measured"),
        )
        for c in every
    ]
    head = ("Severity", "Campaign", "Technique", "Members", "Cases", "Not by chance", "Last case", "Alert", "Data")
    return parts.panel("All campaigns", table.plain_table(head, rows))


def _detail(campaign: Campaign, cases: Sequence[EuropeanIncident], alert: Alert | None, europe: Europe) -> Component:
    now = europe.now()
    facts = parts.facts(
        [
            ("Severity", parts.severity(campaign.severity)),
            ("Technique", technique_text(campaign.technique)),
            ("Members", html.Span(str(campaign.members), className="number")),
            ("Cases", html.Span(str(campaign.incidents), className="number")),
            ("Stouffer's Z", html.Span(f"{campaign.statistic:.2f}", className="number")),
            ("That this is no chance", html.Span(f"{100 * campaign.probability:.1f} %", className="number")),
            ("First case", parts.time_text(campaign.first_seen)),
            ("Last case", parts.time_text(campaign.last_seen)),
            ("Early alert", parts.link(f"published {ago(alert.published, now)}", "/advice") if alert else "not yet"),
            ("Data", parts.provenance("simulated" if campaign.simulated else "measured")),
        ]
    )
    why = [html.P(campaign.reason, className="explanation"), facts]
    timeline = chart(
        "campaign-timeline", timeline_figure(cases), title="Cases over time", summary="one row per member", height=220
    )
    title = f"Campaign {campaign.number}: {campaign.kind.replace('-', ' ')}"
    return html.Div(
        [
            parts.panel(f"{title} · why we think so", why, actions=parts.link("Close", "/campaigns")),
            parts.panel("Path in time", timeline),
            parts.panel("Evidence: the members' cases", _cases(cases)),
        ],
        className="stack",
    )


def timeline_figure(cases: Sequence[EuropeanIncident]) -> dict[str, Any]:
    """Cases as marks over their last sighting, one row per member; shape and colour say the severity."""
    rows = sorted({c.member for c in cases})
    traces = []
    for level in ("critical", "high", "medium", "low"):
        chosen = [c for c in cases if c.severity == level]
        if chosen:
            x = [to_ns(c.last_seen) / 1e6 for c in chosen]
            y = [float(rows.index(c.member)) for c in chosen]
            mark = marks(level, x, y, severity=level, text=[f"{c.member} {c.case_name}" for c in chosen])
            mark["marker"]["size"] = 14
            traces.append(mark)
    made = figure(traces, unit="", height=220, y_range=(-0.5, max(0.5, len(rows) - 0.5)))
    made["layout"]["yaxis"] |= {"tickvals": list(range(len(rows))), "ticktext": rows}
    made["layout"]["hovermode"] = "closest"
    return made


def _cases(cases: Sequence[EuropeanIncident]) -> Component:
    rows = [
        (
            parts.severity(c.severity),
            html.Span(c.case_name, className="mono nowrap"),
            c.title.split(": ", 1)[-1],
            parts.status(c.status, "muted" if c.status == "false-positive" else "medium"),
            html.Span(f"{c.confidence} %", className="number"),
            html.Span("below 10" if c.sensors is None else str(c.sensors), className="number"),
            parts.time_text(c.first_seen),
            parts.time_text(c.last_seen),
            parts.provenance(c.provenance),
        )
        for c in cases
    ]
    head = ("Severity", "Case", "What", "Verdict", "Confidence", "Devices", "First seen", "Last seen", "Data")
    return table.plain_table(head, rows)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
