"""Filters, limits and the opaque `next` of TAXII 2.1: text of a query string in, typed queries out. Pure.

A `next` token is self-contained and authenticated: it holds the path, the filters and the position by `date_added`,
which is unique in a collection, so a page costs the same anywhere and stays right while others write.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from esmc.store.taxii import Query
from model.errors import DecodeError

MAX_PAGE = 1_000
MAC_BYTES = 16
_STAMP = re.compile(r"\A(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z\Z")
FILTERS = ("added_after", "match[id]", "match[type]", "match[spec_version]", "match[version]")
OBJECT_FILTERS = ("added_after", "match[spec_version]", "match[version]")
VERSION_FILTERS = ("added_after", "match[spec_version]")


@dataclass(frozen=True, slots=True)
class Page:
    """One request for objects: what, how many, and from where on."""

    query: Query
    limit: int
    after: datetime | None
    filters: dict[str, str]  # as given, to be kept in the next token


def read_page(
    path: str, collection: UUID, arguments: Mapping[str, str], allowed: tuple[str, ...], key: bytes, object_id: str = ""
) -> Page:
    """The request behind a query string. Raises DecodeError for anything that is no sound filter, limit or token."""
    given = {name: arguments[name] for name in allowed if name in arguments}
    after = None
    if "next" in arguments:
        kept, after = _open_token(arguments["next"], path, key)
        if given and given != kept:
            raise DecodeError("next", "filters beside `next`", given, f"{kept} or none")
        given = kept
    query = Query(
        collection,
        added_after=read_stamp(given["added_after"]) if "added_after" in given else None,
        ids=(object_id,) if object_id else _listed(given, "match[id]"),
        types=_listed(given, "match[type]"),
        spec_versions=_listed(given, "match[spec_version]"),
        versions=_versions(given, "all" if allowed == VERSION_FILTERS else "last"),
    )
    return Page(query, read_limit(arguments.get("limit")), after, given)


def read_limit(text: str | None) -> int:
    """A positive number of objects, lowered to the server's maximum."""
    if text is None:
        return MAX_PAGE
    if not re.fullmatch(r"[0-9]{1,9}", text, re.ASCII) or int(text) == 0:
        raise DecodeError("limit", "limit", text[:40], "a positive whole number")
    return min(int(text), MAX_PAGE)


def read_stamp(text: str) -> datetime:
    """A timestamp of a filter, cut to microseconds."""
    match = _STAMP.match(text)
    try:
        if match is not None:
            fraction = (match[2] or ".0")[1:7].ljust(6, "0")
            return datetime.fromisoformat(f"{match[1]}.{fraction}+00:00")
    except ValueError as error:
        raise DecodeError("timestamp", "timestamp", text[:40], "an existing time") from error
    raise DecodeError("timestamp", "timestamp", text[:40], "RFC 3339 in UTC, e.g. 2026-11-01T10:00:00.000000Z")


def write_stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds, the form of `date_added`."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def write_version(moment: datetime) -> str:
    """A version as its object states it: RFC 3339 in UTC with milliseconds."""
    return write_stamp(moment)[:23] + "Z"


def write_token(path: str, page: Page, last: datetime, key: bytes) -> str:
    """The `next` that continues after `last`."""
    content = json.dumps([path, page.filters, write_stamp(last)], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_mac(content, key) + content).decode().rstrip("=")


def _open_token(token: str, path: str, key: bytes) -> tuple[dict[str, str], datetime]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError) as error:
        raise DecodeError("next", "next", token[:20], "a token of this server") from error
    content = raw[MAC_BYTES:]
    if not hmac.compare_digest(raw[:MAC_BYTES], _mac(content, key)):
        raise DecodeError("next", "next", token[:20], "a token of this server")
    of_path, filters, last = json.loads(content)
    if of_path != path:
        raise DecodeError("next", "next", token[:20], "a token of this endpoint")
    return filters, read_stamp(last)


def _mac(content: bytes, key: bytes) -> bytes:
    return hmac.new(key, content, hashlib.sha256).digest()[:MAC_BYTES]


def _listed(given: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(given[name].split(",")) if name in given else ()


def _versions(given: Mapping[str, str], default: str) -> tuple[str | datetime, ...]:
    words = _listed(given, "match[version]") or (default,)
    return tuple(w if w in ("first", "last", "all") else read_stamp(w) for w in words)
