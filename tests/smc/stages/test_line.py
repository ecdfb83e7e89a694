"""From blocks to a dry run, on both databases and both buses; and the same after crashes at every point."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from model.decision import DecisionStatus
from model.errors import Conflict
from model.finding import FindingKind, Severity
from model.incident import Status
from norm.fleet import Fleet as Twins
from norm.scenario import parse_scenarios
from smc import act, decide, detect, triage
from smc.bus import Bus, MemoryBus, RedisBus
from smc.context import StageContext
from smc.store import decisions, findings, health, incidents
from tests.analytics import streams
from tests.smc.stages.line import SITE, blocks_of, centre, enrol, publish, running, until

UNITS, SECONDS = 6, 50
STAGES = (detect, triage, decide, act)


@pytest.fixture(scope="module")
def twins() -> Twins:
    return Twins(5, SITE, UNITS, parse_scenarios("s01:2@25*0.6,s08:5@25*30", streams.START_NS, UNITS))


@pytest.fixture
def context(database: str, tmp_path: Path) -> StageContext:
    return centre(database, MemoryBus(), tmp_path)


def counts(context: StageContext) -> dict[str, int]:
    with context.engine.connect() as conn:
        return {
            table: int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())
            for table in ("findings", "incidents", "decisions")
        }


def idle(bus: Bus) -> bool:
    return all(bus.length(topic) == 0 for topic in ("blocks", "findings", "decisions"))


def approve_all(context: StageContext) -> None:
    with context.engine.begin() as conn:
        waiting = decisions.proposed(conn)
        for decision in waiting:
            decisions.decide(conn, decision.decision_id, DecisionStatus.APPROVED, "ana", "looks right to me")
    for decision in waiting:
        context.bus.publish("decisions", f'{{"decision_id": "{decision.decision_id}"}}'.encode())


def check_line(context: StageContext, twins: Twins) -> None:
    publish(context.bus, blocks_of(twins, enrol(context, twins), SECONDS))
    with running(context, *STAGES):
        until(lambda: idle(context.bus) and counts(context)["decisions"] == 2, "two proposals")
        approve_all(context)
        until(lambda: outcomes(context) == ["done", "done"], "two dry runs")
    assert counts(context) == {"findings": 2, "incidents": 2, "decisions": 2}
    with context.engine.connect() as conn:
        cases = [incidents.by_number(conn, number) for number in (1, 2)]
        assert {case.kind for case in cases if case} == {FindingKind.METER_TAMPER, FindingKind.CLOCK_ATTACK}
        for case in cases:
            assert case is not None
            assert (case.severity, case.status) == (Severity.HIGH, Status.NEW)
            (decision,) = decisions.of_incident(conn, case.incident_id)
            assert decision.dry_run
            assert decision.outcome.startswith("Dry run: nothing was switched or sent. Approved by ana.")
            (finding,) = findings.of_incident(conn, case.incident_id)
            assert finding.kind is case.kind
        told = {stage.stage: stage.counters for stage in health.all_stages(conn)}
    assert {"detect", "triage", "decide", "act"} <= told.keys()


def outcomes(context: StageContext) -> list[str]:
    with context.engine.connect() as conn:
        return [row[0] for row in conn.execute(text("SELECT status FROM decisions"))]


def test_from_blocks_to_a_dry_run(context: StageContext, twins: Twins) -> None:
    check_line(context, twins)


def test_from_blocks_to_a_dry_run_over_a_real_bus(
    smc_embedded: str, bus_url: str, tmp_path: Path, twins: Twins
) -> None:
    check_line(centre(smc_embedded, RedisBus(bus_url, SITE), tmp_path), twins)


class Crash(BaseException):
    """The process is gone, as far as the stage can tell."""


class CrashingBus(MemoryBus):
    """Ends the stage once, before or after a call."""

    def __init__(self, call: str, topic: str, number: int, *, after: bool) -> None:
        super().__init__()
        self.plan, self.number, self.after = (call, topic), number, after

    def publish(self, topic: str, body: bytes) -> str:
        return str(self._pass(("publish", topic), lambda: MemoryBus.publish(self, topic, body)))

    def acknowledge(self, topic: str, group: str, entries: object) -> None:
        self._pass(("acknowledge", topic), lambda: MemoryBus.acknowledge(self, topic, group, entries))  # type: ignore[arg-type]

    def _pass(self, call, work):
        if call != self.plan:
            return work()
        self.number -= 1
        if self.number == 0 and not self.after:
            raise Crash
        result = work()
        if self.number == 0:
            raise Crash
        return result


@pytest.mark.parametrize(
    ("call", "topic", "number", "after"),
    [
        ("publish", "findings", 1, False),
        ("publish", "findings", 1, True),
        ("publish", "findings", 2, True),
        ("acknowledge", "blocks", 1, False),
        ("acknowledge", "blocks", 1, True),
        ("publish", "incidents", 1, False),
        ("publish", "incidents", 1, True),
        ("acknowledge", "findings", 1, False),
    ],
)
def test_a_crash_loses_and_doubles_nothing(
    smc_embedded: str, tmp_path: Path, twins: Twins, call: str, topic: str, number: int, after: bool
) -> None:
    bus = CrashingBus(call, topic, number, after=after)
    context = centre(smc_embedded, bus, tmp_path)
    blocks = blocks_of(twins, enrol(context, twins), SECONDS)
    publish(bus, blocks)
    crashed = 0
    for stage in (detect, triage):
        crashed += drain(context, stage)
    assert crashed == 1
    assert counts(context) == {"findings": 2, "incidents": 2, "decisions": 0}
    with context.engine.connect() as conn:
        assert sorted(case.findings for n in (1, 2) if (case := incidents.by_number(conn, n))) == [1, 1]


def drain(context: StageContext, stage: object) -> int:
    """Run a stage until its topic is empty, starting it again in a new thread when it crashes; counts the crashes."""
    crashes = 0
    for _ in range(5):
        stop, raised = threading.Event(), []

        def work(stop: threading.Event = stop, raised: list[Crash] = raised) -> None:
            try:
                stage.run(context, stop)  # type: ignore[attr-defined]
            except Crash as error:
                raised.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        until(lambda t=thread: context.bus.length(stage.TOPIC) == 0 or not t.is_alive(), "drained")  # type: ignore[attr-defined]
        stop.set()
        thread.join(30)
        crashes += len(raised)
        if not raised:
            return crashes
    raise AssertionError("crashed again and again")


def test_what_no_person_approved_is_refused(context: StageContext, twins: Twins) -> None:
    publish(context.bus, blocks_of(twins, enrol(context, twins), SECONDS))
    with running(context, detect, triage, decide):
        until(lambda: counts(context)["decisions"] == 2, "two proposals")
    with context.engine.connect() as conn:
        first, second = decisions.proposed(conn)
    assert not act.carry_out(context, first.decision_id)
    with pytest.raises(Conflict):
        act.dry_run(first)
    with context.engine.begin() as conn:
        decisions.decide(conn, second.decision_id, DecisionStatus.REFUSED, "ana", "a false alarm, I think")
    assert not act.carry_out(context, second.decision_id)
    assert sorted(outcomes(context)) == ["proposed", "refused"]


def test_poison_on_the_bus_goes_to_quarantine_and_the_rest_goes_on(context: StageContext, twins: Twins) -> None:
    enrolled = enrol(context, twins)
    context.bus.publish("blocks", b"no block at all")
    context.bus.publish("findings", b"{}")
    context.bus.publish("incidents", b'{"incident_id": 7}')
    publish(context.bus, blocks_of(twins, enrolled, SECONDS))
    with running(context, detect, triage, decide):
        until(lambda: idle(context.bus) and counts(context)["decisions"] == 2, "two proposals")
    with context.engine.connect() as conn:
        assert conn.execute(text("SELECT count(*) FROM quarantine")).scalar_one() == 3


def test_a_state_that_cannot_be_read_is_left_and_everything_learnt_anew(context: StageContext, twins: Twins) -> None:
    (context.settings.data / detect.STATE_FILE).write_bytes(b"half a file")
    publish(context.bus, blocks_of(twins, enrol(context, twins), SECONDS))
    with running(context, detect):
        until(lambda: context.bus.length("blocks") == 0, "blocks read")
    assert counts(context)["findings"] == 2


def test_devices_enrolled_later_are_judged_too(context: StageContext, twins: Twins) -> None:
    with running(context, detect):
        until(lambda: (context.settings.data).exists(), "started")
        publish(context.bus, blocks_of(twins, enrol(context, twins), SECONDS))
        until(lambda: context.bus.length("blocks") == 0, "blocks read")
    assert counts(context)["findings"] == 2
