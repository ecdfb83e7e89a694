"""The URL is the only state of record: typed filters of each page and their query strings, both ways.

Parsing never fails: a value that no list knows is dropped, so an old or hand-made link opens the nearest page.
Relative times stay relative ("now-24h"); `Span.resolve` turns them into moments when the page asks the store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TypeVar
from urllib.parse import parse_qs, quote, urlencode
from uuid import UUID

from model.device import DeviceKind
from model.finding import FindingKind, Severity
from model.incident import CLOSED, Status
from smc.store.desk import SORTS, QueueFilter

_RELATIVE = re.compile(r"now(?:-(\d{1,6})(s|m|h|d))?\Z")
_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_WORDS_MAX = 100
_PAGE_MAX = 100_000
OPEN = tuple(s for s in Status if s not in CLOSED)

E = TypeVar("E", bound=StrEnum)
Search = Mapping[str, str] | str | None  # parameters of a page, or the query string of an address


@dataclass(frozen=True, slots=True)
class Span:
    """A time range as the URL has it: "now", "now-24h" or an RFC 3339 moment at each end."""

    start: str = "now-24h"
    end: str = "now"

    def resolve(self, now: datetime) -> tuple[datetime, datetime]:
        """Both ends as aware moments, start before end."""
        start, end = _moment(self.start, now), _moment(self.end, now)
        if start is None or end is None or start >= end:
            return now - timedelta(hours=24), now
        return start, end

    def fixed(self, now: datetime) -> Span:
        """The same range with absolute ends, for a link that shows tomorrow what it shows now."""
        start, end = self.resolve(now)
        return Span(_iso(start), _iso(end))


def _moment(text: str, now: datetime) -> datetime | None:
    relative = _RELATIVE.match(text)
    if relative:
        amount, unit = relative.groups()
        try:
            return now - timedelta(seconds=int(amount or 0) * _UNITS[unit or "s"])
        except OverflowError:
            return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def span_of(values: Mapping[str, str], default: str = "now-24h") -> Span:
    """The range of `from` and `to`; a text that is no time gives the default."""
    now = datetime.now(UTC)
    start, end = values.get("from", default), values.get("to", "now")
    return Span(start if _moment(start, now) else default, end if _moment(end, now) else "now")


@dataclass(frozen=True, slots=True)
class QueueState:
    """Filters, order and selection of the incident queue."""

    span: Span = Span("now-7d")
    severities: tuple[Severity, ...] = ()
    statuses: tuple[Status, ...] = OPEN
    kinds: tuple[FindingKind, ...] = ()
    assignee: str = ""
    words: str = ""
    sort: str = "-severity"
    page: int = 1
    selected: str = ""  # id of the incident in the side panel

    def query(self) -> str:
        """The query string, defaults left out."""
        standard = QueueState()
        pairs = [
            ("from", self.span.start, standard.span.start),
            ("to", self.span.end, standard.span.end),
            ("sev", ",".join(self.severities), ""),
            ("status", _joined(self.statuses), _joined(standard.statuses)),
            ("kind", ",".join(self.kinds), ""),
            ("assignee", self.assignee, ""),
            ("q", self.words, ""),
            ("sort", self.sort, standard.sort),
            ("page", str(self.page), "1"),
            ("sel", self.selected, ""),
        ]
        return _encode((key, value) for key, value, default in pairs if value != default)

    def filter(self, now: datetime) -> QueueFilter:
        """What the store is asked for."""
        start, end = self.span.resolve(now)
        return QueueFilter(start, end, self.severities, self.statuses, self.kinds, self.assignee, self.words, self.sort)

    def select(self, incident_id: UUID | str | None) -> QueueState:
        """The same queue with another incident in the side panel."""
        return replace(self, selected=str(incident_id or ""))


def queue_state(search: Search) -> QueueState:
    """State of a query string ("?sev=critical,high&sel=...")."""
    values = pairs_of(search)
    status = values.get("status")
    sort = values.get("sort", "-severity")
    return QueueState(
        span=span_of(values, "now-7d"),
        severities=_members(Severity, values.get("sev", "")),
        statuses=OPEN if status is None else () if status == "all" else _members(Status, status) or OPEN,
        kinds=_members(FindingKind, values.get("kind", "")),
        assignee=values.get("assignee", "")[:_WORDS_MAX],
        words=values.get("q", "")[:_WORDS_MAX],
        sort=sort if sort.removeprefix("-") in SORTS else "-severity",
        page=_whole(values.get("page", "1")),
        selected=_uuid(values.get("sel", "")),
    )


@dataclass(frozen=True, slots=True)
class DevicesState:
    """Filters of the device list."""

    words: str = ""
    kinds: tuple[DeviceKind, ...] = ()
    page: int = 1

    def query(self) -> str:
        """The query string, defaults left out."""
        pairs = [("q", self.words, ""), ("kind", ",".join(self.kinds), ""), ("page", str(self.page), "1")]
        return _encode((key, value) for key, value, default in pairs if value != default)


def devices_state(search: Search) -> DevicesState:
    """State of the device list's query string."""
    values = pairs_of(search)
    kinds = _members(DeviceKind, values.get("kind", ""))
    return DevicesState(values.get("q", "")[:_WORDS_MAX], kinds, _whole(values.get("page", "1")))


