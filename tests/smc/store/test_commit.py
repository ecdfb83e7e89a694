"""The committer: everything stored and told, what the database refuses set aside row by row, contradictions raised."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from sqlalchemy import text

from model.block import METER_COLUMNS, Block, Schema, decode_block, phasor_columns
from model.device import Channel, ChannelKind, Device, DeviceKind, Protocol, Provenance
from model.finding import Finding, FindingKind, Severity
from model.time import NS_PER_S, to_datetime
from smc import decide, triage
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.publisher import Publisher
from smc.store import devices, findings, quarantine
from smc.store.commit import Committer
from tests.smc.stages.line import SITE, centre, running, until
from tests.smc.store.blocks import START_NS, block_of

POWER, VOLTAGE = METER_COLUMNS.index("power_w"), METER_COLUMNS.index("voltage_l1_v")


@pytest.fixture
def context(database: str, tmp_path: Path) -> Iterator[StageContext]:
    made = centre(database, MemoryBus(), tmp_path)
    with made.engine.begin() as conn:
        simulated = Provenance.SIMULATED
        enrolled = devices.enrol(
            conn,
            [
                Device(0, f"urn:dev:meter:{n}", DeviceKind.METER, Protocol.SENML_MQTT, SITE, simulated, feeder="f-1")
                for n in (1, 2, 3)
            ]
            + [
                Device(0, "urn:dev:pmu:1", DeviceKind.PMU, Protocol.C37_118, SITE, simulated, feeder="f-2",
                       channels=(Channel("VA", ChannelKind.VOLTAGE), Channel("IA", ChannelKind.CURRENT)))
            ],
        )  # fmt: skip
        assert [device.index for device in enrolled] == [1, 2, 3, 4]
    yield made
    made.engine.dispose()


def committer_of(context: StageContext) -> Committer:
    stop = threading.Event()
    return Committer(context, stop, "test", context.engine.begin, Publisher(context, stop, "test"))


def readings(device: int, rows: int, first_s: int = 0, power_w: float = 1_000.0) -> Block:
    values = np.full((rows, len(METER_COLUMNS)), 230.0)
    values[:, POWER] = power_w
    times = START_NS + (first_s + np.arange(rows)) * NS_PER_S
    return block_of(Schema.METER, METER_COLUMNS, np.full(rows, device), times, values)


def frames(rows: int, magnitude: float = 230.0) -> Block:
    columns = phasor_columns(2)
    values = np.full((rows, len(columns)), 50.0)
    values[:, columns.index("magnitude_1")] = magnitude
    times = START_NS + np.arange(rows) * (NS_PER_S // 10)
    return block_of(Schema.PHASOR, columns, np.full(rows, 4), times, values)


def told(context: StageContext, topic: str, group: str) -> list[bytes]:
    found = context.bus.receive(topic, group, group, 1_000, 0)
    context.bus.acknowledge(topic, group, [delivery.entry for delivery in found])
    return [delivery.body for delivery in found]


def raised(context: StageContext) -> list[Finding]:
    """Findings that triage would hear of; the database knows them too."""
    heard = [msgspec.json.decode(body, type=Finding) for body in told(context, "findings", "triage")]
    with context.engine.connect() as conn:
        assert all(findings.get(conn, finding.finding_id) == finding for finding in heard)
    return heard


def count(context: StageContext, table: str) -> int:
    with context.engine.connect() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_rows_that_the_database_refuses_are_set_aside_alone(context: StageContext) -> None:
    with context.engine.begin() as conn:
        conn.execute(text('ALTER TABLE latest ADD CONSTRAINT odd CHECK ("values"[3] <> 4242)'))
    good, poisoned, other = readings(1, 40), readings(2, 40), readings(3, 40)
    poisoned.values[39, POWER] = 4242.0  # the newest: that is what `latest` keeps
    committer = committer_of(context)
    committer.commit([good, poisoned, other], [])
    assert count(context, "meter_readings") == 119
    stored = [decode_block(body) for body in told(context, "blocks", "detect")]
    assert sum(map(len, stored)) == 119
    assert not any((block.values[:, POWER] == 4242.0).any() for block in stored)
    with context.engine.connect() as conn:
        (kept,) = quarantine.recent(conn, 10)
    row = decode_block(kept.data)
    assert (kept.reason, row.device.tolist(), row.time_ns.tolist()) == ("store", [2], [int(poisoned.time_ns[39])])
    assert committer.counts["rows_new"] == 119
    assert committer.counts["quarantined"] == 1


def test_equal_rows_raise_nothing(context: StageContext) -> None:
    committer = committer_of(context)
    for _ in range(3):
        committer.commit([readings(1, 10), frames(10)], [])
    assert committer.counts["rows_duplicate"] == 40
    assert raised(context) == []


def test_a_contradiction_is_one_finding_with_both_values(context: StageContext) -> None:
    committer = committer_of(context)
    committer.commit([readings(1, 10), readings(2, 10)], [])
    committer.commit([readings(1, 4, 3, power_w=12.5), readings(2, 10), readings(3, 1)], [])
    (finding,) = raised(context)
    assert (finding.kind, finding.devices, finding.severity) == (FindingKind.EQUIVOCATION, (1,), Severity.HIGH)
    assert (finding.detector, finding.score, finding.technique) == ("ledger", 4.0, "T0856")
    assert finding.provenance is Provenance.SIMULATED
    assert finding.start == to_datetime(START_NS + 3 * NS_PER_S)
    assert finding.end == to_datetime(START_NS + 6 * NS_PER_S)
    (evidence,) = finding.evidence
    assert (evidence.signal, evidence.expected, evidence.observed, evidence.unit) == ("power_w", 1_000.0, 12.5, "W")
    assert "power_w first 1 kW, then 12.5 W" in finding.explanation
    assert "urn:dev:meter:1" in finding.title


def test_known_contradictions_raise_nothing_again_and_new_ones_do(context: StageContext) -> None:
    committer = committer_of(context)
    committer.commit([readings(1, 10)], [])
    for _ in range(3):
        committer.commit([readings(1, 10, power_w=7.0)], [])
    assert [finding.score for finding in raised(context)] == [10.0]
    committer.commit([readings(1, 3, power_w=8.0)], [])
    assert [finding.score for finding in raised(context)] == [3.0]
    assert count(context, "findings") == 2


def test_frames_contradict_too_and_carry_the_unit_of_their_channel(context: StageContext) -> None:
    committer = committer_of(context)
    committer.commit([frames(10)], [])
    committer.commit([frames(10, magnitude=12.0)], [])
    (finding,) = raised(context)
    assert (finding.devices, finding.score) == ((4,), 10.0)
    assert [(e.signal, e.unit, e.observed) for e in finding.evidence] == [("magnitude_1", "A", 12.0)]


def test_contradictions_inside_one_batch_and_in_quality_alone_are_found(context: StageContext) -> None:
    first, second = readings(1, 1), readings(1, 1)
    second.quality[:] = 4
    committer_of(context).commit([first, second], [])
    (finding,) = raised(context)
    assert finding.evidence == ()
    assert "quality bits first 0x0, then 0x4" in finding.explanation


def test_a_flood_of_contradictions_is_one_finding_per_device_and_batch(context: StageContext) -> None:
    committer = committer_of(context)
    committer.commit([readings(device, 2_000) for device in (1, 2)], [])
    committer.commit([readings(device, 2_000, power_w=1.0) for device in (1, 2)], [])
    assert [(finding.devices, finding.score) for finding in raised(context)] == [((1,), 2_000.0), ((2,), 2_000.0)]


def test_findings_of_a_life_that_ended_before_telling_are_told(context: StageContext) -> None:
    """The commit is the last thing the first committer does; the next one finds what is owed."""

    class Deaf(Publisher):
        def publish(self, topic: str, body: bytes) -> None:
            raise InterruptedError

    stop = threading.Event()
    committer_of(context).commit([readings(1, 1)], [])
    dying = Committer(context, stop, "test", context.engine.begin, Deaf(context, stop, "test"))
    with pytest.raises(InterruptedError):
        dying.commit([readings(1, 1, power_w=2.0)], [])
    assert count(context, "findings") == 1
    assert raised(context) == []
    committer_of(context).tell_owed()
    assert [finding.devices for finding in raised(context)] == [(1,)]


def test_a_contradiction_becomes_an_incident(context: StageContext) -> None:
    """From the second value on the wire to the case: one for the device's feeder, with a playbook proposed for it."""
    committer = committer_of(context)
    with running(context, triage, decide):
        committer.commit([readings(1, 10)], [])
        committer.commit([readings(1, 10, power_w=3.0)], [])
        found = until(lambda: incidents_of(context), "an incident")
        until(lambda: count(context, "decisions") == 1, "a playbook")
    assert found == [("equivocation", "high", [1], 1)]
    committer.tell_owed()
    assert raised(context) == [], "it has its incident"


def incidents_of(context: StageContext) -> list[tuple[object, ...]]:
    with context.engine.connect() as conn:
        query = text("SELECT kind, severity, devices, findings FROM incidents")
        return [tuple(row) for row in conn.execute(query)]
