"""Receiving envelopes: verify, judge object by object, keep the raw bytes and the objects, commit, then answer.

Nothing of an envelope is parsed before its signature holds. Correlation comes later and reads the store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine

from esmc.members import identify, require_own
from esmc.store import intake, members, taxii
from esmc.store.members import Member
from esmc.store.taxii import Collection, Item
from esmc.taxii.paging import write_stamp, write_version
from model.errors import DecodeError, GridSmcError, NotTrusted, PeerError
from model.federation import ESMC_URI
from model.ids import new_id
from model.stix import StixObject, catalogue_copy, is_catalogue
from model.time import Clock, to_datetime
from trust import signing
from wire.stix import check, parse_envelope, stamp


class OutboxGap(GridSmcError):
    """A number of the member's outbox is missing; `expected` is the one to send again."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        super().__init__(f"the next number of the outbox is {expected}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one object. `failure` is "" for a success."""

    id: str
    version: str
    failure: str


def receive(engine: Engine, clock: Clock, collection: Collection, uri: str, token: str, body: bytes) -> dict[str, Any]:
    """Take an envelope in and return its status. Committed when this returns.

    Raises NotTrusted (signature, replay, sequence), OutboxGap, or DecodeError (the envelope as a whole); then nothing
    of it is kept but the quarantined bytes and the counted fault.
    """
    now = to_datetime(clock.now_ns())
    try:
        with engine.begin() as conn:
            member = _admit(conn, uri, token, body, now)
            try:
                with conn.begin_nested():
                    return _keep(conn, collection, member, body, now)
            except DecodeError as error:
                fault = error  # the number is spent: the sender must not send the same bytes for ever
        raise fault
    except PeerError as error:
        _count(engine, uri, error, body, now)
        raise


def _admit(conn: Connection, uri: str, token: str, body: bytes, now: datetime) -> Member:
    """The member, after its signature, freshness, sequence and outbox number hold; the raw bytes are kept."""
    member = identify(conn, uri, lock=True)
    claims = signing.verify(token, body, member.public_key, issuer=uri, audience=ESMC_URI, now=now)
    if claims.outbox > member.outbox + 1:
        raise OutboxGap(member.outbox + 1)
    members.advance(conn, member, claims.jti, claims.seq, claims.outbox, now, signing.WINDOW_S)
    intake.put_raw(conn, member.code, now, claims.outbox, body, token)
    return member


def _keep(conn: Connection, collection: Collection, member: Member, body: bytes, now: datetime) -> dict[str, Any]:
    verdicts: list[Verdict] = []
    items: list[Item] = []
    for received in parse_envelope(body):
        try:
            item = _judge(received, collection, member, now)
        except PeerError as error:
            verdicts.append(_verdict(received, str(error)))
            continue
        if item is None:
            verdicts.append(_verdict(received, ""))
        else:
            items.append(item)
    verdicts += _add(conn, collection, member, items, now)
    return _status(conn, member, verdicts, now)


def _judge(received: StixObject, collection: Collection, member: Member, now: datetime) -> Item | None:
    """An object to store; None for a faithful copy out of the catalogue, which is a success and never a version."""
    if is_catalogue(received):
        if received != catalogue_copy(received):
            raise NotTrusted("catalogue", "catalogue object", str(received.get("id"))[:80], "the federation's content")
        return None
    typed, body = check(received)
    require_own(member, collection, typed, now)
    return Item(typed.id, stamp(typed.modified), str(received["type"]), hashlib.sha256(body).digest(), body)


def _add(
    conn: Connection, collection: Collection, member: Member, items: Sequence[Item], now: datetime
) -> list[Verdict]:
    outcomes = taxii.add(conn, collection.collection, items, member.code, now)
    verdicts = []
    for item, outcome in zip(items, outcomes, strict=True):
        failure = ""
        if outcome == "conflict":
            failure = "the same id and version is stored with other content"
            detail = f"{item.id} {write_version(item.version)}: {failure}"
            intake.quarantine(conn, member.code, "integrity", detail, item.body, now)
            members.failed(conn, member.code, detail)
        verdicts.append(Verdict(item.id, write_version(item.version), failure))
    return verdicts


def _verdict(received: StixObject, failure: str) -> Verdict:
    version = received.get("modified") or received.get("created") or ""
    return Verdict(str(received.get("id"))[:120], str(version)[:40], failure)


def _status(conn: Connection, member: Member, verdicts: Sequence[Verdict], now: datetime) -> dict[str, Any]:
    lists: dict[str, list[dict[str, str]]] = {"successes": [], "failures": []}
    for v in verdicts:
        entry = {"id": v.id, "version": v.version} | ({"message": v.failure} if v.failure else {})
        lists["failures" if v.failure else "successes"].append(entry)
    if lists["failures"]:
        members.failed(conn, member.code, lists["failures"][0]["message"])
    status: UUID = new_id()
    body: dict[str, Any] = {
        "id": str(status),
        "status": "complete",
        "request_timestamp": write_stamp(now),
        "total_count": len(verdicts),
        "success_count": len(lists["successes"]),
        "failure_count": len(lists["failures"]),
        "pending_count": 0,
    } | {name: entries for name, entries in lists.items() if entries}
    intake.put_status(conn, status, member.code, now, body)
    return body


def _count(engine: Engine, uri: str, error: PeerError, body: bytes, now: datetime) -> None:
    with engine.begin() as conn:
        member = members.by_certificate(conn, uri)
        intake.quarantine(conn, member.code if member else uri[:80], error.reason, str(error), body, now)
        if member:
            members.failed(conn, member.code, str(error))
