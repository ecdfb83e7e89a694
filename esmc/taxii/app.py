"""The TAXII 2.1 endpoints. Identity is the client certificate's name, never anything in a body or header."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from esmc.context import EsmcContext
from esmc.members import identify
from esmc.store import intake, members, taxii
from esmc.store.members import Member
from esmc.store.taxii import COLLECTIONS, Collection, Stored
from esmc.taxii import paging
from esmc.taxii.answers import acceptable, answer, error, is_taxii
from esmc.taxii.intake import OutboxGap, receive
from esmc.taxii.peers import peer_names
from esmc.taxii.polls import ROOT, NothingNew
from model.errors import DecodeError, NotTrusted
from model.federation import ESMC_URI, MEDIA_TYPE, OUTBOX_EXPECTED_HEADER, SIGNATURE_HEADER
from model.time import to_datetime
from trust import signing
from wire.stix import MAX_BYTES

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

ENVELOPES_PER_MINUTE = 60
MEMBER_KNOWN_S = 1.0
View = Callable[..., Response]


class Pace:
    """At most so many envelopes a minute per member; others do not notice."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._times: dict[str, deque[float]] = defaultdict(deque)
        self._lock = threading.Lock()

    def wait_s(self, member: str, now_s: float) -> float:
        """0 and counted, or the seconds until there is room again."""
        with self._lock:
            times = self._times[member]
            while times and times[0] <= now_s - 60.0:
                times.popleft()
            if len(times) >= self._per_minute:
                return times[0] + 60.0 - now_s
            times.append(now_s)
            return 0.0


class Roll:
    """Members by the name in their certificate, looked up again after a second: so soon is a revoked one refused."""

    def __init__(self, context: EsmcContext) -> None:
        self._context = context
        self._found: dict[str, tuple[float, Member]] = {}

    def get(self, uri: str) -> Member:
        """The member, noted as seen. Raises NotTrusted for strangers and for the revoked."""
        now_s = self._context.clock.monotonic_s()
        known = self._found.get(uri)
        if known is not None and 0.0 <= now_s - known[0] < MEMBER_KNOWN_S:
            return known[1]
        self._found.pop(uri, None)
        with self._context.engine.begin() as conn:
            member = identify(conn, uri)
            members.seen(conn, member.code, to_datetime(self._context.clock.now_ns()))
        self._found[uri] = (now_s, member)
        return member


class TaxiiServer:
    """One API root of the federation over one database."""

    def __init__(self, context: EsmcContext, envelopes_per_minute: int = ENVELOPES_PER_MINUTE) -> None:
        self._context = context
        self._signer = signing.Signer.load(context.settings.signing_key_file, ESMC_URI)
        key = context.settings.signing_key_file.read_bytes()
        self._page_key = hashlib.sha256(b"taxii next token" + key).digest()
        self._pace = Pace(envelopes_per_minute)
        self._known = Roll(context)
        with context.engine.begin() as conn:
            taxii.ensure_collections(conn)

    # ── what there is ────────────────────────────────────────────────────────────────────────────────────────

    def discovery(self) -> Response:
        root = f"{request.host_url}{ROOT}/"
        return answer({"title": "Grid SMC federation", "contact": "duty officer", "default": root, "api_roots": [root]})

    def root(self) -> Response:
        return answer({"title": "Pan-European centre", "versions": [MEDIA_TYPE], "max_content_length": MAX_BYTES})

    def status(self, status_id: UUID) -> Response:
        with self._context.engine.begin() as conn:
            found = intake.status(conn, status_id, g.member.code)
        return error(404) if found is None else answer(found)

    def collections(self) -> Response:
        ordered = sorted(COLLECTIONS, key=lambda c: str(c.collection))
        return answer({"collections": [_described(c) for c in ordered]})

    def collection(self, key: str) -> Response:
        found = _find(key)
        return error(404) if found is None else answer(_described(found))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────

    def objects(self, key: str) -> Response:
        return self._page(key, paging.FILTERS, "", lambda rows: {"objects": [json.loads(r.body) for r in rows]})

    def manifest(self, key: str) -> Response:
        return self._page(key, paging.FILTERS, "", lambda rows: {"objects": [_manifest(r) for r in rows]})

    def one_object(self, key: str, object_id: str) -> Response:
        form = paging.OBJECT_FILTERS
        return self._page(key, form, object_id, lambda rows: {"objects": [json.loads(r.body) for r in rows]})

    def versions(self, key: str, object_id: str) -> Response:
        form = paging.VERSION_FILTERS
        return self._page(
            key, form, object_id, lambda rows: {"versions": [paging.write_version(r.version) for r in rows]}
        )

    def _page(
        self, key: str, allowed: tuple[str, ...], object_id: str, form: Callable[[list[Stored]], dict[str, Any]]
    ) -> Response:
        found = _find(key)
        if found is None:
            return error(404)
        if not found.readable:
            return error(403)
        arguments = request.args.to_dict()
        asked = paging.read_page(request.path, found.collection, arguments, allowed, self._page_key, object_id)
        with self._context.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
            if object_id and not taxii.exists(conn, found.collection, object_id):
                return error(404)
            rows = taxii.page(conn, asked.query, asked.limit + 1, asked.after)
        if not rows:
            return answer({})
        more, rows = len(rows) > asked.limit, rows[: asked.limit]
        body = form(rows)
        if more:
            token = paging.write_token(request.path, asked, rows[-1].date_added, self._page_key)
            body = {"more": True, "next": token} | body
        first, last = paging.write_stamp(rows[0].date_added), paging.write_stamp(rows[-1].date_added)
        return answer(body, 200, {"X-TAXII-Date-Added-First": first, "X-TAXII-Date-Added-Last": last})

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────

    def post(self, key: str) -> Response:
        found = _find(key)
        if found is None:
            return error(404)
        if not found.writable:
            return error(403)
        if not is_taxii(request.content_type or "") or request.content_encoding not in (None, "", "identity"):
            return error(415, f"send {MEDIA_TYPE}, not compressed")
        wait_s = self._pace.wait_s(g.member.code, self._context.clock.monotonic_s())
        if wait_s > 0:
            return error(429, "", {"Retry-After": str(int(wait_s) + 1)})
        token = request.headers.get(SIGNATURE_HEADER, "")
        try:
            status = receive(
                self._context.engine, self._context.clock, found, g.member.certificate, token, request.get_data()
            )
        except OutboxGap as gap:
            return error(409, str(gap), {OUTBOX_EXPECTED_HEADER: str(gap.expected)})
        counts = {"success": status["success_count"], "failure": status["failure_count"]}
        self._context.log.info("taxii.envelope_stored", member=g.member.code, collection=found.alias, **counts)
        return answer(status, 202)

    def delete(self, key: str, object_id: str) -> Response:
        """Nobody deletes here; what was wrong is recalled, so that everybody learns of it."""
        return error(404 if _find(key) is None else 403, f"{object_id} is recalled with a tombstone, not deleted")

    # ── around every request ─────────────────────────────────────────────────────────────────────────────────

    def admit(self) -> Response | None:
        """Who is it, and does it take our answers? Strangers learn nothing about what exists."""
        names = peer_names(request.environ)
        if not names:
            return error(401, "", {"WWW-Authenticate": 'Mutual realm="federation"'})
        g.member = self._known.get(names[0])
        return None if acceptable(request.headers.get("Accept", "")) else error(406, f"accept {MEDIA_TYPE}")

    def sign(self, response: Response) -> Response:
        """Every answer to a member is signed, errors and empty ones too."""
        if "member" in g:
            response.headers[SIGNATURE_HEADER] = self._signature(response.get_data(), g.member)
        return response

    def _signature(self, body: bytes, member: Member) -> str:
        now = to_datetime(self._context.clock.now_ns())
        return self._signer.sign(body, audience=member.certificate, now=now)

    def nothing_new(self, following: WSGIApplication) -> NothingNew:
        """What answers polls that find nothing; all other requests go on to `following`."""
        return NothingNew(following, self._context.engine, self._page_key, self._known.get, self._signature)

    def refused(self, fault: NotTrusted) -> Response:
        self._context.log.warning("taxii.refused", reason=fault.reason, detail=str(fault), path=request.path)
        return error(403, fault.reason)

    def malformed(self, fault: DecodeError) -> Response:
        self._context.log.warning("taxii.malformed", reason=fault.reason, detail=str(fault), path=request.path)
        status = 422 if fault.reason == "envelope" else 413 if fault.reason == "size" else 400
        return error(status, str(fault))

    def http_error(self, fault: HTTPException) -> Response:
        return error(fault.code or 500)

    def crashed(self, fault: Exception) -> Response:
        self._context.log.exception("taxii.request_failed", path=request.path, error=type(fault).__name__)
        return error(500)