@dataclass(frozen=True, slots=True)
class DeviceState:
    """What a device page shows: a time range, and the finding whose evidence is in focus."""

    span: Span = Span("now-15m")
    finding: str = ""

    def query(self) -> str:
        """The query string, defaults left out."""
        pairs = [("from", self.span.start, "now-15m"), ("to", self.span.end, "now"), ("finding", self.finding, "")]
        return _encode((key, value) for key, value, default in pairs if value != default)


def device_state(search: Search) -> DeviceState:
    """State of a device page's query string."""
    values = pairs_of(search)
    return DeviceState(span_of(values, "now-15m"), _uuid(values.get("finding", "")))


@dataclass(frozen=True, slots=True)
class ListState:
    """A page with a time range, words to search, and one opened row: intake, audit, sharing, advice."""

    span: Span = Span()
    words: str = ""
    opened: str = ""
    page: int = 1

    def query(self) -> str:
        """The query string, defaults left out."""
        pairs = [
            ("from", self.span.start, "now-24h"),
            ("to", self.span.end, "now"),
            ("q", self.words, ""),
            ("open", self.opened, ""),
            ("page", str(self.page), "1"),
        ]
        return _encode((key, value) for key, value, default in pairs if value != default)


def list_state(search: Search) -> ListState:
    """State of such a page's query string."""
    values = pairs_of(search)
    opened = values.get("open", "")[:_WORDS_MAX]
    return ListState(span_of(values), values.get("q", "")[:_WORDS_MAX], opened, _whole(values.get("page", "1")))


def pairs_of(search: Search) -> dict[str, str]:
    """The last value of every key of a query string, with or without its question mark; of parameters, themselves."""
    if isinstance(search, Mapping):
        return {key: value for key, value in search.items() if value}
    return {key: found[-1] for key, found in parse_qs((search or "").lstrip("?"), max_num_fields=None).items()}


def _encode(pairs: Iterable[tuple[str, str]]) -> str:
    chosen = list(pairs)
    return "?" + urlencode(chosen, quote_via=quote, safe=",") if chosen else ""


def _joined(statuses: tuple[Status, ...]) -> str:
    return ",".join(statuses) or "all"


def _members(kind: type[E], text: str) -> tuple[E, ...]:
    wanted = set(text.split(","))
    return tuple(member for member in kind if member.value in wanted)


def _whole(text: str) -> int:
    return min(max(int(text), 1), _PAGE_MAX) if text.isascii() and text.isdigit() and len(text) < 9 else 1


def _uuid(text: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        return ""
