"""The parts of the queue: columns, rows, cards, filter fields. Pure functions of data and of the address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import dash_mantine_components as dmc
import orjson
from dash import html

from model.device import Provenance
from model.finding import Severity
from model.incident import CLOSED, Status
from smc.store.desk import QueuePage, QueueRow
from smc.views.state import OPEN, QueueState
from smc.views.words import case_name, count, short_name, since
from web import fields
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
WAITS = {"cellRenderer": "GridWaits", "tooltipField": None, "headerTooltip": "Playbooks that wait for a person"}
COLUMNS = (
    Column("severity", "Severity", "severity", 96),
    Column("case", "Case", "mono", 106),
    Column(
        "origin", "Data", "origin", 54, options={"cellClassRules": MARKS, "headerTooltip": "Where the data are from"}
    ),
    Column("title", "What", "what", options={"flex": 1, "minWidth": 240, "wrapText": True, "autoHeight": True}),
    Column("waits", "Waits", "waits", 68, options=WAITS),
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
            "title": r.title,
            "waits": r.proposals,
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
    people = {"anybody": "anybody", "-": "nobody", me: "me"}
    return fields.filters(
        fields.search(Id.WORDS, state.words, "title, case, device, technique"),
        fields.choice(Id.STATUSES, "Status", status_choice(state), {word: word for word in STATUS_CHOICES}, 104),
        fields.choice(Id.WHO, "Assigned to", state.assignee or "anybody", people, 128),
        fields.choice(Id.SPAN, "Time", state.span.start, SPANS, 116, other="chosen time"),
        fields.choice(Id.SORT, "Order", state.sort, SORTS, 220, other=state.sort.lstrip("-")),
        _severities(state),
    )


def _severities(state: QueueState) -> html.Div:
    chips = dmc.ChipGroup(
        [dmc.Chip(str(s), value=str(s), size="xs") for s in reversed(Severity)],
        id=Id.SEVERITIES,
        multiple=True,
        value=[str(s) for s in state.severities],
    )
    return html.Div(chips, className="severities", role="group", **{"aria-label": "Severity"})


def status_choice(state: QueueState) -> str:
    """The word of the status field; a hand-picked set reads as "all" when no word fits."""
    return next((word for word, chosen in STATUS_CHOICES.items() if chosen == state.statuses), "all")


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of the queue as the browsers get it, the same for everybody who may see incidents."""

    rows: list[dict[str, Any]]
    packed: orjson.Fragment  # the rows as JSON, packed once for all
    words: str
    pages: int
    shown: dict[str, Any]


def listed(page: QueuePage, state: QueueState, now: datetime) -> Listed:
    """All that the list shows of a page; `state` without a selection."""
    rows = grid_rows(page.rows, now)
    packed = orjson.Fragment(orjson.dumps(rows))
    return Listed(rows, packed, total_words(page, state), fields.pages_of(page.total, ROWS), shown(rows, state))


def shown(rows: Sequence[Mapping[str, Any]], state: QueueState) -> dict[str, Any]:
    """What is on the screen: row ids in their order, and for which filters."""
    return {"ids": [str(row["id"]) for row in rows], "query": state.select(None).query()}


def held(rows: Sequence[dict[str, Any]], on_screen: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """The rows that are on the screen, in their present order but with new contents; and how many others wait."""
    by_id = {row["id"]: row for row in rows}
    kept = [by_id[one] for one in on_screen if one in by_id]
    return kept, len(by_id) - len(kept)
