"""The first page: five figures, who reports, what needs a person now, findings over time, the top of the queue."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from dash import html

from model.finding import Severity
from smc.store import desk, flow, health, overview
from smc.store.desk import QueueFilter, QueueRow
from smc.store.overview import Bucket, Coverage, Urgent, Watch
from smc.views import marks
from smc.views.centre import Centre
from smc.views.state import OPEN
from smc.views.words import case_name, count, since
from trust.roles import Action
from web import Page, Registry, chart, parts, table

PAGE = Page("/", "Overview", "layout-dashboard", Action.SEE_OVERVIEW, "Watch")
BODY = "overview-body"
TREND = timedelta(minutes=30)
HISTORY, STEP = timedelta(hours=24), timedelta(minutes=30)
STAGE_LATE_S = 10.0

Component = Any


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything the page shows, read in one transaction."""

    now: datetime
    watch: Watch
    opened_today: int
    feeders: tuple[Coverage, ...]
    sources: tuple[Coverage, ...]
    rates: tuple[flow.RateBucket, ...]
    urgent: tuple[Urgent, ...]
    buckets: tuple[Bucket, ...]
    top: tuple[QueueRow, ...]
    top_total: int
    stages: int
    stages_late: tuple[str, ...]
    site: str


def read(centre: Centre) -> Overview:
    """Everything the overview shows; read once for all who look at the same time, there is nothing personal in it."""
    now = centre.second()
    return centre.shared(("overview", now), lambda: _read(centre, now))


def _read(centre: Centre, now: datetime) -> Overview:
    with centre.read() as conn:
        queue = desk.queue(conn, QueueFilter(now - timedelta(days=7), now, statuses=OPEN), limit=8)
        stages = health.all_stages(conn)
        return Overview(
            now,
            overview.watch(conn),
            overview.incidents_opened(conn, now - HISTORY, now),
            tuple(overview.coverage_by_feeder(conn, now)),
            tuple(overview.coverage_by_source(conn, now)),
            tuple(flow.intake_rates(conn, now - TREND, now, timedelta(minutes=1))),
            tuple(overview.urgent(conn)),
            tuple(overview.findings_over_time(conn, now - HISTORY, now, STEP)),
            queue.rows,
            queue.total,
            len(stages),
            tuple(s.stage for s in stages if s.age_s > STAGE_LATE_S),
            centre.settings.site,
        )


def layout(_params: Mapping[str, str], centre: Centre) -> Component:
    """The page; its body is replaced as figures change."""
    name = centre.settings.site_name or centre.settings.site
    summary = f"{name} · {centre.settings.site} · {centre.settings.area}"
    seen = read(centre)
    told = html.Span(marks.origin_marks([c.provenance for c in seen.feeders]), className="case-marks")
    return parts.page("Overview", html.Div(body(seen), id=BODY, className="stack"), summary=summary, actions=told)


def body(seen: Overview) -> list[Component]:
    """Figures first, then who reports and findings over time beside what is urgent, then the queue."""
    left = html.Div([_coverage(seen), _over_time(seen)], className="stack")
    return [
        parts.figures(*cards(seen)),
        html.Div(parts.columns(left, _urgent(seen), widths="minmax(0, 3fr) minmax(0, 2fr)"), className="overview"),
        _queue(seen),
    ]


def cards(seen: Overview) -> list[Component]:
    """The five figures; every one leads to its list."""
    total, watch = sum(seen.watch.open_by_severity.values()), seen.watch
    severe = ", ".join(f"{n} {s}" for s, n in reversed(watch.open_by_severity.items()) if n) or "none open"
    enrolled, reporting = (sum(getattr(c, key) for c in seen.feeders) for key in ("enrolled", "reporting"))
    silent = enrolled - reporting
    healthy = sum(1 for c in seen.sources if c.reporting == c.enrolled)
    frames = [float(r.frames + r.readings) for r in seen.rates]
    return [
        parts.figure("Open incidents", str(total), href="/incidents", change=severe, tone=_worst(watch)),
        parts.figure(
            "Critical, nobody assigned",
            str(watch.critical_unassigned),
            href="/incidents?sev=critical&assignee=-",
            change="take one" if watch.critical_unassigned else "none waits",
            tone="critical" if watch.critical_unassigned else "ok",
        ),
        parts.figure(
            "Clocks running",
            str(watch.clocks_running),
            href="/incidents?sort=clock",
            change=f"nearest limit {since(watch.nearest_limit, seen.now)}" if watch.nearest_limit else "no limit ahead",
            tone="high" if watch.clocks_running else "",
        ),
        parts.figure(
            "Devices reporting",
            f"{reporting:,}",
            unit=f"of {enrolled:,} enrolled",
            href="/devices",
            change=_silent_words(silent, enrolled),
            tone=_health_tone(reporting, enrolled),
        ),
        parts.figure(
            "Streams complete",
            str(healthy),
            unit=f"of {len(seen.sources)}",
            href="/intake",
            change=f"{count(int(sum(frames)), 'row')} in 30 min" if frames else "nothing received",
            trend=frames,
            tone=_health_tone(healthy, len(seen.sources)),
        ),
    ]


