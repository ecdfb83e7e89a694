"""A small desk that uses every part of the frame; the tests and the eye look at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import numpy as np
from dash import Input, Output, html
from sqlalchemy import Engine

from model.device import Provenance
from model.finding import Severity
from model.marking import Tlp
from trust.roles import Action
from web import URL, Page, Registry, chart, params_of, parts, table, tick
from web.frame import Frame, create

START = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Settings:
    """Settings of the sample."""

    session_idle_s: float = 900.0
    session_max_s: float = 43_200.0
    secure_cookies: bool = False
    simulated: bool = True


def overview(_params: Mapping[str, str], _queries: Any) -> Any:
    seconds = np.arange(240)
    x = chart.epoch_ms(np.int64(START.timestamp() * 1e9) + seconds.astype(np.int64) * 1_000_000_000)
    expected = 2000 + 300 * np.sin(seconds / 30)
    observed = expected + np.where(seconds > 160, -700, 0) + 20 * np.cos(seconds)
    bad = seconds[170::20]
    traces = [
        *chart.band(x, expected - 80, expected + 80),
        chart.line("meter", x, observed),
        chart.marks("finding", x[bad], observed[bad], severity="critical"),
    ]
    drawn = chart.figure(traces, unit="active power (W)", spans=[(float(x[160]), float(x[-1]), "critical")])
    figures = parts.figures(
        parts.figure("Open incidents", "7", change="2 more than yesterday", trend=[1, 2, 2, 4, 3, 7], href="/list"),
        parts.figure("Critical, nobody assigned", "1", tone="critical", href="/list?sev=critical"),
        parts.figure("Clocks running", "2", change="next ends in 3 h"),
        parts.figure("Devices reporting", "248", unit="of 250", trend=[250, 250, 249, float("nan"), 248]),
        parts.figure("Streams healthy", "3", unit="of 3", tone="ok"),
    )
    steps = [
        parts.Step("Look at both meters", "Compare the register with the phasor unit.", "done"),
        parts.Step("Approve", "A second person approves.", "now"),
        parts.Step("Isolate", "Dry run."),
    ]
    return parts.page(
        "Overview",
        [
            figures,
            parts.columns(
                parts.panel(
                    "Why we think so",
                    chart.chart(
                        "power", drawn, title="Meter against phasor unit", summary="700 W less since 10:02:40 UTC."
                    ),
                ),
                parts.panel(
                    "Needs you now", [parts.stepper(steps), parts.button("Approve", "approve", kind="primary")]
                ),
                widths="minmax(0, 3fr) minmax(0, 2fr)",
            ),
            parts.columns(
                parts.panel(
                    "Marks",
                    html.Div([*map(parts.severity, Severity), *map(parts.provenance, Provenance)], className="actions"),
                ),
                parts.panel("Sharing", html.Div([*map(parts.tlp, Tlp)], className="actions")),
                parts.panel("Coverage", parts.not_observed("feeder 7 not observed")),
            ),
            parts.panel(
                "Facts",
                parts.facts(
                    [
                        ("Device", parts.mono("urn:dev:norm:0001:meter")),
                        ("Since", parts.time_text(START)),
                        ("Status", parts.status("investigating")),
                    ]
                ),
            ),
            parts.empty("No advice from Europe yet", "It appears here within seconds of being published."),
            parts.error("0123456789ab"),
        ],
        summary="What the grid's own measurements say about its security.",
    )


ROWS = [
    {
        "id": str(i),
        "case": f"DSO-0001/case-{i:06d}",
        "case_href": f"/?case={i}",
        "severity": s,
        "status": t,
        "title": "Meter reads 700 W less than the phasors",
        "seen": START.isoformat(),
        "score": 3.5 + i,
    }
    for i, (s, t) in enumerate(
        [("critical", "new"), ("high", "investigating"), ("medium", "contained"), ("low", "closed-benign")]
    )
]


def listing(params: Mapping[str, str], _queries: Any) -> Any:
    columns = [
        table.Column("severity", "Severity", "severity", 120),
        table.Column("case", "Case", "link", 190),
        table.Column("title", "What"),
        table.Column("status", "Status", "status", 150),
        table.Column("seen", "Seen", "time", 210),
        table.Column("score", "Score", "number", 90),
    ]
    rows = [row for row in ROWS if params.get("sev") in (None, row["severity"])]
    return parts.page(
        "Incidents",
        [
            parts.panel("Queue", table.table("queue", columns, rows, selection="single")),
            html.Div("-", id="picked"),
            html.Div("-", id="ticked"),
        ],
    )


def register_listing(app: Registry, _queries: Any) -> None:
    @app.callback(
        Action.TRIAGE_INCIDENT, Output("picked", "children"), Input("queue", "selectedRows"), prevent_initial_call=True
    )
    def pick(rows: list[dict[str, Any]] | None) -> str:
        return str([row["case"] for row in rows or []])

    @app.callback(
        Action.SEE_INCIDENTS, Output("ticked", "children"), Input(tick("incidents"), "data"), Input(URL, "search")
    )
    def ticked(version: int | None, search: str | None) -> str:
        return f"version {version} {sorted(params_of(search))}"


def europe(_params: Mapping[str, str], _queries: Any) -> Any:
    drawn = chart.choropleth({"DE": 4.0, "FR": 1.5, "IT": 3.0}, unit="incidents per 100 members", suppressed=["LU"])
    return parts.page(
        "Europe", parts.panel("Risk", chart.chart("map", drawn, title="Incidents per country", height=460))
    )


def accounts(_params: Mapping[str, str], _queries: Any) -> Any:
    raise RuntimeError("a page that fails")


def nothing(_app: Registry, _queries: Any) -> None:
    """Pages without callbacks."""


PAGES = [
    SimpleNamespace(
        PAGE=Page("/", "Overview", "layout-dashboard", Action.SEE_OVERVIEW, "Watch"), layout=overview, register=nothing
    ),
    SimpleNamespace(
        PAGE=Page("/list", "Incidents", "alert-triangle", Action.SEE_INCIDENTS, "Watch"),
        layout=listing,
        register=register_listing,
    ),
    SimpleNamespace(
        PAGE=Page("/europe", "Europe", "map", Action.SEE_OVERVIEW, "Share"), layout=europe, register=nothing
    ),
    SimpleNamespace(
        PAGE=Page("/accounts", "Accounts", "users", Action.MANAGE_ACCOUNTS, "Keep"), layout=accounts, register=nothing
    ),
]


def sample(engine: Engine, settings: Settings | None = None, versions: Any = None) -> Frame:
    return create(
        "Sample centre",
        "SAMPLE",
        PAGES,
        engine,
        settings or Settings(),
        None,
        topics=("incidents",),
        versions=versions or (lambda: {"incidents": 1}),
    )
