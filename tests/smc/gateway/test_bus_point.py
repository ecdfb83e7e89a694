"""Acknowledgement point A: the broker gets its answer once the bus has synced; the database may be away meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
from gmqtt.mqtt.handler import MqttPackageHandler

from host.postgres import Postgres
from model.errors import SettingsError, SetupError
from smc import persist, refusal
from smc.bus import MemoryBus, RedisBus
from smc.context import StageContext
from smc.gateway import intake
from smc.store import quarantine
from tests.servers.brokers import Mosquitto
from tests.servers.databases import without_database
from tests.smc.gateway.conftest import SITE, enrol, eventually, meter, running, with_settings
from tests.smc.gateway.test_mqtt import at_broker, count, pack, publish, subscribed


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Moments of the answers that leave for the broker."""
    seen: list[float] = []
    original = MqttPackageHandler._send_puback

    def observed(self: Any, mid: int, reason_code: int = 0) -> None:
        seen.append(time.monotonic())
        original(self, mid, reason_code)

    monkeypatch.setattr(MqttPackageHandler, "_send_puback", observed)
    return seen


def on_bus(context: StageContext, url: str, **changes: Any) -> StageContext:
    with_bus = replace(context, bus=RedisBus(url, changes.get("site", SITE)))
    return with_settings(with_bus, ack="bus", **changes)


@contextmanager
def storing(context: StageContext) -> Iterator[None]:
    """A store worker in a thread."""
    stop, failed = threading.Event(), []

    def work() -> None:
        try:
            persist.run(context, stop)
        except BaseException as error:  # noqa: BLE001  (raised below)
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
    assert not failed
    assert not thread.is_alive()


@pytest.mark.parametrize("away_s", [1.5, pytest.param(5.0, marks=pytest.mark.slow)])
def test_answers_go_on_while_the_database_is_away(
    context: StageContext,
    mosquitto: Mosquitto,
    valkey_url: str,
    postgres_embedded: Postgres,
    answers: list[float],
    away_s: float,
) -> None:
    site = f"DSO-30{round(away_s * 10):02d}"
    context = on_bus(at_broker(context, mosquitto, site), valkey_url, site=site)
    enrol(context, meter("norm-0001"))
    topic, now_ns = f"smc/{site}/norm-0001/meter", time.time_ns()
    with running(context), storing(context):
        eventually(subscribed(context), "subscribed")
        publish(mosquitto, (topic, pack("norm-0001", now_ns)))
        eventually(lambda: count(context, "meter_readings") == 1, "a first reading")
        with without_database(postgres_embedded, context.settings.database_url):
            until_s, sent = time.monotonic() + away_s, 1
            while time.monotonic() < until_s:
                publish(mosquitto, (topic, pack("norm-0001", now_ns + sent * 10**9)), (topic, b"\x00broken"))
                sent += 1
                eventually(lambda wanted=2 * sent - 1: len(answers) == wanted, "answers without a database")
            assert context.bus.length(refusal.TOPIC) == sent - 1
        eventually(lambda: count(context, "meter_readings") == sent, "all readings")
        eventually(lambda: context.bus.length(refusal.TOPIC) == 0, "all refusals")
    with context.engine.connect() as conn:
        (kept,) = quarantine.recent(conn, 10)
    assert (kept.link, kept.peer, kept.reason, kept.data) == ("mqtt", topic, "json", b"\x00broken")
    assert kept.count == sent - 1


def test_a_full_bus_holds_back_the_broker_until_somebody_stores(
    context: StageContext, mosquitto: Mosquitto, valkey_url: str, answers: list[float]
) -> None:
    site = "DSO-3100"
    context = on_bus(at_broker(context, mosquitto, site), valkey_url, site=site)
    context = replace(context, bus=RedisBus(valkey_url, site, max_messages=1))
    enrol(context, meter("norm-0001"))
    topic, now_ns = f"smc/{site}/norm-0001/meter", time.time_ns()
    with running(context):
        eventually(subscribed(context), "subscribed")
        publish(mosquitto, (topic, pack("norm-0001", now_ns)))
        eventually(lambda: len(answers) == 1, "an answer")
        for second in (1, 2, 3):
            publish(mosquitto, (topic, pack("norm-0001", now_ns + second * 10**9)))
        time.sleep(0.5)
        assert len(answers) == 1, "answered what the bus has no room for"
        with storing(context):
            eventually(lambda: len(answers) == 4, "answers once there is room")
            eventually(lambda: count(context, "meter_readings") == 4, "all readings")


def test_a_bus_that_does_not_sync_is_no_place_to_answer_from(context: StageContext, valkey_url: str) -> None:
    server = redis.Redis.from_url(valkey_url)
    server.config_set("appendfsync", "everysec")
    try:
        with pytest.raises(SetupError, match=r"everysec.*always.*SMC_ACK=database"):
            intake.run(on_bus(context, valkey_url), threading.Event())
    finally:
        server.config_set("appendfsync", "always")
    with pytest.raises(SetupError, match="never"):
        intake.run(replace(on_bus(context, valkey_url), bus=MemoryBus()), threading.Event())


def test_a_bus_that_does_not_tell_is_warned_about_and_used(
    context: StageContext, valkey_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = redis.Redis.from_url(valkey_url)
    server.acl_setuser("small", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-config"])
    url = valkey_url.replace("unix://", "unix://small:any@")
    try:
        with running(on_bus(context, url)):
            eventually(lambda: "intake.bus_sync_unknown" in capsys.readouterr().out, "a warning")
    finally:
        server.acl_deluser("small")


def test_a_bus_that_is_away_at_the_start_is_waited_for(
    context: StageContext, capsys: pytest.CaptureFixture[str]
) -> None:
    """It cannot be asked yet whether it syncs, and nothing is acknowledged before it was."""
    said = ""

    def heard(event: str) -> bool:
        nonlocal said
        said += capsys.readouterr().out
        return event in said

    with running(on_bus(context, "unix:///nowhere.sock")):
        eventually(lambda: heard("intake.bus_away"), "a warning")
        assert not heard("intake.started")


def test_the_way_back_to_the_database_waits_for_what_the_bus_holds(context: StageContext, valkey_url: str) -> None:
    """Readings acknowledged by the bus would otherwise be overtaken, or forgotten."""
    bus = RedisBus(valkey_url, SITE)
    bus.publish("readings.0.8.3", b"acknowledged")
    back = with_settings(replace(context, bus=bus), ack="database")
    with pytest.raises(SetupError, match=r"is 1, expected 0 with SMC_ACK=database: run `app.py smc store`"):
        intake.run(back, threading.Event())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ack": "both"}, "SMC_ACK is 'both', expected database or bus"),
        ({"partitions": 0}, "SMC_PARTITIONS is 0, expected 1 to 256"),
        ({"partitions": 257}, "SMC_PARTITIONS is 257"),
    ],
)
def test_wrong_settings_are_one_clear_error(context: StageContext, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        with_settings(context, **changes)
