"""Scripts of the component packages, compressed once and kept: they are most of a first load and never change."""

from __future__ import annotations

import flask
from werkzeug.wrappers import Response

SUITES_PATH = "/_dash-component-suites/"
MOST_BYTES = 32 << 20


class SuiteCache:
    """Compressed answers by path and encoding; register `after` before the compressor so that it sees the result."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[bytes, dict[str, str]]] = {}
        self._bytes = 0

    def before(self) -> Response | None:
        """The kept answer, for Flask's before_request (behind the gate)."""
        path = flask.request.path
        if not path.startswith(SUITES_PATH) or flask.request.headers.get("If-None-Match"):
            return None
        for encoding in ("br", "gzip"):
            kept = self._kept.get((path, encoding))
            if kept is not None and flask.request.accept_encodings.quality(encoding) > 0:
                body, headers = kept
                flask.g.kept = True
                return flask.Response(body, headers=headers)
        return None

    def after(self, response: Response) -> Response:
        """Keep a fresh compressed answer."""
        path, encoding = flask.request.path, response.headers.get("Content-Encoding", "")
        fresh = response.status_code == 200 and encoding in {"br", "gzip"} and not flask.g.get("kept", False)
        if not path.startswith(SUITES_PATH) or not fresh or flask.request.method != "GET":
            return response
        body = response.get_data()
        if self._bytes + len(body) <= MOST_BYTES and (path, encoding) not in self._kept:
            names = ("Content-Type", "Content-Encoding", "Cache-Control", "ETag", "Vary")
            self._kept[path, encoding] = body, {n: response.headers[n] for n in names if n in response.headers}
            self._bytes += len(body)
        return response
