"""An incident leaves one centre, meets another operator's in Europe, and comes back as advice."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import msgspec
import structlog

from esmc import correlate
from host.database import engine
from model.finding import Finding, FindingKind
from model.time import SystemClock
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.federate import Federation
from smc.settings import SmcSettings
from smc.store import advice, findings, outbox
from tests.federation.cases import MARKER, READING, open_incident
from tests.federation.conftest import Centre

STOP = threading.Event()


def until(federation: Federation, done: Callable[[], bool], ticks: int = 40) -> None:
    for _ in range(ticks):
        federation.tick(STOP)
        if done():
            return
        STOP.wait(0.1)
    raise AssertionError("not done in time")


def second_operator(settings: SmcSettings, url: str) -> StageContext:
    settings = replace(settings, database_url=url)
    log = structlog.get_logger("federate")
    return StageContext(settings, engine(url, "test"), MemoryBus(), SystemClock(), log)


def test_two_operators_make_a_campaign_and_both_get_advice(centre, operator, member, smc_second) -> None:
    other = second_operator(member("DSO-0002"), smc_second)
    for context in (operator, other):
        with context.engine.begin() as conn:
            open_incident(conn, context.settings.site)
        federation = Federation(context)
        until(federation, lambda context=context: states(context) == ["complete"])
    assert correlate.tick(centre.context) == {"incidents": 2, "acknowledgements": 0, "campaigns": 1, "alerts": 1}
    kind, technique, members, simulated, reason = centre.rows(
        "SELECT kind, technique, members, simulated, reason FROM campaigns"
    )[0]
    assert (kind, technique, members, simulated) == ("meter-tamper", "T0856", 2, True)
    assert "2 members reported 2 incidents" in str(reason)
    assert "Stouffer's Z over the highest confidence of each member is 1.81" in str(reason)

    federation = Federation(operator)
    until(federation, lambda: states(operator) == ["complete", "complete"])
    with operator.engine.begin() as conn:
        (received,) = advice.all(conn)
        (known,) = [f for f in findings.recent(conn) if f.kind is FindingKind.EUROPEAN_ADVICE]
    assert (received.members, received.technique, received.kind) == (2, "T0856", FindingKind.METER_TAMPER)
    assert received.acknowledged is not None
    assert "DSO-" not in received.text + received.title, "no member is named"
    (told,) = operator.bus.receive("findings", "triage", "triage", 10, 0.1)
    assert msgspec.json.decode(told.body, type=Finding) == known

    assert correlate.tick(centre.context)["acknowledgements"] == 1
    assert centre.rows("SELECT member, state FROM acknowledgements") == [("DSO-0001", "received")]
    other.engine.dispose()


def test_nothing_local_leaves(centre: Centre, operator: StageContext) -> None:
    with operator.engine.begin() as conn:
        open_incident(conn, "DSO-0001")
    Federation(operator).freeze()
    with operator.engine.begin() as conn:
        bodies = [p.body for p in outbox.recent(conn)]
    secrets_planted = [MARKER.encode(), str(READING).encode(), b"somebody"]
    forms = [f for s in secrets_planted for f in (s, base64.b64encode(s)[:-4], s.hex().encode())]
    assert len(bodies) == 1
    assert not [f for f in forms if f in bodies[0]]
    assert b'"ics-sensor":12' in bodies[0]
    assert b"ics-pmu" not in bodies[0], "one PMU is fewer than ten: suppressed"
    assert b'"simulated"' in bodies[0]
    assert [f for f in forms if f in bodies[0] + MARKER.encode()], "the search itself finds what leaks"


def test_the_same_state_is_frozen_once_and_a_change_gets_the_next_number(centre, operator, monkeypatch) -> None:
    monkeypatch.setattr("smc.federate.QUIET", datetime.now(UTC) - datetime.now(UTC))
    federation = Federation(operator)
    with operator.engine.begin() as conn:
        open_incident(conn, "DSO-0001", key="1a")
    federation.freeze()
    federation.freeze()
    with operator.engine.begin() as conn:
        open_incident(conn, "DSO-0001", key="1b")
    federation.freeze()
    with operator.engine.begin() as conn:
        parcels = outbox.waiting(conn, "ESMC")
    assert [p.number for p in parcels] == [1, 2]
    until(federation, lambda: states(operator) == ["complete", "complete"])
    versions = "SELECT count(*), count(DISTINCT version), sum(is_last::int) FROM taxii_objects WHERE type = 'incident'"
    assert centre.rows(versions) == [(2, 2, 1)]


def states(context: StageContext) -> list[str]:
    with context.engine.begin() as conn:
        return sorted(p.state for p in outbox.recent(conn))
