"""Early alerts and who has answered them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from dash import html

from esmc.store import correlation, members
from esmc.store.correlation import Acknowledgement
from esmc.store.members import Member
from esmc.views.centre import Europe, ago, technique_text
from model.stix_alert import Alert
from trust.roles import Action
from web import Page, Registry, parts, table

PAGE = Page("/advice", "Advice", "broadcast", Action.SEE_EUROPE, "Europe")
BODY = "europe-advice-body"
DUE = timedelta(seconds=60)  # by then a member should have answered
TONES = {"received": "low", "read": "accent", "acted": "ok", "not-applicable": "muted"}

Component = Any


def layout(_params: Mapping[str, str], europe: Europe) -> Component:
    """One panel per alert, the newest first."""
    told = "Alerts carry counts, never a member's name. They are data, not commands: each member decides for itself."
    return parts.page("Advice", html.Div(body(europe), id=BODY, className="stack"), summary=told)


def register(app: Registry, europe: Europe) -> None:
    """The page follows what arrives."""
    app.follow(PAGE.action, BODY, ("advice",), lambda: body(europe))


def body(europe: Europe) -> list[Component]:
    """Alerts with the answers of all members in force."""
    with europe.read() as conn:
        alerts = list(correlation.alerts(conn).values())
        answers = correlation.acknowledgements(conn)
        every = [m for m in members.everyone(conn) if m.revoked is None]
    if not alerts:
        return [
            parts.empty("No early alert so far", "A campaign of enough members publishes one by itself.", "broadcast")
        ]
    return [_alert(alert, answers, every, europe.now()) for alert in alerts[:50]]


def latest(alert: Alert, answers: Sequence[Acknowledgement]) -> dict[str, Acknowledgement]:
    """The last answer of each member to the version in force."""
    return {a.member: a for a in answers if a.alert_id == alert.alert_id and a.version == alert.published}


def _alert(alert: Alert, answers: Sequence[Acknowledgement], every: Sequence[Member], now: datetime) -> Component:
    given = latest(alert, answers)
    marks = html.Div(
        [
            parts.severity(alert.severity),
            parts.tlp(alert.marking),
            parts.provenance("simulated" if alert.simulated else "measured"),
            html.Span(technique_text(alert.technique), className="muted"),
            html.Span(["Published ", parts.time_text(alert.published)], className="muted"),
        ],
        className="case-marks",
    )
    rows = [_answer(m, given.get(m.code), alert, now) for m in every]
    count = f"{len(given)} of {len(every)} members have answered this version."
    return parts.panel(
        alert.title,
        [marks, html.P(alert.text, className="explanation alert-text"),
         table.plain_table(("Member", "Answer", "Stated", "After"), rows, caption=count)],
    )  # fmt: skip


def _answer(member: Member, answer: Acknowledgement | None, alert: Alert, now: datetime) -> tuple[Component, ...]:
    if answer is None:
        late = now - alert.published > DUE
        chip = parts.status("overdue" if late else "awaited", "high" if late else "muted")
        return (html.Strong(member.code), chip, f"last seen {ago(member.last_seen, now)}", "–")
    delay_s = max(0.0, (answer.received - alert.published).total_seconds())
    stated = parts.time_text(answer.stated)
    return (html.Strong(member.code), parts.status(answer.state, TONES.get(answer.state, "muted")), stated,
            html.Span(f"{delay_s:.1f} s", className="number"))  # fmt: skip
