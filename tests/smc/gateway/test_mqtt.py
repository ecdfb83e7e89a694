"""Meters through a real Mosquitto into a real database: committed, then acknowledged; once; by the right device."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from sqlalchemy import text

from model.block import METER_COLUMNS, Schema, decode_block
from model.device import Enrolment, Provenance
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.gateway.mqtt_link import MqttLink
from smc.store import health, quarantine
from tests.servers.brokers import Mosquitto
from tests.smc.gateway.conftest import SITE, enrol, eventually, meter, running, with_settings
from wire.meter import encode_meter_pack


def at_broker(context: StageContext, broker: Mosquitto, site: str) -> StageContext:
    """Each test is a site of its own: one broker, persistent sessions and topics by site."""
    return with_settings(
        context,
        site=site,
        mqtt=f"{broker.host}:{broker.port}",
        mqtt_user=broker.user,
        mqtt_password_file=broker.password_file,
    )


def pack(unit: str, time_ns: int, rows: int = 1) -> bytes:
    values = np.tile(np.arange(1.0, 12.0), (rows, 1))
    return encode_meter_pack(f"urn:dev:norm:{unit}:meter", time_ns + np.arange(rows) * 1_000_000_000, values)


async def _publish(broker: Mosquitto, messages: list[tuple[str, bytes]]) -> None:
    from gmqtt import Client
    from gmqtt.mqtt.constants import MQTTv311

    client = Client("test-publisher")
    client.set_auth_credentials(broker.user, broker.password)
    await client.connect(broker.host, broker.port, version=MQTTv311)
    for topic, payload in messages:
        client.publish(topic, payload, qos=1)
    await client._persistent_storage.wait_empty()
    await client.disconnect()


def publish(broker: Mosquitto, *messages: tuple[str, bytes]) -> None:
    """Publish at QoS 1 and wait until the broker has all."""
    asyncio.run(asyncio.wait_for(_publish(broker, list(messages)), 20))


def count(context: StageContext, table: str) -> int:
    with context.engine.connect() as conn:
        return int(conn.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


def counters(context: StageContext) -> dict[str, float]:
    with context.engine.connect() as conn:
        found = [stage.counters for stage in health.all_stages(conn) if stage.stage == "intake"]
    return found[0] if found else {}


def subscribed(context: StageContext) -> Callable[[], bool]:
    return lambda: counters(context).get("links_up") == 1.0


def test_readings_are_stored_and_told(context: StageContext, mosquitto: Mosquitto) -> None:
    context = at_broker(context, mosquitto, "DSO-1001")
    (device,) = enrol(context, meter("norm-0001"))
    now_ns = time.time_ns() // 1000 * 1000
    with running(context):
        eventually(subscribed(context), "subscribed")
        publish(mosquitto, ("smc/DSO-1001/norm-0001/meter", pack("norm-0001", now_ns, rows=3)))
        eventually(lambda: count(context, "meter_readings") == 3, "three readings")
        (delivery,) = context.bus.receive("blocks", "detect", "test", 10, 5.0)
    block = decode_block(delivery.body)
    assert (block.schema, block.columns, block.origin.provenance) == (Schema.METER, METER_COLUMNS, Provenance.SIMULATED)
    assert block.device.tolist() == [device.index] * 3
    assert block.time_ns[0] == now_ns
    assert counters(context)["acknowledged"] == 1


def test_redelivered_messages_change_nothing(context: StageContext, mosquitto: Mosquitto) -> None:
    context = at_broker(context, mosquitto, "DSO-1002")
    enrol(context, meter("norm-0001"))
    message = ("smc/DSO-1002/norm-0001/meter", pack("norm-0001", time.time_ns()))
    with running(context):
        eventually(subscribed(context), "subscribed")
        for _ in range(3):
            publish(mosquitto, message)
        eventually(lambda: counters(context).get("acknowledged") == 3, "three answers")
    assert count(context, "meter_readings") == 1
    assert counters(context)["rows_duplicate"] == 2


def test_acknowledged_only_after_the_commit(
    context: StageContext, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is visible in the database when the PUBACK leaves; and without a commit none leaves."""
    context = at_broker(context, mosquitto, "DSO-1003")
    enrol(context, meter("norm-0001"))
    seen: list[int] = []
    from gmqtt.mqtt.handler import MqttPackageHandler

    original = MqttPackageHandler._send_puback

    def observed(self: Any, mid: int, reason_code: int = 0) -> None:
        seen.append(count(context, "meter_readings"))
        original(self, mid, reason_code)

    monkeypatch.setattr(MqttPackageHandler, "_send_puback", observed)
    now_ns = time.time_ns()
    with context.engine.begin() as lock, running(context):
        eventually(subscribed(context), "subscribed")
        lock.execute(text("LOCK TABLE latest IN ACCESS EXCLUSIVE MODE"))
        publish(mosquitto, ("smc/DSO-1003/norm-0001/meter", pack("norm-0001", now_ns)))
        time.sleep(1.0)
        assert seen == []  # the transaction waits for our lock, and so does the answer
        lock.rollback()
        eventually(lambda: len(seen) == 1, "the answer")
    assert seen == [1]


