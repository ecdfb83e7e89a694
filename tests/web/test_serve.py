"""The real server: a taken port is one clear line, SIGTERM ends it, nothing is written to the home folder."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path

import pytest

from host.database import engine as connect
from model.errors import SetupError
from tests.web.sample import sample
from web.serve import listen, serve

FORK = multiprocessing.get_context("fork")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def desk(url: str, port: int, home: str) -> None:
    os.environ["HOME"] = home
    os.environ.pop("XDG_RUNTIME_DIR", None)
    serve(sample(connect(url, "test-serve")).server, "127.0.0.1", port, threads=4)


def wait_for(port: int) -> bytes:
    for _ in range(100):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the desk did not answer within 10 s")


def test_a_desk_serves_and_ends_on_sigterm(smc_embedded: str, tmp_path: Path) -> None:
    port = free_port()
    process = FORK.Process(target=desk, args=(smc_embedded, port, str(tmp_path)))
    process.start()
    try:
        assert wait_for(port) == b"ok\n"
        with pytest.raises(SetupError, match="free port"):
            listen("127.0.0.1", port)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGTERM)
        process.join(timeout=15)
        assert process.exitcode == 0
    finally:
        process.kill()
    assert list(tmp_path.iterdir()) == []
    listen("127.0.0.1", port).close()


def test_an_address_that_is_not_ours_is_refused_in_one_line() -> None:
    with pytest.raises(SetupError, match=r"192\.0\.2\.1:8050") as refused:
        listen("192.0.2.1", 8050)
    assert "\n" not in str(refused.value)
