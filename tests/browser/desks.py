"""Start a desk in a process of its own on a free port, and wait until it answers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0


@contextmanager
def served(database_url: str, redis_url: str, folder: Path) -> Iterator[str]:
    """Address of an operator's running desk; it is stopped at the end. Its log is folder/desk.log."""
    with _running(["tests.browser.desk_server", database_url, redis_url, str(folder)], folder) as address:
        yield address


@contextmanager
def served_europe(database_url: str, folder: Path) -> Iterator[str]:
    """Address of Europe's running desk; it is stopped at the end. Its log is folder/desk.log."""
    with _running(["tests.browser.europe", database_url, str(folder)], folder) as address:
        yield address


@contextmanager
def _running(module: list[str], folder: Path) -> Iterator[str]:
    port = _free_port()
    command = [sys.executable, "-m", *module, str(port)]
    with (folder / "desk.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process, folder / "desk.log")
        yield address
    finally:
        process.terminate()
        process.wait(15)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        if process.poll() is not None:
            raise RuntimeError(
                f"the desk ended with {process.returncode}:\n{log.read_text('utf-8', 'replace')[-4000:]}"
            )
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"the desk does not answer at {address} after {START_S} s")
