"""Polls that find nothing, answered in front of the application: almost all of what members ask.

Nothing is decided here that the application would decide otherwise. A request is answered only if a member in force
asks a readable shelf for what came after a moment, and the shelf's newest object is not after it; whatever else it is,
a refusal included, goes on to the application. The newest moment is read after the question came, from the row that
writers hold while they commit: an object that was there when a member asked is never denied.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from esmc.store import taxii
from esmc.store.members import Member
from esmc.store.taxii import COLLECTIONS
from esmc.taxii import paging
from esmc.taxii.answers import acceptable
from esmc.taxii.peers import peer_names
from model.errors import DecodeError, NotTrusted, SetupError
from model.federation import MEDIA_TYPE, SIGNATURE_HEADER
from web.shared import Newest

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

ROOT = "federation"
EMPTY = b"{}"
# Every spelling under which the objects of a readable shelf are polled.
SHELVES = {
    f"/{ROOT}/collections/{key}/{what}/": shelf.collection
    for shelf in COLLECTIONS
    if shelf.readable
    for key in (shelf.alias, str(shelf.collection))
    for what in ("objects", "manifest")
}


class NothingNew:
    """WSGI in front of `following`."""

    def __init__(
        self,
        following: WSGIApplication,
        engine: Engine,
        page_key: bytes,
        member: Callable[[str], Member],
        signature: Callable[[bytes, Member], str],
    ) -> None:
        self._following = following
        self._engine = engine
        self._page_key = page_key
        self._member = member
        self._signature = signature
        self._kept: Connection | None = None
        self._newest = Newest(self._read)

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        shelf = SHELVES.get(environ["PATH_INFO"]) if environ["REQUEST_METHOD"] == "GET" else None
        member = self._polling(environ, shelf) if shelf else None
        if member is None:
            return self._following(environ, start_response)
        headers = [
            ("Content-Type", MEDIA_TYPE),
            ("Content-Length", str(len(EMPTY))),
            (SIGNATURE_HEADER, self._signature(EMPTY, member)),
        ]
        start_response("200 OK", headers)
        return [EMPTY]

    def _polling(self, environ: dict[str, Any], shelf: UUID) -> Member | None:
        """The member whose poll finds nothing; None where the application has to look, or to refuse."""
        after = self._after(environ, shelf)
        names = peer_names(environ)
        if after is None or not names or not acceptable(environ.get("HTTP_ACCEPT", "")):
            return None
        try:
            member = self._member(names[0])
            return member if after >= self._newest.get()[shelf] else None
        except (NotTrusted, DBAPIError, psycopg.Error, SetupError):
            return None  # the application meets the same, says so and writes it down

    def _after(self, environ: dict[str, Any], shelf: UUID) -> datetime | None:
        """After which moment objects are asked for; None where the question is not plainly that."""
        pairs = parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        arguments = dict(pairs)
        if len(arguments) != len(pairs):
            return None
        try:
            asked = paging.read_page(environ["PATH_INFO"], shelf, arguments, paging.FILTERS, self._page_key)
        except DecodeError:
            return None
        moments = [moment for moment in (asked.after, asked.query.added_after) if moment is not None]
        return max(moments, default=None)

    def _read(self) -> dict[UUID, datetime]:
        """On a connection of its own, kept open; one that broke is given up, the next question opens another."""
        if self._kept is None:
            self._kept = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        try:
            return taxii.newest(self._kept)
        except psycopg.Error:
            broken, self._kept = self._kept, None
            broken.invalidate()
            broken.close()
            raise
