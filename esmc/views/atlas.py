"""Europe at a glance: where members report, how grave it is, which campaigns run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from math import sqrt
from typing import Any

from dash import html

from esmc.store import correlation, members, overview
from esmc.store.correlation import Campaign
from esmc.store.overview import Country
from esmc.views.centre import CELL, DAY, LATE, Europe, state_of, technique_text
from trust.roles import Action
from web import Page, Registry, parts, table
from web.chart import EUROPE_FILE, chart, choropleth
from web.theme import tokens

PAGE = Page("/", "Map", "map", Action.SEE_EUROPE, "Europe")
BODY = "europe-map-body"
HEIGHT = 520
SCALE = 1.2

Component = Any


def layout(_params: Mapping[str, str], europe: Europe) -> Component:
    """Figures, map, ranking, campaigns."""
    told = "Cases of the last 24 hours as the members reported them. Counts below ten never reach this centre."
    return parts.page("Europe", html.Div(body(europe), id=BODY, className="stack"), summary=told)


def register(app: Registry, europe: Europe) -> None:
    """The page follows what arrives."""
    app.follow(PAGE.action, BODY, ("campaigns", "incidents", "members"), lambda: body(europe))


def body(europe: Europe) -> list[Component]:
    """Everything below the heading."""
    now = europe.now()
    with europe.read() as conn:
        shown = overview.countries(conn, now - DAY, now - LATE)
        running = [c for c in correlation.campaigns(conn) if c.last_seen >= now - DAY]
        alerts = correlation.alerts(conn)
        states = [state_of(m, now) for m in members.everyone(conn) if m.revoked is None]
    incidents = sum(c.incidents for c in shown)
    cards = parts.figures(
        parts.figure(
            "Campaigns running", str(len(running)), href="/campaigns", tone="critical" if running else "",
            change="in the last 24 h",
        ),
        parts.figure("Cases", str(incidents), href="/campaigns", change="in the last 24 h, false alarms left out"),
        parts.figure(
            "Members reporting", f"{states.count('healthy')}", unit=f"of {len(states)}", href="/members",
            tone="" if states.count("healthy") == len(states) else "high", change="seen within a minute",
        ),
        parts.figure("Early alerts", str(len(alerts)), href="/advice", change="published"),
    )  # fmt: skip
    if not shown:
        return [cards, parts.empty("No members yet", "Enrol the first with app.py esmc enrol.", "users")]
    return [cards, parts.columns(_map(shown), _side(shown, running), widths="minmax(0, 5fr) minmax(300px, 2fr)")]


def visible(country: Country) -> bool:
    """Whether a cell may be shown: three members, or all of them simulated."""
    return country.members >= CELL or country.simulated


def figure(shown: Sequence[Country]) -> dict[str, Any]:
    """The map: risk by colour, cases by the size of the circle, suppressed and silent cells neutral."""
    seen = [c for c in shown if visible(c) and c.reporting]
    made = choropleth(
        {c.code: c.risk for c in seen},
        unit="risk, 0 to 1",
        suppressed=[c.code for c in shown if not visible(c) or not c.reporting],
        members=[c.code for c in shown],
        text={c.code: _hover(c) for c in shown},
        top=1.0,
        height=HEIGHT,
    )
    _fill_panel(made)
    made["data"].append(_circles([c for c in shown if visible(c) and c.incidents]))
    return made


def _fill_panel(made: dict[str, Any]) -> None:
    """Cut the map where its data end, let the panel give the height, put the scale inside, lying."""
    made["layout"].pop("height")
    made["layout"]["geo"] |= {
        "center": {"lon": 9, "lat": 51.5},
        "lonaxis": {"range": [-22, 44]},
        "lataxis": {"range": [36, 66]},
    }
    made["layout"]["geo"]["projection"]["scale"] = SCALE
    made["data"][1]["colorbar"] |= {
        "orientation": "h",
        "x": 0,
        "xanchor": "left",
        "y": 0,
        "yanchor": "bottom",
        "lenmode": "pixels",
        "len": 180,
        "tickvals": [0, 0.5, 1],
        "title": {"text": "risk", "side": "top", "font": {"size": 12}},
    }


def _circles(shown: Sequence[Country]) -> dict[str, Any]:
    look, points = tokens(), [_label_point(c.code) for c in shown]
    return {
        "type": "scattergeo",
        "lon": [p[0] for p in points],
        "lat": [p[1] for p in points],
        "mode": "markers+text",
        "text": [str(c.incidents) for c in shown],
        "hovertext": [_hover(c) for c in shown],
        "hoverinfo": "text",
        "textfont": {"color": look.text, "size": 13},
        "marker": {
            "size": [min(64.0, 18.0 + 8.0 * sqrt(c.incidents)) for c in shown],
            "color": look.panel,
            "opacity": 0.85,
            "line": {"color": look.text, "width": 1.5},
        },
        "showlegend": False,
    }


def _hover(country: Country) -> str:
    if not visible(country):
        return f"{country.code}: suppressed, fewer than {CELL} members"
    if not country.reporting:
        return f"{country.code}: not observed, no member reports"
    return f"{country.code}: {country.incidents} cases, {country.reporting} of {country.members} members report"


def _map(shown: Sequence[Country]) -> Component:
    relaxed = [c.code for c in shown if c.members < CELL and c.simulated]
    rule = "Colour is the mean over a country's members of their gravest case, severity times confidence; the circle "
    rule += f"counts cases. Cells of fewer than {CELL} members are suppressed, and silence is never green."
    note = None
    if relaxed:
        told = f" Rule of {CELL} members relaxed for {', '.join(relaxed)}: all members there are simulated."
        note = html.P([parts.provenance("simulated"), told], className="summary map-note")
    legend = html.Div(
        [
            html.Span("▨ suppressed, or not observed: no member reports"),
            html.Span("○ cases"),
            html.Span("plain: no member"),
        ],
        className="case-marks summary map-legend",
    )
    title, height = "Where it is reported", HEIGHT
    graph = chart("europe-map", figure(shown), title="Risk by country", summary="last 24 h", height=height)
    return parts.panel(title, [graph, legend, note], summary=rule)


def _side(shown: Sequence[Country], running: Sequence[Campaign]) -> Component:
    rows = [
        (
            html.Strong(c.code),
            f"{c.risk:.2f}" if visible(c) and c.reporting else _hover(c).split(": ")[1].split(",")[0],
            html.Span(str(c.incidents) if visible(c) else "–", className="number"),
            html.Span(f"{c.reporting}/{c.members}", className="number"),
        )
        for c in shown[:12]
    ]
    ranking = parts.panel("Highest risk", table.plain_table(("Country", "Risk", "Cases", "Reporting"), rows))
    return html.Div([_campaigns(running), ranking], className="stack")


def _campaigns(running: Sequence[Campaign]) -> Component:
    if not running:
        return parts.panel("Campaigns", parts.empty("No campaign runs", "Cases of several members would open one."))
    rows = [_campaign(c) for c in running[:6]]
    return parts.panel("Campaigns", html.Ul(rows, className="urgent"))


def _campaign(c: Campaign) -> Component:
    marks = [parts.severity(c.severity), parts.provenance("simulated") if c.simulated else None]
    told = f"{c.members} members, {c.incidents} cases · {technique_text(c.technique)}"
    name = f"Campaign {c.number}: {c.kind.replace('-', ' ')}"
    return html.Li(
        [
            html.Div(marks, className="case-marks"),
            parts.link(name, f"/campaigns?id={c.campaign_id}", "strong"),
            html.Div(told, className="muted"),
        ],
        className="campaign-row",
    )


def _label_point(code: str) -> tuple[float, float]:
    """Longitude and latitude, degrees, where a country's label goes."""
    return _points().get(code, (10.0, 50.0))


@cache
def _points() -> dict[str, tuple[float, float]]:
    shapes = json.loads(EUROPE_FILE.read_bytes())["features"]
    return {shape["id"]: (shape["properties"]["cx"], shape["properties"]["cy"]) for shape in shapes}
