"""The parts of one incident, in the order in which people ask: what, why, causes, what to do, where, clocks, path.

Pure functions of data; `smc.views.detail` puts them on the page and keeps them alive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dash import html

from model.decision import Decision, DecisionStatus
from model.finding import Finding
from model.incident import Incident
from smc.store.desk import Clock, DeviceName
from smc.store.incidents import HistoryEntry
from smc.views import marks
from smc.views.words import DECISION_WORDS, KIND_WORDS, age, count, moment, probability_of, since
from web import parts, table

Component = Any
LONGEST_LIST = 12


@dataclass(frozen=True, slots=True)
class Case:
    """Everything the page of an incident shows, read in one transaction."""

    incident: Incident
    findings: tuple[Finding, ...]  # the strongest first
    history: tuple[HistoryEntry, ...]
    decisions: tuple[Decision, ...]
    clocks: tuple[Clock, ...]
    devices: Mapping[int, DeviceName]
    now: datetime

    @property
    def proposal(self) -> Decision | None:
        """The decision that waits for a person, if any."""
        return next((d for d in self.decisions if d.status is DecisionStatus.PROPOSED), None)


def head(case: Case) -> list[Component]:
    """Case number, title, severity, status, who, how sure, and the marks of its data."""
    incident = case.incident
    strongest = case.findings[0] if case.findings else None
    return [
        html.Div(
            [
                parts.severity(incident.severity),
                marks.status_chip(incident.status),
                *marks.origin_marks([incident.provenance]),
                html.Span(incident.case, className="mono muted"),
            ],
            className="case-marks",
        ),
        html.H2(incident.title, className="case-title"),
        parts.facts(
            [
                ("Kind", KIND_WORDS[incident.kind]),
                ("Assigned to", incident.assignee or html.Span("nobody", className="tone-high strong")),
                ("First seen", parts.time_text(incident.first_seen)),
                ("Last seen", parts.time_text(incident.last_seen)),
                ("Open for", since(incident.opened, case.now)),
                ("Findings", count(incident.findings, "finding")),
                ("How sure", probability_of(strongest.probability) if strongest else "no finding"),
                ("Technique", _technique(incident.technique)),
            ]
        ),
    ]


def _technique(technique: str) -> Component:
    return parts.mono(f"ATT&CK for ICS {technique}") if technique else html.Span("none fits", className="muted")


def why(case: Case) -> list[Component]:
    """What the strongest finding says: its sentence, observed against expected, what was missing."""
    if not case.findings:
        return [parts.empty("No finding is attached", "Findings appear here as the detectors store them.")]
    finding = case.findings[0]
    missing = (
        html.P([html.Strong("Looked for and not there: "), "; ".join(finding.missing)]) if finding.missing else None
    )
    return [
        html.P(finding.explanation, className="explanation"),
        marks.evidence_table(finding.evidence) if finding.evidence else None,
        missing,
        html.P(
            f"{finding.detector} {finding.detector_version} · score {finding.score:.2f} × its threshold"
            f" · {moment(finding.start)} to {moment(finding.end)}",
            className="muted small",
        ),
    ]


def causes(case: Case) -> Component:
    """Possible causes, the benign ones too, as the detector ranks them."""
    found = list(dict.fromkeys(cause for finding in case.findings for cause in finding.causes))
    if not found:
        return html.P("The detector names no cause.", className="muted")
    return html.Ul([html.Li(cause) for cause in found[:LONGEST_LIST]], className="causes")


def actions(case: Case, steps: Mapping[str, Sequence[tuple[str, str]]]) -> list[Component]:
    """The playbooks proposed, each with its steps and what came of it; `steps` by playbook id: (name, text)."""
    if not case.decisions:
        return [parts.empty("No playbook is proposed yet", "The decide stage proposes one for each kind of incident.")]
    return [_decision(d, steps.get(d.playbook_id, ())) for d in case.decisions]


def _decision(decision: Decision, steps: Sequence[tuple[str, str]]) -> Component:
    told = [
        html.Div(
            [
                html.Strong(decision.title),
                parts.status(str(decision.status)),
                html.Span("dry run", className="chip tone-medium") if decision.dry_run else None,
            ],
            className="case-marks",
        ),
        html.P([html.Span("Why this one: ", className="muted"), decision.reason]),
        parts.stepper(
            [
                parts.Step("Proposed", f"by the decide stage, {moment(decision.proposed)}", "done"),
                _approval(decision),
                *[parts.Step(name, text, _step_state(decision)) for name, text in steps],
                _outcome(decision),
            ]
        ),
    ]
    return html.Article(told, className="decision", **{"data-status": str(decision.status)})


def _step_state(decision: Decision) -> str:
    """A dry run writes the steps out; it does none of them, and the page must not say so."""
    return {
        DecisionStatus.DONE: "planned" if decision.dry_run else "done",
        DecisionStatus.APPROVED: "now",
        DecisionStatus.REFUSED: "refused",
        DecisionStatus.FAILED: "refused",
    }.get(decision.status, "next")


def _approval(decision: Decision) -> parts.Step:
    if decision.status is DecisionStatus.PROPOSED:
        return parts.Step("Decision of a person", "Nothing happens before somebody with the right approves it.", "now")
    verb = "Refused" if decision.status is DecisionStatus.REFUSED else "Approved"
    text = f"by {decision.decided_by}, {moment(decision.decided)}: {decision.decision_reason}"
    return parts.Step(f"{verb} by a person", text, "refused" if verb == "Refused" else "done")


def _outcome(decision: Decision) -> parts.Step:
    if decision.outcome:
        title = "Outcome of the dry run" if decision.dry_run else "Outcome"
        state = "refused" if decision.status is DecisionStatus.FAILED else "done"
        body = html.Div([html.Pre(decision.outcome, className="outcome"), moment(decision.outcome_at)])
        return parts.Step(title, body, state)
    return parts.Step("Outcome", DECISION_WORDS[decision.status], "now" if decision.status == "approved" else "next")


def where(case: Case) -> Component:
    """The devices concerned, with who carries them; each leads to its signals around the strongest finding."""
    query = f"&finding={case.findings[0].finding_id}" if case.findings else ""
    rows = [_device(index, case.devices.get(index), query, case.now) for index in case.incident.devices[:LONGEST_LIST]]
    if not rows:
        return html.P("No device of this grid: the advice concerns the operator as a whole.", className="muted")
    listed = table.plain_table(("Device", "Kind", "Unit", "Feeder", "Gateway", "Last received"), rows)
    more = len(case.incident.devices) - len(rows)
    return html.Div([listed, html.P(f"and {more} more", className="muted") if more > 0 else None])


def _device(index: int, device: DeviceName | None, query: str, now: datetime) -> tuple[Any, ...]:
    if device is None:
        return marks.device_link(None, index, query), "–", "–", "–", "–", "–"
    last = f"{since(device.received, now)} ago" if device.received else "never"
    named = [marks.device_link(device, index, query), *marks.origin_marks([device.provenance])]
    unknown = html.Span("not known", className="muted")
    return (
        html.Span(named, className="case-marks"),
        device.kind,
        device.unit or unknown,
        device.feeder or unknown,
        device.gateway or unknown,
        last,
    )


def clocks(case: Case) -> Component:
    """Statutory clocks with their nearest limit; none is said, not hidden."""
    if not case.clocks:
        return html.P("No statutory clock runs on this incident.", className="muted")
    rows = [
        (c.clock, c.kind, parts.status(c.state), parts.time_text(c.target), _limit(c, case.now), c.note)
        for c in case.clocks
    ]
    return table.plain_table(("Clock", "Duty", "State", "Target", "Legal limit", "Note"), rows)


def _limit(clock: Clock, now: datetime) -> Component:
    if clock.legal_limit is None:
        return html.Span("not started", className="muted")
    left = (clock.legal_limit - now).total_seconds()
    said = f"{age(left)} left" if left >= 0 else f"{age(-left)} past"
    return html.Span([parts.time_text(clock.legal_limit), f" · {said}"], className="tone-critical" if left < 0 else "")


def path(case: Case) -> Component:
    """The findings in the order of time, each leading to its raw rows."""
    found = sorted(case.findings, key=lambda f: f.start)
    rows = [
        (
            parts.time_text(f.start),
            parts.severity(f.severity),
            parts.link(f.title, _raw_href(f)),
            html.Span(f"{f.score:.2f}", className="number"),
            f.detector,
        )
        for f in found[-LONGEST_LIST:]
    ]
    return table.plain_table(("Time", "Severity", "Finding, leads to its raw rows", "Score", "Detector"), rows)


def _raw_href(finding: Finding) -> str:
    if not finding.devices:
        return "/advice"
    return f"/device?index={finding.devices[0]}&finding={finding.finding_id}"


def history(case: Case) -> Component:
    """Who did what to this incident, and why."""
    return parts.timeline([(h.at, f"{h.actor} · {_deed(h)}", h.reason) for h in reversed(case.history)])


def _deed(entry: HistoryEntry) -> str:
    before, after = entry.before.replace("-", " "), entry.after.replace("-", " ")
    if before and after:
        return f"{entry.action}: {before} → {after}"
    return f"{entry.action}: {after}" if after else entry.action
