"""A real Mosquitto on a loopback port that asks for a password; as a fixture, and to be stopped by a test."""

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


class Broker:
    """A broker that its test may stop and start again; `persistent`: it keeps messages in order to do so.

    `limits` are lines of its configuration beside the usual ones.
    """

    def __init__(self, folder: Path, *, persistent: bool = False, limits: tuple[str, ...] = ()) -> None:
        self._program, hasher = program("mosquitto", "mosquitto"), program("mosquitto_passwd", "mosquitto")
        self._folder = folder
        self.address = Mosquitto("127.0.0.1", free_port(), "smc", secrets.token_urlsafe(16), folder / "password")
        self.address.password_file.write_text(self.address.password)
        self.address.password_file.chmod(0o600)
        users = folder / "users"
        line = [hasher, "-c", "-b", str(users), self.address.user, self.address.password]
        subprocess.run(line, check=True, timeout=20)
        keeping = ("persistence true", f"persistence_location {folder}/") if persistent else ("persistence false",)
        who = ("allow_anonymous false", f"password_file {users}", f"user {users.owner()}")
        where = f"listener {self.address.port} {self.address.host}"
        (folder / "mosquitto.conf").write_text("\n".join([where, *who, *keeping, *limits, ""]))

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        line = command([self._program, "-c", str(self._folder / "mosquitto.conf")])
        self._server = Server(line, self._folder / "mosquitto.log")
        if not self._server.ready(lambda: accepts(self.address.host, self.address.port), time.monotonic() + 20):
            self.stop()
            pytest.fail(f"Mosquitto did not start: {self._server.output()}", pytrace=False)

    def stop(self, first: signal.Signals = signal.SIGTERM) -> None:
        """Ended in order, so that a persistent one writes down what it holds; or by another signal."""
        self._server.stop((first, 10.0))


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One broker per session, so use topics of your own."""
    with Broker(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker.address


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