def _silent_words(silent: int, enrolled: int) -> str:
    if not enrolled:
        return "nobody is enrolled"
    return "all report" if silent == 0 else f"{silent:,} not observed now"


def _health_tone(good: int, total: int) -> str:
    """Never green for what is not there."""
    if total == 0:
        return "muted"
    return "ok" if good == total else "high"


def _worst(watch: Watch) -> str:
    return next((str(s) for s, n in reversed(watch.open_by_severity.items()) if n), "ok")


def _coverage(seen: Overview) -> Component:
    if not seen.feeders:
        return parts.panel("Who reports", parts.empty("No device is enrolled", "Enrol devices, or start the demo."))
    rows = [
        (
            parts.link(c.group or "no feeder known", f"/devices?q={c.group}" if c.group else "/devices"),
            html.Span([c.kind, *marks.origin_marks([c.provenance])], className="case-marks"),
            marks.hatched_share(c.reporting, c.enrolled, c.seen),
            html.Span(f"{c.reporting:,} / {c.enrolled:,}", className="number"),
            f"{since(c.received, seen.now)} ago" if c.received else "never",
        )
        for c in seen.feeders[:12]
    ]
    listed = table.plain_table(("Feeder", "Kind", "Coverage", "Reporting", "Newest"), rows)
    summary = "Solid: reporting. Hollow: seen before, silent now. Hatched: never observed, so nothing is known."
    return parts.panel("Who reports", listed, summary=summary)


def _urgent(seen: Overview) -> Component:
    notes = [_note(f"{count(len(seen.stages_late), 'stage')} late: {', '.join(seen.stages_late)}", "/intake")]
    shown: list[Component] = notes if seen.stages_late else []
    if not seen.stages:
        shown = [_note("No stage has ever reported: nothing is being watched", "/intake")]
    if seen.watch.advice_unacknowledged:
        shown.append(_note(f"{count(seen.watch.advice_unacknowledged, 'European alert')} unread", "/advice"))
    shown += [_urgent_row(u, seen) for u in seen.urgent]
    if not shown:
        return parts.panel("Needs you now", parts.empty("Nothing waits for a person", "", "circle-check"))
    return parts.panel("Needs you now", html.Ul(shown, className="urgent"))


def _note(text: str, href: str) -> Component:
    return html.Li([parts.icon("alert-circle"), parts.link(text, href)], className="urgent-row tone-high")


def _urgent_row(u: Urgent, seen: Overview) -> Component:
    return html.Li(
        [
            parts.severity(u.severity),
            parts.link(u.title, f"/incident?id={u.incident_id}"),
            html.Span(f"{u.why} · {since(u.opened, seen.now)}", className="muted nowrap"),
        ],
        className="urgent-row",
    )


def _over_time(seen: Overview) -> Component:
    total = sum(b.count for b in seen.buckets)
    summary = f"{count(total, 'finding')} and {count(seen.opened_today, 'new incident')} in the last 24 hours."
    if not total:
        return parts.panel(
            "Findings by severity over time", parts.empty("No finding in the last 24 hours"), summary=summary
        )
    traces = [_severity_bars(seen.buckets, s) for s in Severity if any(b.severity is s for b in seen.buckets)]
    window = ((seen.now - HISTORY).timestamp() * 1e3, seen.now.timestamp() * 1e3)
    figure = chart.figure(traces, unit="findings per 30 min", x_range=window, height=180, stacked=True)
    rows = [(parts.time_text(b.start), parts.severity(b.severity), str(b.count)) for b in reversed(seen.buckets[-40:])]
    return html.Section(
        [
            chart.chart(
                "overview-findings", figure, title="Findings by severity over time", summary=summary, height=180
            ),
            marks.as_table(("From", "Severity", "Findings"), rows),
        ],
        className="panel",
    )


def _severity_bars(buckets: Sequence[Bucket], severity: Severity) -> dict[str, Any]:
    chosen = [b for b in buckets if b.severity is severity]
    middles = [(b.start + STEP / 2).timestamp() * 1e3 for b in chosen]
    made = chart.bars(str(severity), middles, [float(b.count) for b in chosen], colour=str(severity))
    return made | {"width": STEP.total_seconds() * 1e3 * 0.8}


def _queue(seen: Overview) -> Component:
    if not seen.top:
        empty = parts.empty("The queue is empty", "Incidents appear here by themselves.", "circle-check")
        return parts.panel("Top of the queue", empty)
    rows = [
        (
            parts.severity(r.severity),
            parts.link(case_name(r.number), f"/incident?id={r.incident_id}", "mono nowrap"),
            html.Span([r.title, *marks.origin_marks([r.provenance])], className="case-marks"),
            marks.status_chip(r.status),
            r.assignee or html.Span("nobody", className="muted"),
            since(r.opened, seen.now),
        )
        for r in seen.top
    ]
    more = parts.link(f"All {seen.top_total}", "/incidents")
    head = ("Severity", "Case", "What", "Status", "Assigned to", "Age")
    return parts.panel("Top of the queue", table.plain_table(head, rows), actions=more)


def register(app: Registry, centre: Centre) -> None:
    """The body follows the incidents and the clock."""
    app.follow(PAGE.action, BODY, ("incidents", "figures", "advice"), lambda: body(read(centre)))
