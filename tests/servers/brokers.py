"""Fixture: a real Mosquitto on a loopback port that asks for a password."""

from __future__ import annotations

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from host.child import command
from host.processes import Server
from tests.servers.needs import program


@dataclass(frozen=True)
class Mosquitto:
    """Where it listens; `password_file` holds the password alone, as SMC_MQTT_PASSWORD_FILE wants it."""

    host: str
    port: int
    user: str
    password: str
    password_file: Path


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One broker per session, so use topics of your own."""
    server, hasher = program("mosquitto", "mosquitto"), program("mosquitto_passwd", "mosquitto")
    folder = tmp_path_factory.mktemp("mosquitto")
    broker = Mosquitto("127.0.0.1", free_port(), "smc", secrets.token_urlsafe(16), folder / "password")
    broker.password_file.write_text(broker.password)
    broker.password_file.chmod(0o600)
    users = folder / "users"
    subprocess.run([hasher, "-c", "-b", str(users), broker.user, broker.password], check=True, timeout=20)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(
        f"listener {broker.port} {broker.host}\nallow_anonymous false\npassword_file {users}\n"
        f"persistence false\nuser {users.owner()}\n"
    )
    process = Server(command([server, "-c", str(configuration)]), folder / "mosquitto.log")
    if not process.ready(lambda: accepts(broker.host, broker.port), time.monotonic() + 20):
        process.stop((signal.SIGTERM, 5.0))
        pytest.fail(f"Mosquitto did not start: {process.output()}", pytrace=False)
    yield broker
    process.stop((signal.SIGTERM, 10.0))


def accepts(host: str, port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection((host, port), timeout=1).close()
    except ConnectionRefusedError:
        return False
    return True


def free_port() -> int:
    """A loopback port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
