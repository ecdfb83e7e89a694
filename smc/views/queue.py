"""The parts of the queue: columns, rows, cards, filter fields. Pure functions of data and of the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import dash_mantine_components as dmc
from dash import html

from model.device import Provenance
from model.finding import Severity
from model.incident import CLOSED, Status
from smc.store.desk import QueuePage, QueueRow
from smc.views.state import OPEN, QueueState, Span
from smc.views.words import case_name, count, short_name, since
from web.table import Column, table

Component = Any
ROWS = 50


class Id(StrEnum):
    """Ids of the page."""

    GRID = "queue-grid"
    CARDS = "queue-cards"
    TOTAL = "queue-total"
    NEWS = "queue-news"
    WORDS = "queue-words"
    SEVERITIES = "queue-severities"
    STATUSES = "queue-statuses"
    SPAN = "queue-span"
    WHO = "queue-who"
    SORT = "queue-sort"
    PAGES = "queue-pages"
    SHOWN = "queue-shown"


MARKS = {f"origin-{p}": f"params.value === '{p}'" for p in Provenance if p is not Provenance.MEASURED}
COLUMNS = (
    Column("severity", "Severity", "severity", 96),
    Column("case", "Case", "mono", 106),
    Column(
        "origin", "Data", "origin", 54, options={"cellClassRules": MARKS, "headerTooltip": "Where the data are from"}
    ),
    Column("title", "What", "what", options={"flex": 1, "minWidth": 240, "wrapText": True, "autoHeight": True}),
    Column("entity", "Entity", "mono", 114, options={"tooltipField": "device"}),
    Column("status", "Status", "status", 124),
    Column("assignee", "Assignee", width=86),
    Column("age", "Age", width=70),
    Column("clock", "Clock", width=70),
    Column("score", "Score", "number", 66, options={"headerTooltip": "In multiples of the detector's threshold"}),
    Column("technique", "ATT&CK", "mono", 78),
)
STATUS_CHOICES = {
    "open": OPEN,
    "new": (Status.NEW,),
    "closed": tuple(s for s in Status if s in CLOSED),
    "all": (),
}
SPANS = {"now-1h": "last hour", "now-24h": "last 24 h", "now-7d": "last 7 d", "now-30d": "last 30 d"}
SORTS = {
    "-severity": "severity, most urgent first",
    "-seen": "last seen, newest first",
    "-opened": "opened, newest first",
    "opened": "opened, oldest first",
    "clock": "clock, nearest limit first",
    "-score": "score, highest first",
    "case": "case number",
}


def grid_rows(rows: Sequence[QueueRow], now: datetime) -> list[dict[str, Any]]:
    """Rows of the grid; `id` is stable, so an update keeps selection and scroll."""
    return [
        {
            "id": str(r.incident_id),
            "severity": str(r.severity),
            "case": case_name(r.number),
            "title": r.title + (f" · {count(r.proposals, 'playbook')} waiting" if r.proposals else ""),
            "entity": short_name(r.device_name) + (f" +{r.devices - 1}" if r.devices > 1 else ""),
            "device": r.device_name,
            "status": str(r.status),
            "assignee": r.assignee or "nobody",
            "age": since(r.opened, now),
            "clock": since(r.due, now) if r.due and r.due < now else _left(r.due, now),
            "score": f"{r.score:.2f}",
            "origin": "" if r.provenance is Provenance.MEASURED else str(r.provenance),
            "technique": r.technique,
        }
        for r in rows
    ]


def _left(due: datetime | None, now: datetime) -> str:
    return "" if due is None else since(now, due) + " left"


def total_words(page: QueuePage, state: QueueState) -> str:
    """How many match, and the way out where none does."""
    if page.total:
        return f"{count(page.total, 'incident')} · {SPANS.get(state.span.start, 'chosen time')}"
    return "No incident matches: widen the time, or choose all severities and statuses."


def pages_of(total: int) -> int:
    """Pages of the queue, one at least."""
    return max(1, -(-total // ROWS))


def grid(rows: list[dict[str, Any]], state: QueueState) -> Component:
    """The dense list; its order is the address's, so its heads do not sort the shown page alone."""
    made = table(
        Id.GRID,
        COLUMNS,
        rows,
        selection="single",
        nothing="No incident matches these filters",
        options={"rowHeight": 32, "suppressScrollOnNewData": True, "tooltipShowDelay": 900},
    )
    made.defaultColDef = {**made.defaultColDef, "sortable": False}
    made.style = {"height": "max(240px, calc(100vh - 300px))"}
    made.selectedRows = [row for row in rows if row["id"] == state.selected]
    return made


def filters(state: QueueState, me: str) -> html.Div:
    """The filter fields, filled from the address; `me` is the account of the person."""
    return html.Div(
        [
            dmc.TextInput(
                id=Id.WORDS,
                label="Search",
                placeholder="title, case, device, technique",
                value=state.words,
                debounce=300,
                className="grow",
            ),
            dmc.Select(
                id=Id.STATUSES,
                label="Status",
                value=status_choice(state),
                data=[{"value": k, "label": k} for k in STATUS_CHOICES],
                allowDeselect=False,
                w=104,
            ),
            dmc.Select(
                id=Id.WHO,
                label="Assigned to",
                value=state.assignee or "anybody",
                allowDeselect=False,
                w=128,
                data=[
                    {"value": "anybody", "label": "anybody"},
                    {"value": "-", "label": "nobody"},
                    {"value": me, "label": "me"},
                ],
            ),
            dmc.Select(
                id=Id.SPAN,
                label="Time",
                value=state.span.start,
                allowDeselect=False,
                w=116,
                data=_span_choices(state.span),
            ),
            dmc.Select(
                id=Id.SORT,
                label="Order",
                value=state.sort,
                allowDeselect=False,
                w=220,
                data=[{"value": k, "label": v} for k, v in _sort_choices(state.sort).items()],
            ),
            html.Div(
                dmc.ChipGroup(
                    [dmc.Chip(str(s), value=str(s), size="xs") for s in reversed(Severity)],
                    id=Id.SEVERITIES,
                    multiple=True,
                    value=[str(s) for s in state.severities],
                ),
                className="severities",
                role="group",
                **{"aria-label": "Severity"},
            ),
        ],
        className="filters",
    )


def status_choice(state: QueueState) -> str:
    """The word of the status field; a hand-picked set reads as "all" when no word fits."""
    return next((word for word, chosen in STATUS_CHOICES.items() if chosen == state.statuses), "all")


def _span_choices(span: Span) -> list[dict[str, str]]:
    known = SPANS if span.start in SPANS else {**SPANS, span.start: "chosen time"}
    return [{"value": value, "label": label} for value, label in known.items()]


def _sort_choices(sort: str) -> dict[str, str]:
    return SORTS if sort in SORTS else {**SORTS, sort: sort.lstrip("-")}


def shown(rows: Sequence[Mapping[str, Any]], state: QueueState) -> dict[str, Any]:
    """What is on the screen: row ids in their order, and for which filters."""
    return {"ids": [str(row["id"]) for row in rows], "query": state.select(None).query()}


def held(rows: Sequence[dict[str, Any]], on_screen: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """The rows that are on the screen, in their present order but with new contents; and how many others wait."""
    by_id = {row["id"]: row for row in rows}
    kept = [by_id[one] for one in on_screen if one in by_id]
    return kept, len(by_id) - len(kept)
