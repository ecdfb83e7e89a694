"""Advice from Europe as it was received, with the signed bytes as proof, and how far we have polled."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from model.advice import Advice
from model.finding import FindingKind, Severity
from model.marking import Tlp


def add(conn: Connection, advice: Advice, body: bytes, token: str) -> bool:
    """Store an alert or its newer version; False if this version, or a newer one, was there already."""
    query = text(
        "INSERT INTO inbox (advice_id, title, text, kind, severity, technique, members, first_seen, published, "
        "marking, received, acknowledged, body, token) "
        "VALUES (:advice_id, :title, :text, :kind, :severity, :technique, :members, "
        ":first_seen, :published, :marking, :received, NULL, :body, :token) "
        "ON CONFLICT (advice_id) DO UPDATE SET title = excluded.title, text = excluded.text, kind = excluded.kind, "
        "severity = excluded.severity, technique = excluded.technique, members = excluded.members, "
        "first_seen = excluded.first_seen, published = excluded.published, marking = excluded.marking, "
        "received = excluded.received, acknowledged = NULL, body = excluded.body, token = excluded.token "
        "WHERE inbox.published < excluded.published RETURNING advice_id"
    )
    values: dict[str, Any] = {name: getattr(advice, name) for name in Advice.__slots__}
    values |= {"kind": str(advice.kind), "severity": str(advice.severity), "marking": str(advice.marking)}
    return conn.execute(query, values | {"body": body, "token": token}).one_or_none() is not None


def all(conn: Connection, limit: int = 200) -> list[Advice]:  # noqa: A001  reads as advice.all(conn)
    """The newest advice first."""
    query = text("SELECT * FROM inbox ORDER BY published DESC LIMIT :limit")
    return [_advice(row) for row in conn.execute(query, {"limit": limit})]


def get(conn: Connection, advice_id: UUID) -> Advice | None:
    """One piece of advice."""
    query = text("SELECT * FROM inbox WHERE advice_id = :id")
    row = conn.execute(query, {"id": advice_id}).one_or_none()
    return None if row is None else _advice(row)


def unacknowledged(conn: Connection) -> list[Advice]:
    """Advice whose receipt the ESMC has not confirmed yet, oldest first."""
    query = text("SELECT * FROM inbox WHERE acknowledged IS NULL ORDER BY published")
    return [_advice(row) for row in conn.execute(query)]


def acknowledged(conn: Connection, advice_id: UUID, at: datetime) -> None:
    """The ESMC has stored our acknowledgement."""
    conn.execute(text("UPDATE inbox SET acknowledged = :at WHERE advice_id = :id"), {"id": advice_id, "at": at})


def position(conn: Connection, peer: str) -> str:
    """`added_after` of the next poll, "" before the first."""
    return str(conn.scalar(text("SELECT added_after FROM poll_state WHERE peer = :peer"), {"peer": peer}) or "")


def polled(conn: Connection, peer: str, added_after: str, now: datetime, error: str = "") -> None:
    """How a poll ended; in the transaction that stores what it brought."""
    query = text(
        "INSERT INTO poll_state (peer, added_after, last_poll, last_error) VALUES (:peer, :added_after, :now, :error) "
        "ON CONFLICT (peer) DO UPDATE SET added_after = excluded.added_after, last_poll = excluded.last_poll, "
        "last_error = excluded.last_error"
    )
    conn.execute(query, {"peer": peer, "added_after": added_after, "now": now, "error": error[:500]})


def _advice(row: Any) -> Advice:
    fields = {name: row._mapping[name] for name in Advice.__slots__}
    fields |= {"kind": FindingKind(row.kind), "severity": Severity(row.severity), "marking": Tlp(row.marking)}
    return Advice(**fields)
