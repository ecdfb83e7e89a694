"""Devices, sites, quarantine, heartbeats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from model.block import Origin
from model.device import Channel, ChannelKind, Device, DeviceKind, Enrolment, Protocol, Provenance, Site
from model.errors import DecodeError
from model.time import NS_PER_S
from smc.store import devices, health, quarantine, telemetry
from smc.store.ingest import store_block
from tests.smc.store.blocks import meter_block, transaction

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
METER = Device(0, "urn:dev:norm:n1:meter", DeviceKind.METER, Protocol.SENML_MQTT, "DSO-0001", Provenance.SIMULATED)
PMU = replace(
    METER,
    name="pmu:61:PMU1",
    kind=DeviceKind.PMU,
    protocol=Protocol.C37_118,
    unit="n1",
    nominal_voltage_v=11_500.0,
    channels=(Channel("VA", ChannelKind.VOLTAGE), Channel("", ChannelKind.CURRENT), Channel("", ChannelKind.ANALOG)),
)


def test_a_device_is_found_as_it_was_enrolled_and_keeps_its_index(database: str) -> None:
    with transaction(database) as conn:
        pmu, meter = devices.enrol(conn, [PMU, METER])
        assert (replace(pmu, index=0), replace(meter, index=0)) == (PMU, METER)
        assert pmu.index != meter.index
        moved = replace(METER, zone="north", enrolment=Enrolment.SUSPENDED)
        assert devices.enrol(conn, [moved]) == [replace(moved, index=meter.index)]
        assert devices.by_name(conn, PMU.name) == devices.by_index(conn, pmu.index) == pmu
        assert devices.by_name(conn, "nobody") is devices.by_index(conn, 10_000) is None
        assert {d.index for d in devices.all_devices(conn)} == {pmu.index, meter.index}
        assert devices.enrol(conn, []) == []


def test_enrolling_the_same_again_is_no_change(database: str) -> None:
    changed = text("SELECT changed FROM devices")
    with transaction(database) as conn:
        devices.enrol(conn, [METER])
        before = conn.scalar(changed)
    with transaction(database) as conn:
        devices.enrol(conn, [METER])
        assert conn.scalar(changed) == before
        devices.enrol(conn, [replace(METER, firmware="2")])
        assert conn.scalar(changed) != before


def test_sites_are_upserted(database: str) -> None:
    north = Site("DSO-0001", "North", "DE", "DE-SH", simulated=True)
    with transaction(database) as conn:
        devices.put_site(conn, north)
        devices.put_site(conn, replace(north, name="North Grid"))
        assert devices.all_sites(conn) == [replace(north, name="North Grid")]


def test_refused_bytes_are_kept_once_with_a_count(database: str) -> None:
    error = DecodeError("crc", "CHK", "0x1234", "0x29b1")
    data = bytes(range(256)) * 1_000
    with transaction(database) as conn:
        for minute in range(3):
            quarantine.put(conn, "c37.118", "10.0.0.1:4712", error, data, NOW + timedelta(minutes=minute))
        quarantine.put(conn, "mqtt", "t", DecodeError("json", "pack", "{\0", "JSON"), b"{\0", NOW)
        first, second = quarantine.recent(conn, 10)
        assert (first.count, first.received, first.last_received) == (3, NOW, NOW + timedelta(minutes=2))
        assert (first.data, first.size) == (data[: quarantine.KEPT_BYTES], len(data))
        assert (first.reason, first.what, first.value, first.expected) == ("crc", "CHK", "0x1234", "0x29b1")
        assert second.value == "{\N{REPLACEMENT CHARACTER}"
        assert second.data == b"{\0"
        assert quarantine.counts(conn) == {("c37.118", "crc"): 3, ("mqtt", "json"): 1}


def test_a_flood_of_different_garbage_is_counted_but_not_kept(database: str) -> None:
    error, flood = DecodeError("crc", "CHK", 1, 2), quarantine.MAX_SPECIMENS + 50
    with transaction(database) as conn:
        for number in range(flood):
            quarantine.put(conn, "c37.118", "loud", error, b"%d" % number, NOW)
        quarantine.put(conn, "c37.118", "other", error, b"0", NOW)
        again = quarantine.put(conn, "c37.118", "loud", error, b"0", NOW)
        assert quarantine.counts(conn) == {("c37.118", "crc"): flood + 2}
        kept = quarantine.recent(conn, 1_000)
        assert len([q for q in kept if q.peer == "loud"]) == quarantine.MAX_SPECIMENS + 1
        assert [q.count for q in kept if q.quarantine_id == again] == [2], "a known specimen is still known"


def test_stages_tell_that_they_live(database: str) -> None:
    with transaction(database) as conn:
        health.start(conn, "detect")
        health.beat(conn, "detect", {"blocks": 3.0})
        health.beat(conn, "triage", {})
    with transaction(database) as conn:
        detect_stage, triage = health.all_stages(conn)
        assert (detect_stage.stage, detect_stage.counters, triage.stage) == ("detect", {"blocks": 3.0}, "triage")
        assert 0 <= detect_stage.age_s < 60
        health.start(conn, "detect")
        assert health.all_stages(conn)[0].counters == {}
        assert health.all_stages(conn)[0].started > detect_stage.started
        with pytest.raises(ValueError, match="JSON"):
            health.beat(conn, "detect", {"rate": float("nan")})


def test_provenance_is_kept_with_every_row(database: str) -> None:
    with transaction(database) as conn:
        for number, provenance in enumerate(Provenance):
            block = meter_block(1, 1)
            block = replace(block, origin=Origin("l", "p", provenance), time_ns=block.time_ns + number * NS_PER_S)
            store_block(conn, block)
            assert telemetry.latest(conn)[1].provenance is provenance
        found = telemetry.readings(conn, 1, NOW - timedelta(days=1), NOW + timedelta(days=1), 10)
        assert [tuple(Provenance)[p] for p in found["provenance"]] == list(Provenance)
