"""The audit chain: each record carries the hash of the one before, so an edit, a deletion or a swap shows.

hash = SHA-256(JCS([number, at, actor, action, object, detail]) + previous hash); the first record's previous hash
is 32 zero bytes. A cut tail or a chain rebuilt from the edit onwards is found only against a head kept elsewhere:
`Head` is what is kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785

from model.errors import GridSmcError

ALLOWED = "text, whole numbers up to 2^53, booleans, None, lists and mappings of these"
GENESIS = bytes(32)
MAX_WHOLE = 2**53 - 1
MAX_DEPTH = 8

Detail = Mapping[str, Any]


class AuditBroken(GridSmcError):
    """The chain does not hold; the text says at which record and why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing that was done, by whom, to what."""

    number: int
    at: datetime
    actor: str
    action: str
    object: str
    detail: Detail
    previous: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """The newest record of a chain: kept elsewhere, it proves that the tail was not cut."""

    number: int
    hash: bytes


def chain_hash(record_fields: tuple[int, datetime, str, str, str, Detail], previous: bytes) -> bytes:
    """SHA-256 over the canonical fields and the previous hash."""
    number, at, actor, action, subject, detail = record_fields
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    canonical = rfc8785.dumps([number, moment, actor, action, subject, _plain(detail)])
    return hashlib.sha256(canonical + previous).digest()


def _plain(value: object, depth: int = 0) -> Any:
    """The value as canonical JSON holds it; what the database would give back changed is refused."""
    if depth > MAX_DEPTH:
        raise ValueError(f"audit detail is nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= MAX_WHOLE:
        return int(value)
    if isinstance(value, str) and "\0" not in value:
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    raise ValueError(f"audit detail holds {value!r}, expected {ALLOWED}")


def plain(detail: Detail) -> dict[str, Any]:
    """Detail as it is stored. ValueError for what would not come back the same (floats, bytes, NUL)."""
    return {str(key): _plain(value, 1) for key, value in detail.items()}


def verify(records: Iterable[Record], anchor: Head | None = None) -> Head:
    """Walk a whole chain in order of number and return its head. Raises AuditBroken at the first record that lies.

    `anchor`: a head kept elsewhere; the chain must contain it, else the tail was cut or the chain rebuilt.
    """
    head = Head(0, GENESIS)
    anchored = anchor is None or anchor == head
    for record in records:
        if record.number != head.number + 1:
            raise AuditBroken(f"audit record {head.number + 1} is missing, the next one is {record.number}")
        if record.previous != head.hash:
            raise AuditBroken(f"audit record {record.number} does not follow record {head.number}")
        fields = (record.number, record.at, record.actor, record.action, record.object, record.detail)
        if chain_hash(fields, record.previous) != record.hash:
            raise AuditBroken(f"audit record {record.number} was changed after it was written")
        head = Head(record.number, record.hash)
        if anchor is not None and anchor.number == head.number:
            anchored = anchor == head
    if not anchored and anchor is not None:
        raise AuditBroken(f"the chain does not contain the kept head, record {anchor.number}: cut or rebuilt")
    return head