def test_unanswered_messages_come_again_after_a_crash(
    context: StageContext, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The intake dies between receipt and commit: the next one gets the message from the broker."""
    context = at_broker(context, mosquitto, "DSO-1004")
    enrol(context, meter("norm-0001"))

    def die(*_: Any) -> None:
        raise RuntimeError("crash before the commit")

    def crash() -> None:
        with running(context):
            eventually(subscribed(context), "subscribed")
            with monkeypatch.context() as patched:
                patched.setattr("smc.store.commit.ingest.store_block", die)
                publish(mosquitto, ("smc/DSO-1004/norm-0001/meter", pack("norm-0001", time.time_ns())))
                time.sleep(1.0)

    with pytest.raises(BaseExceptionGroup, match="TaskGroup"):
        crash()
    assert count(context, "meter_readings") == 0
    with running(context):
        eventually(lambda: count(context, "meter_readings") == 1, "the message again")


def test_it_ends_in_order_while_the_bus_is_full_and_answers_nobody(context: StageContext, mosquitto: Mosquitto) -> None:
    context = replace(at_broker(context, mosquitto, "DSO-1006"), bus=MemoryBus(max_messages=0))
    enrol(context, meter("norm-0001"))
    with running(context):
        eventually(subscribed(context), "subscribed")
        publish(mosquitto, ("smc/DSO-1006/norm-0001/meter", pack("norm-0001", time.time_ns())))
        eventually(lambda: count(context, "meter_readings") == 1, "stored, but not told")
    assert counters(context).get("acknowledged", 0) == 0


@pytest.mark.parametrize(
    ("topic", "payload", "reason"),
    [
        ("smc/{site}/norm-0001/meter", b"\x00\x01broken", "json"),
        ("smc/{site}/norm-0002/meter", pack("norm-0001", time.time_ns()), "identity"),
        ("smc/{site}/norm-0009/meter", pack("norm-0009", time.time_ns()), "unknown_device"),
        ("smc/{site}/norm-0003/meter", pack("norm-0003", time.time_ns()), "enrolment"),
        ("smc/{site}/norm-0001/meter", pack("norm-0001", time.time_ns() + 86_400 * 10**9), "window"),
        ("smc/{site}/norm-0001/meter", pack("norm-0001", time.time_ns() - 61 * 86_400 * 10**9), "window"),
    ],
)
def test_what_is_wrong_lands_in_quarantine_and_is_answered(
    context: StageContext, mosquitto: Mosquitto, topic: str, payload: bytes, reason: str, request: pytest.FixtureRequest
) -> None:
    site = f"DSO-2{crc32(request.node.name.encode()) % 10_000:04d}"
    context = at_broker(context, mosquitto, site)
    suspended = replace(meter("norm-0003"), enrolment=Enrolment.SUSPENDED)
    enrol(context, meter("norm-0001"), meter("norm-0002"), suspended)
    with running(context):
        eventually(subscribed(context), "subscribed")
        publish(mosquitto, (topic.format(site=site), payload))
        eventually(lambda: counters(context).get("acknowledged") == 1, "the answer")
    with context.engine.connect() as conn:
        (kept,) = quarantine.recent(conn, 10)
    assert (kept.link, kept.reason) == ("mqtt", reason)
    assert count(context, "meter_readings") == 0
    if reason == "window":
        assert kept.what == "stamp of urn:dev:norm:norm-0001:meter"
    else:
        assert kept.peer == topic.format(site=site)
        assert kept.data == payload


def test_a_meter_enrolled_later_is_known_soon(context: StageContext, mosquitto: Mosquitto) -> None:
    context = at_broker(context, mosquitto, "DSO-1005")
    topic = "smc/DSO-1005/norm-0007/meter"
    with running(context):
        eventually(subscribed(context), "subscribed")
        enrol(context, meter("norm-0007"))
        number = iter(range(1000))

        def arrived() -> bool:
            publish(mosquitto, (topic, pack("norm-0007", time.time_ns() + next(number))))
            return count(context, "meter_readings") > 0

        eventually(arrived, "a reading")


def test_link_has_no_optimistic_answers(context: StageContext, mosquitto: Mosquitto) -> None:
    link = MqttLink(at_broker(context, mosquitto, SITE), None, None)  # type: ignore[arg-type]
    assert link._client._package_handler._optimistic_acknowledgement is False
