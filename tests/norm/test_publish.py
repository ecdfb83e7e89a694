"""Meters against a real Mosquitto: every pack is acknowledged, and sent again when the connection breaks."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gmqtt import Client
from gmqtt.mqtt.constants import MQTTv311

from model.errors import SetupError
from model.time import NS_PER_S
from norm.fleet import Fleet
from norm.pack import meter_packs
from norm.publish import MeterPublisher
from norm.speak import NormOptions, run
from tests.servers.brokers import Mosquitto
from wire.meter import decode_meter_pack

UNITS = 5
START_NS = 1_795_430_700 * NS_PER_S


def test_a_pack_says_what_the_meter_says() -> None:
    fleet = Fleet(1, "DSO-0001", UNITS)
    samples = fleet.meter_samples(START_NS)
    for i, (topic, payload) in enumerate(meter_packs(fleet, START_NS)):
        unit = f"norm-{i + 1:04d}"
        assert topic == f"smc/DSO-0001/{unit}/meter"
        assert json.loads(payload)[0]["bn"] == f"urn:dev:norm:{unit}:meter:"
        pack = decode_meter_pack(payload, START_NS)
        assert pack.device == f"urn:dev:norm:{unit}:meter"
        assert pack.ignored == 0
        np.testing.assert_array_equal(pack.time_ns, samples.time_ns[i : i + 1])
        np.testing.assert_array_equal(pack.sequence, samples.sequence[i : i + 1])
        np.testing.assert_array_equal(pack.values, samples.values[i : i + 1])


class Listener:
    """A subscriber that keeps (topic, payload) of everything below a site."""

    def __init__(self, broker: Mosquitto, site: str) -> None:
        self.broker, self.site = broker, site
        self.messages: list[tuple[str, bytes]] = []
        self.client: Any = Client(f"listener-{secrets.token_hex(4)}")

    async def start(self) -> None:
        subscribed = asyncio.Event()
        self.client.on_message = self._take
        self.client.on_subscribe = lambda *_: subscribed.set()
        self.client.set_auth_credentials(self.broker.user, self.broker.password)
        await self.client.connect(self.broker.host, self.broker.port, version=MQTTv311)
        self.client.subscribe(f"smc/{self.site}/+/meter", qos=1)
        await asyncio.wait_for(subscribed.wait(), 5.0)

    def _take(self, _client: object, topic: str, payload: bytes, _qos: int, _properties: object) -> int:
        self.messages.append((topic, bytes(payload)))
        return 0


class Wire:
    """A wire between meters and broker that can be cut: bytes under way are lost with it."""

    def __init__(self, broker: Mosquitto) -> None:
        self.broker = broker
        self.deaf = False  # swallow what the broker answers
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self) -> int:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self.broker.host, self.broker.port)
        self._writers += [writer, back]
        await asyncio.gather(self._pump(reader, back, False), self._pump(there, writer, True))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, answers: bool) -> None:
        try:
            while data := await source.read(4_096):
                if not (answers and self.deaf):
                    sink.write(data)
        except ConnectionError:
            sink.transport.abort()


def quick_clock(times: int) -> Callable[[], int]:
    """A clock that runs so many times as fast, from START_NS."""
    begin_ns = time.monotonic_ns()
    return lambda: START_NS + (time.monotonic_ns() - begin_ns) * times


async def until(condition: Any, wait_s: float = 15.0) -> None:
    deadline = time.monotonic() + wait_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def test_every_pack_is_acknowledged_though_the_wire_is_cut(mosquitto: Mosquitto) -> None:
    site = f"DSO-{secrets.token_hex(4)}"

    async def main() -> None:
        wire, listener = Wire(mosquitto), Listener(mosquitto, site)
        port = await wire.start()
        await listener.start()
        fleet = Fleet(1, site, UNITS)
        fleet.meter_samples(START_NS)
        publisher = MeterPublisher(fleet, 1.0, quick_clock(5))
        jobs = [asyncio.ensure_future(publisher.sample_forever())]
        await until(lambda: publisher.sampled >= 2 * UNITS)  # before the broker is there: packs wait
        assert publisher.acknowledged == 0
        assert publisher.unsent == publisher.sampled
        await publisher.connect("127.0.0.1", port, mosquitto.user, mosquitto.password)
        jobs.append(asyncio.ensure_future(publisher.send_forever()))
        await until(lambda: publisher.acknowledged >= 4 * UNITS)
        wire.deaf = True  # the broker takes packs, its answers are lost
        taken = publisher.acknowledged
        await until(lambda: publisher.sampled >= taken + 3 * UNITS)
        assert publisher.acknowledged < publisher.sampled
        wire.cut()
        wire.deaf = False
        await until(lambda: publisher.acknowledged > taken + 3 * UNITS)
        jobs[0].cancel()
        await until(lambda: publisher.unsent == 0)
        assert publisher.acknowledged == publisher.sampled
        await until(lambda: len(set(listener.messages)) == publisher.sampled)
        assert len(listener.messages) > publisher.sampled  # at least once: what was not answered came twice
        jobs[1].cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await publisher.close()
        await listener.client.disconnect()
        wire.cut()
        wire.server.close()

    asyncio.run(main())


def test_packs_are_dropped_oldest_first_when_the_broker_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("norm.publish.MAX_WAITING", 12)

    async def main() -> None:
        fleet = Fleet(1, "DSO-0001", UNITS)
        fleet.meter_samples(START_NS)  # sums the registers up: the clock must not run away meanwhile
        publisher = MeterPublisher(fleet, 1.0, quick_clock(10))
        job = asyncio.ensure_future(publisher.sample_forever())
        await until(lambda: publisher.sampled >= 4 * UNITS)
        job.cancel()
        assert publisher.unsent == 12
        assert publisher.dropped == publisher.sampled - 12
        kept = [int(decode_meter_pack(payload, START_NS).sequence[0]) for _, payload in publisher._waiting]
        assert kept == sorted(kept)
        assert list(Counter(kept).values()) == [2, UNITS, UNITS]  # the rest of one period, and the two latest whole

    asyncio.run(main())


def test_a_wrong_password_is_said_in_one_line(mosquitto: Mosquitto) -> None:
    async def main() -> None:
        publisher = MeterPublisher(Fleet(1, "DSO-0001", 1), 1.0)
        with pytest.raises(SetupError, match=r"not authorised|user name or password"):
            await asyncio.wait_for(publisher.connect(mosquitto.host, mosquitto.port, mosquitto.user, "wrong"), 10.0)
        await publisher.close()

    asyncio.run(main())


def test_the_program_speaks_until_it_is_told_to_stop(mosquitto: Mosquitto, tmp_path: Path) -> None:
    site = f"DSO-{secrets.token_hex(4)}"
    options = NormOptions(
        site=site,
        units=UNITS,
        scenario="s01@1,s08@1",
        mqtt=f"{mosquitto.host}:{mosquitto.port}",
        mqtt_user=mosquitto.user,
        mqtt_password_file=mosquitto.password_file,
        meter_period_s=1.0,
        inventory_file=tmp_path / "inventory.json",
        truth_file=tmp_path / "truth.json",
        state_file=tmp_path / "state.json",
    )
    stop = threading.Event()

    def stop_after_a_while() -> None:
        deadline = time.monotonic() + 30.0
        while not (tmp_path / "state.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(5.0)
        stop.set()

    stopper = threading.Thread(target=stop_after_a_while)
    stopper.start()
    run(options, stop)
    stopper.join()
    state = json.loads((tmp_path / "state.json").read_text())
    assert state["simulated"] is True
    assert state["packs_acknowledged"] == state["packs_sampled"] >= 3 * UNITS
    assert state["packs_dropped"] == state["packs_unsent"] == 0
    assert len(json.loads((tmp_path / "inventory.json").read_text())) == 2 * UNITS
    assert [x["scenario"] for x in json.loads((tmp_path / "truth.json").read_text())["injections"]] == ["S01", "S08"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"units": 0}, "number of units"),
        ({"frames_per_s": 0}, "frames per second"),
        ({"meter_period_s": 0.1}, "seconds between readings"),
        ({"mqtt": "nowhere"}, "MQTT broker"),
        ({"scenario": "s42"}, "scenario"),
        ({"mqtt": "127.0.0.1:1", "mqtt_password_file": Path("absent")}, "password file"),
    ],
)
def test_wrong_options_are_said_in_one_line(change: dict[str, Any], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        run(NormOptions(**{"site": "DSO-0001", "units": 2} | change), threading.Event())
