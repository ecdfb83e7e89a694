"""Members: who reports, how far behind, what was refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from dash import html

from esmc.store import health, intake, members, overview
from esmc.store.intake import Quarantined
from esmc.store.members import Member
from esmc.views.centre import DAY, Europe, ago, state_of
from trust.roles import Action
from web import Page, Registry, parts, table

PAGE = Page("/members", "Members", "users", Action.SEE_EUROPE, "Europe")
BODY = "europe-members-body"
TONES = {"healthy": "ok", "late": "high", "silent": "critical", "never seen": "muted", "revoked": "muted"}

Component = Any


def layout(_params: Mapping[str, str], europe: Europe) -> Component:
    """The members, then what was refused."""
    told = "A member is late after one minute without a poll, silent after ten. Silence is not good news."
    return parts.page("Members", html.Div(body(europe), id=BODY, className="stack"), summary=told)


def register(app: Registry, europe: Europe) -> None:
    """The page follows what arrives."""
    app.follow(PAGE.action, BODY, ("members",), lambda: body(europe))


def body(europe: Europe) -> list[Component]:
    """Members, stages, quarantine."""
    now = europe.now()
    with europe.read() as conn:
        every = members.everyone(conn)
        counts = overview.incident_counts(conn, now - DAY)
        refused, reasons = intake.quarantined(conn, 50), intake.quarantine_counts(conn)
        stages = health.all_stages(conn)
    if not every:
        return [parts.empty("No members yet", "Enrol the first with app.py esmc enrol.", "users")]
    alive = "; ".join(f"{s.stage}: {s.age_s:.0f} s ago" for s in stages) or "no stage has reported"
    return [_table(every, counts, now), _refused(refused, reasons), html.P(f"Stages: {alive}", className="summary")]


def _table(every: Sequence[Member], counts: Mapping[str, int], now: datetime) -> Component:
    rows = [
        (
            html.Strong(m.code),
            m.name,
            f"{m.country}, {m.area}",
            parts.status(state_of(m, now), TONES[state_of(m, now)]),
            ago(m.last_seen, now),
            html.Span(str(counts.get(m.code, 0)), className="number"),
            html.Span(str(m.outbox), className="number"),
            html.Span(str(m.errors), className="number"),
            m.last_error or "–",
            parts.provenance("simulated" if m.simulated else "measured"),
        )
        for m in every
    ]
    head = (
        *("Member", "Name", "Where", "State", "Last seen", "Cases, 24 h", "Envelopes", "Refused"),
        *("Last error", "Data"),
    )
    return parts.panel("Members", table.plain_table(head, rows))


def _refused(refused: Sequence[Quarantined], reasons: Mapping[str, int]) -> Component:
    if not refused:
        return parts.panel("Refused", parts.empty("Nothing was refused", "", "shield-check"))
    rows = [
        (
            parts.time_text(q.received),
            parts.mono(q.peer),
            parts.status(q.reason, "high"),
            q.detail,
            html.Span(f"{q.size} B", className="number"),
        )
        for q in refused
    ]
    summary = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    return parts.panel(
        "Refused", table.plain_table(("When", "From", "Reason", "What", "Size"), rows), summary=f"In all: {summary}."
    )
