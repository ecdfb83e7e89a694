"""Serve TAXII: gunicorn threads behind TLS that refuses everybody without a certificate of the federation."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask
import structlog
from gunicorn.app.base import BaseApplication
from sqlalchemy import Engine

from esmc.context import EsmcContext
from esmc.settings import EsmcSettings
from esmc.taxii.app import create_app
from model.errors import SetupError
from model.time import Clock
from web.serve import listen

THREADS = 16
GRACE_S = 5


class _TaxiiApplication(BaseApplication):  # type: ignore[misc]
    def __init__(self, app: flask.Flask, listener: int, settings: EsmcSettings) -> None:
        self._app, self._listener, self._settings = app, listener, settings
        super().__init__()

    def load_config(self) -> None:
        certificate = str(self._settings.taxii_certificate_file)
        chosen: dict[str, Any] = {
            "bind": [f"fd://{self._listener}"],
            "worker_class": "gthread",
            "workers": 1,
            "threads": THREADS,
            "graceful_timeout": GRACE_S,
            "keepalive": 60,
            "accesslog": None,
            "loglevel": "warning",
            "control_socket_disable": True,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108  gunicorn's heartbeat file, unlinked at once
            "certfile": certificate,
            "keyfile": certificate,
            "ca_certs": str(self._settings.taxii_ca_file),
            "cert_reqs": ssl.CERT_REQUIRED,
            "ssl_context": _modern,
            "post_fork": _after_fork,
        }
        for name, value in chosen.items():
            self.cfg.set(name, value)

    def load(self) -> flask.Flask:
        return self._app


def taxii_serve(settings: EsmcSettings, engine: Engine, clock: Clock) -> None:
    """Serve until SIGTERM or SIGINT; ends the process. SetupError for a missing file or a port that is taken."""
    for what, path in (
        ("certificate authority of the federation", settings.taxii_ca_file),
        ("TLS server certificate", settings.taxii_certificate_file),
    ):
        _require(what, path)
    context = EsmcContext(settings, engine, clock, structlog.get_logger("taxii"))
    listener = listen(settings.taxii_host, settings.taxii_port)
    _TaxiiApplication(create_app(context), listener.detach(), settings).run()  # gunicorn closes the descriptor itself


def _require(what: str, path: Path) -> None:
    if not path.is_file():
        raise SetupError(
            what, str(path), "a PEM file", "ask the authority of the federation for it, or correct the setting"
        )


def _modern(_config: Any, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    context = default()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context


def _after_fork(_arbiter: Any, worker: Any) -> None:
    worker.app.load().extensions["engine"].dispose(close=False)  # connections of the parent stay the parent's
