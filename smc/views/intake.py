"""What comes in: the streams and who is missing in them, rates, the stages' heartbeats, and every refused message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from dash import html

from smc.store import flow, health, overview
from smc.store import quarantine as refused
from smc.store.flow import RateBucket
from smc.store.health import StageHealth
from smc.store.overview import Coverage
from smc.store.quarantine import Quarantined, Refused
from smc.views import marks
from smc.views.centre import Centre
from smc.views.state import ListState, list_state
from smc.views.words import age, count, counted, hex_dump, moment_ms, number, since, size_of
from trust.roles import Action
from web import Page, Registry, chart, parts, table

PAGE = Page("/intake", "Intake", "database-import", Action.SEE_INTAKE, "Flow")
LIVE = "intake-live"
RATE_SPAN, RATE_STEP = timedelta(minutes=30), timedelta(seconds=30)
LATE_S, SILENT_S = 10.0, 60.0
# What matters of each stage, with its unit; the other counters are one click away.
TOLD: Mapping[str, Mapping[str, str]] = {
    "intake": {"rows_new": "rows stored", "readings": "meter readings", "frames": "frames", "links_up": "links up"},
    "store": {"rows_new": "rows stored", "messages": "messages", "waiting": "messages waiting on the bus"},
    "replay": {"rows_new": "rows stored", "frames": "frames", "rounds": "rounds"},
    "detect": {"blocks": "blocks", "readings": "rows judged", "findings": "findings"},
    "triage": {"findings": "findings", "incidents_opened": "incidents opened"},
    "decide": {"proposed": "playbooks proposed"},
    "act": {"dry_runs": "dry runs"},
    "federate": {"sent": "messages sent", "advice": "alerts received"},
}
WRONG = {
    *("quarantined", "messages_refused", "frames_missing", "frames_back", "gaps", "rows_conflicting"),
    *("failed", "refused", "lost"),
}

Component = Any


def layout(params: Mapping[str, str], centre: Centre) -> Component:
    """Live part above, the quarantine of the address's time below."""
    state = list_state(params)
    body = [html.Div(live(centre), id=LIVE, className="stack"), *quarantine(centre, state)]
    summary = "Streams, rates, stages, and every message that was refused, with its bytes."
    return parts.page("Intake", body, summary=summary)


def live(centre: Centre) -> list[Component]:
    """What changes by itself."""
    now = centre.now()
    with centre.read() as conn:
        rates = flow.intake_rates(conn, now - RATE_SPAN, now, RATE_STEP)
        sources = overview.coverage_by_source(conn, now)
        stages = health.all_stages(conn)
    return [parts.columns(_rates(rates), _stages(stages, now)), _sources(sources, now)]


def _rates(rates: Sequence[RateBucket]) -> Component:
    step_s = RATE_STEP.total_seconds()
    whole = rates[:-1]  # the last interval is not over yet
    frames, readings = [r.frames / step_s for r in whole], [r.readings / step_s for r in whole]
    if not any(frames) and not any(readings):
        said = "nothing was received in the last 30 minutes: see which stage is late, and whether the links are up"
        return parts.panel("Rate of intake (rows/s)", parts.not_observed(said))
    x = [(r.start + RATE_STEP / 2).timestamp() * 1e3 for r in whole]
    lines = [
        chart.line("PMU frames", x, frames, colour="accent"),
        chart.line("meter readings", x, readings, colour="medium"),
    ]
    figure = chart.figure(lines, unit="rows/s", height=340)
    summary = f"Now {number(frames[-1], 3)} frames/s and {number(readings[-1], 3)} readings/s, means of 30 s."
    rows = [(moment_ms(r.start), f"{f:.2f}", f"{m:.2f}") for r, f, m in zip(whole, frames, readings, strict=True)]
    return html.Section(
        [
            chart.chart("intake-rates", figure, title="Rate of intake (rows/s)", summary=summary, height=340),
            marks.as_table(("From", "Frames/s", "Readings/s"), rows[::-1]),
        ],
        className="panel",
    )


def _stages(stages: Sequence[StageHealth], now: datetime) -> Component:
    if not stages:
        said = parts.empty("No stage has reported", "Start the stages: python app.py smc stages.")
        return parts.panel("Stages", said)
    rows = [
        (
            html.Strong(s.stage),
            stage_state(s.age_s),
            html.Span(f"{age(s.age_s)} ago", className="number"),
            html.Span(since(s.started, now), className="number"),
            counters(s, now),
        )
        for s in stages
    ]
    head = ("Stage", "State", "Heartbeat", "Running for", "Since its start")
    return parts.panel(
        "Stages", table.plain_table(head, rows), summary="A stage is late after 10 s without a heartbeat."
    )


def stage_state(age_s: float) -> Component:
    """Healthy, late or silent by the age of the heartbeat in seconds."""
    if age_s <= LATE_S:
        return parts.status("healthy")
    return parts.status("late" if age_s <= SILENT_S else "silent")


def _told(stage: str) -> Mapping[str, str]:
    """What matters of a stage; workers are many of one kind: store-1, store-2."""
    return TOLD.get(stage.partition("-")[0], {})


