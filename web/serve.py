"""Serve a desk: gunicorn in this process, threads, one worker, no control socket, nothing written to the home."""

from __future__ import annotations

import ctypes
import socket
from typing import Any

import flask
from gunicorn.app.base import BaseApplication

from model.errors import SetupError

THREADS = 48  # open event streams (web.live: at most 32) take one each
GRACE_S = 2
M_ARENA_MAX = -8  # of glibc's mallopt


class _Application(BaseApplication):  # type: ignore[misc]
    def __init__(self, server: flask.Flask, descriptor: int, threads: int) -> None:
        self._server, self._descriptor, self._threads = server, descriptor, threads
        super().__init__()

    def load_config(self) -> None:
        settings: dict[str, Any] = {
            "bind": [f"fd://{self._descriptor}"],
            "worker_class": "gthread",
            "workers": 1,
            "threads": self._threads,
            "graceful_timeout": GRACE_S,
            "keepalive": 30,
            "accesslog": None,
            "loglevel": "warning",
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108  gunicorn's heartbeat file, unlinked at once
            "post_fork": _after_fork,
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> flask.Flask:
        return self._server


def _after_fork(_arbiter: Any, worker: Any) -> None:
    engine = worker.app.load().extensions.get("engine")
    if engine is not None:
        engine.dispose(close=False)  # connections of the parent stay the parent's


def serve(server: flask.Flask, host: str, port: int, threads: int = THREADS) -> None:
    """Serve until SIGTERM or SIGINT. SetupError if the port cannot be had. Never returns: ends the process."""
    _few_arenas()
    descriptor = listen(host, port).detach()  # gunicorn owns and closes it
    _Application(server, descriptor, threads).run()


def _few_arenas() -> None:
    """Dozens of threads would each get a malloc arena of their own and never give it back (glibc only)."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 2)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything else is started."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise SetupError(
            "address of the desk", f"{host}:{port}", "a free port", f"stop what listens there ({error.strerror})"
        ) from error
    return listener
