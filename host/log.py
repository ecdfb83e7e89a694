"""Logs: one JSON line per event on stderr, `stage.what_happened` with fields in units; never payloads, never keys."""

from __future__ import annotations

import logging
import sys
from typing import Any

import orjson
import structlog
from structlog.tracebacks import ExceptionDictTransformer

_FORBIDDEN = frozenset({"body", "payload", "password", "secret", "token", "key", "cookie", "bytes"})


def configure(component: str, site: str, level: int = logging.INFO) -> None:
    """Set up logging of this process; every line carries `component` and `site`. Libraries' logs from warnings on."""

    def origin(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        return {"component": component, "site": site, **event}  # of the process: context variables miss its threads

    common: list[Any] = [
        structlog.contextvars.merge_contextvars,
        origin,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        _without_contents,
    ]
    structlog.configure(
        processors=[*common, structlog.processors.JSONRenderer(serializer=_json)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    render = structlog.processors.JSONRenderer(serializer=_json)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=render, foreign_pre_chain=common))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def logger() -> Any:
    """The logger that stages get."""
    return structlog.get_logger()


def _without_contents(_logger: Any, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    """Fields that could carry a payload or a secret are named but never shown."""
    for name in _FORBIDDEN & event.keys():
        event[name] = "withheld"
    return event


def _json(event: Any, **_options: Any) -> str:
    return orjson.dumps(event, default=str).decode()
