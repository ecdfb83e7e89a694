"""The broker of the demo and the real one of the tests: the right password enters, nobody else."""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gmqtt
import pytest

from host.broker import HOST, write_users
from host.supervisor import Program, Supervisor
from tests.servers.brokers import Mosquitto, accepts, free_port

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def demo_broker(tmp_path: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(HOST, free_port(), "smc", "correct horse", tmp_path / "password")
    users = tmp_path / "users"
    write_users(users, {broker.user: broker.password})
    assert users.stat().st_mode & 0o777 == 0o600
    assert broker.password not in users.read_text()
    line = (sys.executable, "-m", "host.broker", "--port", str(broker.port), "--users", str(users))
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(Program("broker", line, os.environ, ROOT))
        deadline = time.monotonic() + 20
        while not accepts(broker.host, broker.port):
            assert time.monotonic() < deadline, supervisor.output("broker")
            supervisor.run(0.05)
        yield broker


@pytest.fixture(params=["demo_broker", "mosquitto"])
def broker(request: pytest.FixtureRequest) -> Mosquitto:
    if request.param == "mosquitto":
        request.applymarker(pytest.mark.mosquitto)
    broker: Mosquitto = request.getfixturevalue(request.param)
    return broker


async def exchange(broker: Mosquitto, password: str | None) -> list[bytes]:
    """What comes back of one message that we publish; ConnectionError if we are not let in."""
    received: asyncio.Queue[bytes] = asyncio.Queue()
    client = gmqtt.Client(f"test-{time.monotonic_ns()}")
    client.set_config({"reconnect_retries": 0})
    if password is not None:
        client.set_auth_credentials(broker.user, password)

    async def keep(_client: object, _topic: str, payload: bytes, *_: object) -> int:
        received.put_nowait(payload)
        return 0

    client.on_message = keep
    subscribed = asyncio.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    await asyncio.wait_for(client.connect(broker.host, broker.port, version=4), 10)
    client.subscribe("smc/#", qos=1)
    await asyncio.wait_for(subscribed.wait(), 10)
    client.publish("smc/DSO-0001/norm-0001/meter", b"\x00hello", qos=1)
    got = await asyncio.wait_for(received.get(), 10)
    await client.disconnect()
    return [got]


def test_the_right_password_enters(broker: Mosquitto) -> None:
    assert asyncio.run(exchange(broker, broker.password)) == [b"\x00hello"]


@pytest.mark.parametrize("password", [None, "", "wrong"])
def test_nobody_else_enters(broker: Mosquitto, password: str | None) -> None:
    with pytest.raises(gmqtt.mqtt.handler.MQTTConnectError):
        asyncio.run(exchange(broker, password))


def test_a_taken_port_is_one_line(demo_broker: Mosquitto, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "host.broker", "--port", str(demo_broker.port), "--users", str(tmp_path / "users")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"broker: port of the broker is {demo_broker.port}, expected free")


def test_a_missing_password_file_is_one_line(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "host.broker", "--port", str(free_port()), "--users", str(tmp_path / "users")]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "password file of the broker" in done.stderr