def create_app(context: EsmcContext, envelopes_per_minute: int = ENVELOPES_PER_MINUTE) -> Flask:
    """WSGI application; to be served behind a TLS that demands client certificates of the federation."""
    server, app = TaxiiServer(context, envelopes_per_minute), Flask("taxii", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = 4 * MAX_BYTES  # read to the end, so that the sender hears its 413
    app.url_map.strict_slashes = False
    app.extensions["engine"] = context.engine
    base = f"/{ROOT}/collections/<key>"
    routes: list[tuple[str, str, View]] = [
        ("GET", "/taxii2/", server.discovery),
        ("GET", f"/{ROOT}/", server.root),
        ("GET", f"/{ROOT}/status/<uuid:status_id>/", server.status),
        ("GET", f"/{ROOT}/collections/", server.collections),
        ("GET", f"{base}/", server.collection),
        ("GET", f"{base}/manifest/", server.manifest),
        ("GET", f"{base}/objects/", server.objects),
        ("POST", f"{base}/objects/", server.post),
        ("GET", f"{base}/objects/<object_id>/", server.one_object),
        ("DELETE", f"{base}/objects/<object_id>/", server.delete),
        ("GET", f"{base}/objects/<object_id>/versions/", server.versions),
    ]
    for method, rule, view in routes:
        app.add_url_rule(rule, f"{method} {rule}", view, methods=[method])
    app.wsgi_app = server.nothing_new(app.wsgi_app)  # type: ignore[method-assign]
    app.before_request(server.admit)
    app.after_request(server.sign)
    app.register_error_handler(NotTrusted, server.refused)
    app.register_error_handler(DecodeError, server.malformed)
    app.register_error_handler(HTTPException, server.http_error)
    app.register_error_handler(Exception, server.crashed)
    return app


def _find(key: str) -> Collection | None:
    return next((c for c in COLLECTIONS if key in (c.alias, str(c.collection))), None)


def _described(c: Collection) -> dict[str, Any]:
    return {
        "id": str(c.collection),
        "title": c.title,
        "description": c.description,
        "alias": c.alias,
        "can_read": c.readable,
        "can_write": c.writable,
        "media_types": ["application/stix+json;version=2.1"],
    }


def _manifest(row: Stored) -> dict[str, str]:
    return {
        "id": row.id,
        "date_added": paging.write_stamp(row.date_added),
        "version": paging.write_version(row.version),
        "media_type": "application/stix+json;version=2.1",
    }
