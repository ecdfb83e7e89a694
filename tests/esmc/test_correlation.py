"""Cases become campaigns: what counts, what does not, and what others are told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import structlog

from esmc import correlate
from esmc.context import EsmcContext
from esmc.store import correlation, taxii
from esmc.store.correlation import EuropeanIncident
from model.device import Provenance
from model.finding import FindingKind, Severity
from model.time import FixedClock, to_datetime
from tests.browser.europe import KEY, enrol
from tests.browser.europe import context as europe

NOW_NS = 1_793_527_200_000_000_000


@pytest.fixture
def centre(esmc_embedded: str, tmp_path):
    plain = europe(esmc_embedded, tmp_path)
    made = EsmcContext(plain.settings, plain.engine, FixedClock(NOW_NS), structlog.get_logger())
    with made.engine.begin() as conn:
        taxii.ensure_collections(conn)
        for i in range(1, 5):
            enrol(conn, f"DSO-{i}", "n", "DE", "DE-BY", KEY, to_datetime(NOW_NS), simulated=True)
    yield made
    made.engine.dispose()


def case(member: int, name: str = "a", **changes: object) -> EuropeanIncident:
    now = to_datetime(NOW_NS)
    made = EuropeanIncident(
        incident_ref=f"incident--{member}{name}", member=f"DSO-{member}", case_name="c", title="t",
        kind=FindingKind.METER_TAMPER, technique="T0856", severity=Severity.HIGH, status="suspected", confidence=90,
        sensors=None, provenance=Provenance.SIMULATED, first_seen=now, last_seen=now, version=now, received=now,
    )  # fmt: skip
    return replace(made, **changes)


def tick(centre: EsmcContext, *cases: EuropeanIncident) -> dict[str, float]:
    centre.clock.advance(1.0)
    now = to_datetime(centre.clock.now_ns())
    with centre.engine.begin() as conn:
        for i in cases:
            correlation.put_incident(conn, replace(i, received=now, version=now))
    return correlate.tick(centre)


def campaigns(centre: EsmcContext):
    with centre.engine.begin() as conn:
        return correlation.campaigns(conn)


def test_one_member_alone_is_no_campaign_however_often_it_reports(centre) -> None:
    tick(centre, case(1, "a"), case(1, "b"), case(1, "c"))
    assert campaigns(centre) == []


@pytest.mark.parametrize(
    "second",
    [
        case(2, technique="T0832"),
        case(2, kind=FindingKind.CLOCK_ATTACK),
        case(2, status="false-positive"),
        case(2, provenance=Provenance.MEASURED),
        case(2, last_seen=to_datetime(NOW_NS) - timedelta(days=2)),
    ],
    ids=["other technique", "other kind", "false alarm", "measured beside simulated", "too old"],
)
def test_what_does_not_belong_together_makes_no_campaign(centre, second) -> None:
    tick(centre, case(1), second)
    assert campaigns(centre) == []


def test_bad_data_alone_is_no_campaign(centre) -> None:
    tick(centre, *(case(i, kind=FindingKind.DATA_QUALITY) for i in (1, 2, 3)))
    assert campaigns(centre) == []


def test_a_campaign_grows_keeps_its_id_and_tells_a_new_version(centre) -> None:
    assert tick(centre, case(1), case(2))["alerts"] == 1
    (before,) = campaigns(centre)
    assert tick(centre)["alerts"] == 0
    assert tick(centre, case(3, severity=Severity.CRITICAL))["alerts"] == 1
    (after,) = campaigns(centre)
    assert (after.campaign_id, after.number, after.members) == (before.campaign_id, before.number, 3)
    assert after.statistic > before.statistic
    assert after.severity is Severity.CRITICAL
    with centre.engine.begin() as conn:
        reports = taxii.page(conn, taxii.Query(taxii.ADVICE.collection, types=("report",), versions=("all",)), 10)
    assert len(reports) == 2
    assert len({r.id for r in reports}) == 1
    assert b"DSO-" not in b"".join(r.body for r in reports)


def test_a_false_alarm_leaves_the_count(centre) -> None:
    tick(centre, case(1), case(2), case(3))
    tick(centre, case(3, status="false-positive"))
    (after,) = campaigns(centre)
    assert (after.members, after.incidents) == (2, 2)


def test_measured_campaigns_of_two_are_not_told(centre) -> None:
    measured = {"provenance": Provenance.MEASURED}
    assert tick(centre, case(1, **measured), case(2, **measured))["campaigns"] == 1
    with centre.engine.begin() as conn:
        assert correlation.alerts(conn) == {}
    assert tick(centre, case(3, **measured))["alerts"] == 1
