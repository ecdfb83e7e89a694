"""Answers of the TAXII server: media types, errors without internals, and the signature on every body."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from flask import Response
from werkzeug.http import parse_options_header

from model.federation import MEDIA_TYPE

TITLES = {
    400: "bad request",
    401: "a client certificate of the federation is needed",
    403: "not permitted",
    404: "not found",
    405: "method not allowed",
    406: "not acceptable",
    409: "outbox gap",
    413: "too large",
    415: "unsupported media type",
    422: "no envelope",
    429: "too many envelopes",
    500: "internal error",
    503: "not available",
}


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON body with exactly the media type of TAXII 2.1."""
    data = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return Response(data, status, {**(headers or {}), "Content-Type": MEDIA_TYPE})


def error(status: int, description: str = "", headers: dict[str, str] | None = None) -> Response:
    """An error message of TAXII 2.1; `error_id` finds it in our log."""
    body = {"title": TITLES[status], "http_status": str(status), "error_id": str(uuid4())}
    return answer(body | ({"description": description} if description else {}), status, headers)


def acceptable(accept: str) -> bool:
    """Whether a client takes our media type: TAXII 2.1 by name, without a version, or anything."""
    for part in accept.split(","):
        name, options = parse_options_header(part.strip())
        if name in ("*/*", "application/*"):
            return True
        if name == "application/taxii+json" and options.get("version", "2.1") == "2.1":
            return True
    return not accept.strip()


def is_taxii(content_type: str) -> bool:
    """Whether a body claims to be a TAXII 2.1 envelope."""
    name, options = parse_options_header(content_type)
    return name == "application/taxii+json" and options.get("version", "2.1") == "2.1"
