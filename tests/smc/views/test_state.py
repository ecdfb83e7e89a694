"""The address is the only state of record: what is written into it comes back, and nothing in it can break a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from model.device import DeviceKind
from model.finding import FindingKind, Severity
from model.incident import Status
from smc.store.desk import SORTS
from smc.views.state import (
    OPEN,
    DevicesState,
    DeviceState,
    ListState,
    QueueState,
    Span,
    device_state,
    devices_state,
    list_state,
    queue_state,
    span_of,
)

NOW = datetime(2026, 3, 29, 12, tzinfo=UTC)
WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=100).map(str.strip)
SPANS = st.sampled_from(["now-5m", "now-1h", "now-24h", "now-7d", "2026-03-01T00:00:00Z", "2026-03-01T02:00:00+02:00"])
SPAN = st.builds(Span, SPANS, st.sampled_from(["now", "now-1m", "2026-03-02T00:00:00Z"]))
UUIDS = st.one_of(st.just(""), st.uuids().map(str))
PAGES = st.integers(1, 100_000)


def subset(kind: type) -> st.SearchStrategy[tuple]:
    return st.sets(st.sampled_from(list(kind))).map(lambda chosen: tuple(m for m in kind if m in chosen))


SORT = st.tuples(st.sampled_from(["", "-"]), st.sampled_from(sorted(SORTS))).map("".join)
QUEUES = st.builds(
    QueueState, SPAN, subset(Severity), subset(Status), subset(FindingKind), WORDS, WORDS, SORT, PAGES, UUIDS
)


@given(QUEUES)
def test_the_queue_comes_back_from_its_address(state: QueueState) -> None:
    assert queue_state(state.query()) == state


@given(st.builds(DevicesState, WORDS, subset(DeviceKind), PAGES))
def test_the_device_list_comes_back(state: DevicesState) -> None:
    assert devices_state(state.query()) == state


@given(st.builds(DeviceState, SPAN, UUIDS))
def test_the_device_page_comes_back(state: DeviceState) -> None:
    assert device_state(state.query()) == state


@given(st.builds(ListState, SPAN, WORDS, UUIDS, PAGES))
def test_the_other_lists_come_back(state: ListState) -> None:
    assert list_state(state.query()) == state


@given(st.text(max_size=300))
def test_no_address_breaks_a_page(search: str) -> None:
    for parse in (queue_state, devices_state, device_state, list_state):
        parse(search)
    start, end = queue_state(search).span.resolve(NOW)
    assert start < end


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_range_is_always_a_range(start: str, end: str) -> None:
    first, last = span_of({"from": start, "to": end}).resolve(NOW)
    assert first < last
    assert first.tzinfo is not None


def test_relative_ranges_stay_relative_and_can_be_fixed() -> None:
    span = Span("now-24h")
    assert span.resolve(NOW) == (NOW - timedelta(hours=24), NOW)
    assert span.fixed(NOW) == Span("2026-03-28T12:00:00Z", "2026-03-29T12:00:00Z")


def test_a_link_without_status_shows_what_is_open() -> None:
    assert queue_state("").statuses == OPEN
    assert queue_state("?status=all").statuses == ()
    assert queue_state("?status=closed-benign").statuses == (Status.CLOSED_BENIGN,)
    assert queue_state("?status=nonsense").statuses == OPEN


def test_a_sort_that_no_list_knows_is_dropped() -> None:
    assert queue_state("?sort=number;DROP TABLE incidents").sort == "-severity"