def counters(stage: StageHealth, now: datetime) -> Component:
    """What a stage did in a few words with units, what went wrong in it, and every other counter on demand."""
    found = {name: value for name, value in stage.counters.items() if value}
    told = [f"{counted(found[name])} {words}" for name, words in _told(stage.stage).items() if name in found]
    rows = found.get("rows_new", 0.0)
    seconds = (now - stage.started).total_seconds()
    if rows and seconds >= 1.0:
        told.append(f"mean {number(rows / seconds, 3)} rows/s")
    wrong = [f"{counted(value)} {name.replace('_', ' ')}" for name, value in found.items() if name in WRONG]
    listed = " · ".join(f"{name.replace('_', ' ')} {counted(value)}" for name, value in sorted(found.items()))
    shown: list[Component] = [html.Div(" · ".join(told) or "nothing to do so far")]
    shown += [html.Div(" · ".join(wrong), className="chip tone-high counted-wrong")] if wrong else []
    if len(found) > len(told):
        shown.append(html.Details([html.Summary("All counters"), html.Div(listed, className="muted")]))
    return html.Div(shown, className="counted")


def _sources(sources: Sequence[Coverage], now: datetime) -> Component:
    if not sources:
        return parts.panel(
            "Streams", parts.empty("No stream is known", "Streams appear with the first enrolled device.")
        )
    rows = [
        (
            html.Span(
                [html.Span(s.group, className="mono"), *marks.origin_marks([s.provenance])], className="case-marks"
            ),
            s.kind,
            marks.hatched_share(s.reporting, s.enrolled, s.seen),
            html.Span(f"{s.reporting:,} / {s.enrolled:,}", className="number"),
            f"{since(s.received, now)} ago" if s.received else "never",
        )
        for s in sources
    ]
    listed = table.plain_table(("Protocol and gateway", "Kind", "Coverage", "Reporting", "Newest"), rows)
    return parts.panel("Streams", listed, summary="Per way in: how many of its enrolled devices report now.")


def quarantine(centre: Centre, state: ListState) -> list[Component]:
    """Refused messages by reason, then one by one, then the bytes of the opened one."""
    start, end = state.span.resolve(centre.now())
    with centre.read() as conn:
        reasons = refused.by_reason(conn, start, end)
        found = refused.between(conn, start, end, state.words)
        opened = refused.get(conn, UUID(state.opened)) if _is_id(state.opened) else None
    if not reasons:
        said = parts.empty("Nothing was refused in the last 24 hours", "", "circle-check")
        return [parts.panel("Quarantine", said)]
    shown = [parts.panel("Refused by reason and origin", _by_reason(reasons), summary=_refused_words(reasons))]
    shown += [_opened(opened)] if opened else []
    return [*shown, parts.panel("Quarantined messages", _specimens(found, state))]


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def _refused_words(reasons: Sequence[Refused]) -> str:
    total = sum(r.count for r in reasons)
    return f"{count(total, 'message')} refused in 24 h for {count(len({r.reason for r in reasons}), 'reason')}."


def _by_reason(reasons: Sequence[Refused]) -> Component:
    rows = [
        (
            parts.link(r.reason, f"/intake?q={r.reason}", "mono"),
            r.link,
            parts.mono(r.peer),
            html.Span(f"{r.count:,}", className="number"),
            parts.time_text(r.last_received),
        )
        for r in reasons
    ]
    return table.plain_table(("Reason", "Link", "Origin", "Messages", "Last"), rows)


def _specimens(found: Sequence[Quarantined], state: ListState) -> Component:
    keep = f"&q={state.words}" if state.words else ""
    rows = [
        (
            parts.time_text(s.last_received),
            parts.link(s.reason, f"/intake?open={s.quarantine_id}{keep}", "mono"),
            parts.mono(s.peer),
            f"{s.what} is {s.value}, expected {s.expected}",
            html.Span(f"{s.count:,} × {size_of(s.size)}", className="number nowrap"),
            html.Span(s.data[:12].hex(" "), className="mono nowrap"),
        )
        for s in found
    ]
    head = ("Last received", "Reason, opens its bytes", "Origin", "What was wrong", "Size", "First bytes")
    return table.plain_table(head, rows)


def _opened(s: Quarantined) -> Component:
    facts = parts.facts(
        [
            ("Reason", parts.mono(s.reason)),
            ("Origin", parts.mono(f"{s.link} {s.peer}")),
            ("What was wrong", f"{s.what} is {s.value}, expected {s.expected}"),
            ("Received", parts.time_text(s.received)),
            ("Times", f"{s.count:,}"),
            ("Size", size_of(s.size)),
        ]
    )
    bytes_view = html.Pre(hex_dump(s.data), className="bytes", tabIndex=0)
    close = parts.link("Close", "/intake")
    return parts.panel("One refused message, byte for byte", [facts, bytes_view], actions=close, class_name="opened")


def register(app: Registry, centre: Centre) -> None:
    """The live part follows the clock."""
    app.follow(PAGE.action, LIVE, ("figures",), lambda: live(centre))
