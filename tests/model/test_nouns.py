"""The nouns refuse what cannot be: naive times, forbidden steps, shares that do not sum to one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.device import Provenance
from model.errors import Conflict, PeerError
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import NAMESPACE, new_id, stable_id
from model.incident import CLOSED, STEPS, Status, require_step
from model.time import NS_PER_US, FixedClock, iso_utc, to_datetime, to_ns

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
EVIDENCE = Evidence("power_w", 500.0, 1_000.0, 950.0, 1_050.0, "W", 1.0)
FINDING = Finding(
    stable_id("finding", "DSO-0001", 1),
    "DSO-0001",
    FindingKind.METER_TAMPER,
    "integrity",
    "1",
    (1,),
    NOON,
    NOON,
    Severity.HIGH,
    2.0,
    0.9,
    "t",
    "e",
    (EVIDENCE,),
    (),
    (),
    "T0856",
    Provenance.SIMULATED,
)


def test_the_namespace_is_the_published_one() -> None:
    assert UUID("535dea42-3b49-5e37-b9b7-e538e762c061") == NAMESPACE


def test_stable_ids_differ_by_creator_and_new_ids_always() -> None:
    assert stable_id("incident", "DSO-0001", 1) == stable_id("incident", "DSO-0001", 1)
    assert stable_id("incident", "DSO-0001", 1) != stable_id("incident", "DSO-0002", 1)
    assert new_id() != new_id()


@pytest.mark.parametrize("before", list(Status))
@pytest.mark.parametrize("after", list(Status))
def test_only_steps_of_the_table_are_allowed(before: Status, after: Status) -> None:
    if after in STEPS[before]:
        require_step(before, after)
    else:
        with pytest.raises(Conflict, match=str(before)):
            require_step(before, after)


def test_every_closed_incident_can_be_reopened_and_none_is_a_dead_end() -> None:
    assert all(Status.INVESTIGATING in STEPS[status] for status in CLOSED)
    assert all(STEPS[status] for status in Status)


def test_shares_of_evidence_must_sum_to_one() -> None:
    with pytest.raises(ValueError, match="expected 1"):
        replace(FINDING, evidence=(replace(EVIDENCE, share=0.5),))


def test_naive_times_are_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        replace(FINDING, start=datetime(2026, 11, 1))  # noqa: DTZ001 - the fault under test
    with pytest.raises(ValueError, match="no zone"):
        to_ns(datetime(2026, 11, 1))  # noqa: DTZ001 - the fault under test


@given(st.datetimes(datetime(1970, 1, 1), datetime(2262, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds
def test_times_survive_nanoseconds(moment: datetime) -> None:
    assert to_datetime(to_ns(moment)) == moment
    assert to_ns(moment) % NS_PER_US == 0


def test_stix_time_is_utc_with_milliseconds() -> None:
    local = datetime(2026, 11, 1, 13, 0, 0, 1500, tzinfo=timezone(timedelta(hours=1)))
    assert iso_utc(local) == "2026-11-01T12:00:00.001Z"


def test_fixed_clock_moves_both_times() -> None:
    clock = FixedClock(0)
    clock.advance(1.5)
    assert (clock.now_ns(), clock.monotonic_s()) == (1_500_000_000, 1.5)


def test_peer_errors_name_thing_value_and_expectation() -> None:
    assert str(PeerError("crc", "CHK", 1, 2)) == "CHK is 1, expected 2"
