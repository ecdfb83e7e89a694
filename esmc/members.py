"""Who is a member and what a member may write: the one place where this is decided."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from sqlalchemy import Connection

from esmc.store import members as store
from esmc.store.members import Member
from esmc.store.taxii import ACKNOWLEDGEMENTS, INCIDENTS, Collection
from model.errors import NotTrusted, OperatorError
from model.federation import member_uri
from model.stix import identity_id
from wire.stix import Note, Report, WireObject, stamp

FUTURE = timedelta(seconds=300)


def enrol(
    conn: Connection,
    code: str,
    name: str,
    country: str,
    area: str,
    public_key: str,
    now: datetime,
    *,
    simulated: bool,
) -> Member:
    """Make an operator a member, or change its name, place or pinned key (`public_key`: Ed25519, PEM)."""
    if not re.fullmatch(r"[A-Z0-9][A-Z0-9-]{0,30}", code) or code == "ESMC":
        raise OperatorError("code of the member", code, "capital letters, digits, hyphens", "choose another code")
    if not re.fullmatch(r"[A-Z]{2}", country):
        raise OperatorError("country of the member", country, "ISO 3166 alpha-2, e.g. DE", "correct the country")
    if "BEGIN PUBLIC KEY" not in public_key:
        raise OperatorError("key of the member", public_key[:30], "an Ed25519 public key as PEM", "give its .pub file")
    uri = member_uri(code)
    member = Member(
        code,
        name,
        country,
        area,
        simulated,
        uri,
        public_key,
        now,
        None,
        "",
        errors=0,
        sequence=0,
        outbox=0,
        revoked=None,
    )
    return store.put(conn, member)


def identify(conn: Connection, uri: str, *, lock: bool = False) -> Member:
    """The member behind a client certificate. NotTrusted for strangers and for the revoked."""
    member = store.by_certificate(conn, uri, lock=lock)
    if member is None:
        raise NotTrusted("stranger", "name in the client certificate", uri[:80], "a member of the federation")
    if member.revoked is not None:
        raise NotTrusted("revoked", "membership", f"revoked since {member.revoked.isoformat()}", "a member in force")
    return member


def require_own(member: Member, collection: Collection, received: WireObject, now: datetime) -> None:
    """A member writes objects that it created itself, on the shelf they belong to, and not from the future."""
    own = identity_id(member.code)
    if received.created_by_ref != own:
        raise NotTrusted("creator", "created_by_ref", received.created_by_ref, f"{own} ({member.code})")
    if isinstance(received, Report):
        raise NotTrusted("type", "type", "report", "a type that members write")
    is_answer = isinstance(received, Note) and received.x_smc_ack is not None
    if is_answer != (collection.alias == ACKNOWLEDGEMENTS.alias):
        expected = "acknowledgements only" if collection.alias != INCIDENTS.alias else "cases only"
        raise NotTrusted("type", f"object in {collection.alias}", received.id, expected)
    if stamp(received.modified) > now + FUTURE:
        raise NotTrusted("time", "modified", received.modified, f"<= now + {FUTURE.total_seconds():.0f} s")
