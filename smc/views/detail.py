"""One incident on the screen, beside the queue and as a page of its own, and what a person can do about it.

The parts that data fill are replaced when the incident changes; the fields a person types into are made once and never
replaced, so that an update never takes a half-written reason away.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any
from uuid import UUID

import dash_mantine_components as dmc
from dash import Input, Output, State, ctx, dcc, html, no_update

from model.errors import Conflict, NotPermitted, OperatorError
from model.incident import STEPS, Status
from smc.desk import commands
from smc.playbooks import library, steps_of
from smc.store import decisions, desk, findings, incidents
from smc.views import case as shown
from smc.views import evidence
from smc.views.case import Case
from smc.views.centre import Centre
from smc.views.words import STATUS_WORDS
from trust.roles import Action
from web import URL, Registry, params_of, parts, session, tick
from web.registry import may


class Id(StrEnum):
    """Ids of this part of a page."""

    ROOT = "case"
    HEAD = "case-head"
    EVIDENCE = "case-evidence"
    WHY = "case-why"
    STEPS = "case-steps"
    REST = "case-rest"
    SEEN = "case-seen"
    AGAIN = "case-again"
    APPROVAL = "case-approval"
    APPROVAL_REASON = "case-approval-reason"
    APPROVE = "case-approve"
    REFUSE = "case-refuse"
    APPROVAL_TOLD = "case-approval-told"
    STATUS = "case-status"
    REASON = "case-reason"
    SET = "case-set"
    NOTE = "case-note"
    ASSIGNEE = "case-assignee"
    ASSIGN = "case-assign"
    TAKE = "case-take"
    TOLD = "case-told"
    WORK = "case-work"


BODIES = (Id.HEAD, Id.EVIDENCE, Id.WHY, Id.STEPS, Id.REST)  # what data fill, in the order on the page


def read_case(centre: Centre, incident_id: UUID) -> Case | None:
    """Everything about one incident, or None if there is no such incident."""
    with centre.read() as conn:
        incident = incidents.get(conn, incident_id)
        if incident is None:
            return None
        found = sorted(findings.of_incident(conn, incident_id), key=lambda f: (f.score, f.end), reverse=True)
        return Case(
            incident,
            tuple(found),
            tuple(incidents.history(conn, incident_id)),
            tuple(decisions.of_incident(conn, incident_id)),
            tuple(desk.clocks_of(conn, incident_id)),
            desk.devices_named(conn, incident.devices),
            centre.now(),
        )


def skeleton(case: Case | None, centre: Centre) -> html.Div:
    """The place of an incident with its fields; filled from `case`, hidden while there is none."""
    filled = _filled(case, centre) if case else _nothing()
    return html.Div(
        [
            dcc.Store(id=Id.SEEN, data=filled[Id.SEEN]),
            dcc.Store(id=Id.AGAIN, data=0),
            html.Div(filled[Id.HEAD], id=Id.HEAD, className="case-head"),
            html.Div(filled[Id.EVIDENCE], id=Id.EVIDENCE),
            html.Div(filled[Id.WHY], id=Id.WHY),
            parts.panel("What to do", [html.Div(filled[Id.STEPS], id=Id.STEPS), _approval(filled[Id.APPROVAL])]),
            html.Div(filled[Id.REST], id=Id.REST),
            _work(filled[Id.STATUS], centre),
        ],
        id=Id.ROOT,
        className="case",
        hidden=case is None,
    )


def _approval(hidden: bool) -> html.Div:
    allowed = may(Action.DECIDE)
    fields = [
        dmc.Textarea(
            id=Id.APPROVAL_REASON,
            label="Reason of the decision",
            placeholder="What convinced you; an auditor reads this a year on",
            autosize=True,
            minRows=2,
            debounce=False,
            disabled=not allowed,
        ),
        html.Div(
            [
                parts.button("Approve", Id.APPROVE, kind="primary", icon_name="check", disabled=not allowed),
                parts.button("Refuse", Id.REFUSE, kind="danger", icon_name="x", disabled=not allowed),
            ],
            className="buttons",
        ),
        html.P("Your role may read this; an operator decides.", className="muted") if not allowed else None,
    ]
    told = html.Div(id=Id.APPROVAL_TOLD, className="told", role="status")
    return html.Div([html.Div(fields, id=Id.APPROVAL, hidden=hidden, className="form"), told])


def _work(choices: list[dict[str, str]], centre: Centre) -> Any:
    allowed = may(Action.TRIAGE_INCIDENT)
    with centre.read() as conn:
        people = desk.assignees(conn)
    fields = [
        html.Div(
            [
                dmc.Select(id=Id.STATUS, label="Next status", data=choices, placeholder="Choose", disabled=not allowed),
                dmc.Select(
                    id=Id.ASSIGNEE,
                    label="Assign to",
                    data=[{"value": name, "label": name} for name in people],
                    placeholder="Choose a person",
                    clearable=True,
                    disabled=not allowed,
                ),
            ],
            className="fields",
        ),
        dmc.Textarea(
            id=Id.REASON, label="Reason or note", autosize=True, minRows=2, debounce=False, disabled=not allowed
        ),
        html.Div(
            [
                parts.button("Set status", Id.SET, kind="primary", disabled=not allowed),
                parts.button("Assign", Id.ASSIGN, disabled=not allowed),
                parts.button("Take it myself", Id.TAKE, icon_name="user", disabled=not allowed),
                parts.button("Add note", Id.NOTE, disabled=not allowed),
            ],
            className="buttons",
        ),
        html.Div(id=Id.TOLD, className="told", role="status"),
    ]
    return parts.panel("Work on it", html.Div(fields, id=Id.WORK, className="form"))


def _nothing() -> dict[str, Any]:
    return {**dict.fromkeys(Id, None), Id.APPROVAL: True, Id.STATUS: []}


def _filled(case: Case, centre: Centre) -> dict[str, Any]:
    proposal = case.proposal
    rest = [
        parts.panel("Possible causes", shown.causes(case), summary="Benign causes are listed with the others."),
        parts.panel("Where", shown.where(case)),
        parts.panel("Duties and clocks", shown.clocks(case)),
        parts.panel("Path in time", shown.path(case)),
        parts.panel("History", shown.history(case), summary="Append-only: every change with who and why."),
    ]
    return {
        Id.SEEN: {
            "incident": str(case.incident.incident_id),
            "version": case.incident.version,
            "decision": str(proposal.decision_id) if proposal else "",
            "shape": shape(case),
        },
        Id.HEAD: shown.head(case),
        Id.EVIDENCE: evidence.of_case(case, centre),
        Id.WHY: parts.panel("Why we think so", shown.why(case)),
        Id.STEPS: shown.actions(case, {d.playbook_id: playbook_steps(d.playbook_id) for d in case.decisions}),
        Id.APPROVAL: proposal is None,
        Id.REST: rest,
        Id.STATUS: next_statuses(case.incident.status),
    }


def playbook_steps(playbook_id: str) -> list[tuple[str, str]]:
    """(name, "for whom: what") of each step; none where the playbook left the library after it was proposed."""
    book = library().get(playbook_id)
    return [(name, f"For {who}: {what}") for name, who, what in steps_of(book)] if book else []


def shape(case: Case) -> str:
    """A text that changes whenever something on the screen would: no redraw, no lost scroll without a reason."""
    fates = ",".join(f"{d.status}:{bool(d.outcome)}" for d in case.decisions)
    return f"{case.incident.incident_id}/{case.incident.version}/{len(case.findings)}/{len(case.history)}/{fates}"


def next_statuses(status: Status) -> list[dict[str, str]]:
    """Choices of the status field: the steps that the table allows from here."""
    return [{"value": str(s), "label": STATUS_WORDS[s]} for s in Status if s in STEPS[status]]


def incident_of(search: str | None) -> UUID | None:
    """Which incident the address names: `id` on its own page, `sel` beside the queue."""
    params = params_of(search)
    try:
        return UUID(params.get("id") or params.get("sel", ""))
    except ValueError:
        return None


def register(app: Registry, centre: Centre) -> None:
    """Callbacks of the incident part, for both pages."""
    _register_refresh(app, centre)
    _register_decision(app, centre)
    _register_work(app, centre)


def _register_refresh(app: Registry, centre: Centre) -> None:
    @app.callback(
        Action.SEE_INCIDENTS,
        Output(Id.ROOT, "hidden"),
        *(Output(part, "children") for part in BODIES),
        Output(Id.APPROVAL, "hidden"),
        Output(Id.STATUS, "data"),
        Output(Id.SEEN, "data"),
        Input(URL, "search"),
        Input(tick("incidents"), "data"),
        Input(Id.AGAIN, "data"),
        State(Id.SEEN, "data"),
        prevent_initial_call=True,
    )
    def refresh(search: str | None, _tick: int | None, _again: int, seen: dict[str, Any] | None) -> Any:
        incident_id = incident_of(search)
        case = read_case(centre, incident_id) if incident_id else None
        if case is None:
            return True, *[no_update] * 7, None
        if seen and seen["shape"] == shape(case):
            return [no_update] * 9
        made = _filled(case, centre)
        bodies = [made[part] for part in BODIES]
        if seen and seen["shape"].split("/")[2] == shape(case).split("/")[2] and seen["incident"] == str(incident_id):
            bodies[1] = no_update  # the same findings: leave the reader's zoom alone
        return False, *bodies, made[Id.APPROVAL], made[Id.STATUS], made[Id.SEEN]


def _register_decision(app: Registry, centre: Centre) -> None:
    @app.callback(
        Action.DECIDE,
        Output(Id.APPROVAL_TOLD, "children"),
        Output(Id.APPROVAL_REASON, "value"),
        Output(Id.AGAIN, "data"),
        Input(Id.APPROVE, "n_clicks"),
        Input(Id.REFUSE, "n_clicks"),
        State(Id.APPROVAL_REASON, "value"),
        State(Id.SEEN, "data"),
        State(Id.AGAIN, "data"),
        prevent_initial_call=True,
    )
    def decide(_a: int | None, _r: int | None, reason: str | None, seen: dict[str, Any], again: int) -> Any:
        command = commands.approve if ctx.triggered_id == Id.APPROVE else commands.refuse
        verb = "Approved" if command is commands.approve else "Refused"

        def step() -> str:
            command(centre.engine, centre.bus, session(), UUID(seen["decision"]), reason or "")
            return f"{verb}. The outcome appears here as soon as it is known."

        return _answer(step, reason, again)


def _register_work(app: Registry, centre: Centre) -> None:
    @app.callback(
        Action.TRIAGE_INCIDENT,
        Output(Id.TOLD, "children"),
        Output(Id.REASON, "value"),
        Output(Id.AGAIN, "data", allow_duplicate=True),
        Input(Id.SET, "n_clicks"),
        Input(Id.ASSIGN, "n_clicks"),
        Input(Id.TAKE, "n_clicks"),
        Input(Id.NOTE, "n_clicks"),
        State(Id.STATUS, "value"),
        State(Id.ASSIGNEE, "value"),
        State(Id.REASON, "value"),
        State(Id.SEEN, "data"),
        State(Id.AGAIN, "data"),
        prevent_initial_call=True,
    )
    def work(_s: Any, _a: Any, _t: Any, _n: Any, to: Any, person: Any, reason: Any, seen: Any, again: int) -> Any:
        return _answer(lambda: _do(centre, str(ctx.triggered_id), to, person, reason or "", seen), reason, again)


def _do(centre: Centre, button: str, to: str | None, person: str | None, reason: str, seen: dict[str, Any]) -> str:
    """Run the command of a button; returns what to tell the person."""
    incident_id, version = UUID(seen["incident"]), int(seen["version"])
    who = session()
    if button == Id.SET:
        if not to:
            raise OperatorError("next status", "", "one of the list", "choose the next status first")
        commands.change_status(centre.engine, centre.bus, who, incident_id, version, Status(to), reason)
        return f"Status is now: {STATUS_WORDS[Status(to)].lower()}."
    if button == Id.NOTE:
        commands.note(centre.engine, centre.bus, who, incident_id, reason)
        return "Your note is in the history."
    name = who.name if button == Id.TAKE else person or ""
    commands.assign(centre.engine, centre.bus, who, incident_id, version, name, reason)
    return f"Assigned to {name}." if name else "Assigned to nobody."


def _answer(step: Callable[[], str], reason: str | None, again: int) -> tuple[Any, Any, Any]:
    """(what to tell, what stays in the reason field, refresh counter): a refused step keeps what was typed."""
    try:
        told = html.Span(step(), className="tone-ok")
    except (Conflict, OperatorError, NotPermitted) as error:
        said = html.Span([html.Strong("Not done: "), str(error)], className="tone-critical")
        return said, reason, again + 1
    return told, "", again + 1
