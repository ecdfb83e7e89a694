"""An MQTT broker for the demo only: amqtt needs no install, but forgets its sessions when it ends. Deploy Mosquitto.

    python -m host.broker --port 1883 --users FILE

Loopback only. FILE holds one `name:argon2 hash` per line, as `write_users` makes it; nobody enters without a password.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from argon2 import PasswordHasher

from host.log import configure
from model.errors import OperatorError, SetupError

HOST = "127.0.0.1"
# Cheap on purpose: the passwords are random, and every twin signs in at the same moment when the demo starts.
_HASHER = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1)


def write_users(file: Path, passwords: Mapping[str, str]) -> None:
    """Write the broker's password file, mode 0600."""
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}:{_HASHER.hash(password)}\n" for name, password in passwords.items()))


async def serve(port: int, users: Path) -> None:
    """Serve until SIGTERM or SIGINT. SetupError if the port is taken or the file is missing."""
    from amqtt.broker import Broker
    from amqtt.errors import BrokerError

    if not users.is_file():
        raise SetupError("password file of the broker", str(users), "present", "write it before the start")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    plugin = {"amqtt.plugins.authentication.FileAuthPlugin": {"password_file": str(users)}}
    listener = {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}}
    broker = Broker({"listeners": listener, "plugins": plugin})
    try:
        await broker.start()
    except (BrokerError, OSError) as error:
        raise SetupError("port of the broker", port, "free on loopback", f"stop who uses it ({error})") from error
    await stop.wait()
    await broker.shutdown()


def main(arguments: list[str]) -> int:
    """Exit code 2 and one line for what the operator can mend."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True, help="loopback port")
    parser.add_argument("--users", type=Path, required=True, help="password file")
    options = parser.parse_args(arguments)
    configure("broker", "demo")
    try:
        asyncio.run(serve(options.port, options.users))
    except OperatorError as error:
        print(f"broker: {error}", file=sys.stderr)
        return 2
    return os.EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
