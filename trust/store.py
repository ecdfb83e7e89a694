"""SQL of accounts, sessions, sign-in attempts and the audit chain. The caller owns the transaction.

Both centres have these tables (migrations/shared.py) and neither may import the other, so the SQL lives here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from model.errors import Conflict
from model.ids import new_id
from trust import audit
from trust.roles import Role
from trust.sessions import SEEN_EVERY, Lifetime, Session, new_token, token_hash

AUDIT_LOCK = 0x61756469  # key of the advisory lock that makes one writer of the chain
ATTEMPT_LOCK = 0x7369676E
VERIFY_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Account:
    """A person's account, without anything to sign in with."""

    account_id: UUID
    name: str
    role: Role
    created: datetime
    disabled: bool
    must_change: bool
    last_sign_in: datetime | None


def create_account(
    conn: Connection, name: str, password_hash: str, role: Role, *, must_change: bool = False
) -> Account:
    """Add an account. Conflict if the name is taken."""
    row = conn.execute(
        text(
            "INSERT INTO accounts (account_id, name, password_hash, role, created, must_change) "
            "VALUES (:id, :name, :hash, :role, :now, :must_change) "
            "ON CONFLICT (name) DO NOTHING "
            "RETURNING account_id, name, role, created, disabled, must_change, last_sign_in"
        ),
        {
            "id": new_id(),
            "name": name,
            "hash": password_hash,
            "role": role.value,
            "now": _now(),
            "must_change": must_change,
        },
    ).one_or_none()
    if row is None:
        raise Conflict(f"an account named {name!r} exists already")
    return _account(row)


def account(conn: Connection, name: str) -> tuple[Account, str] | None:
    """Account and password hash by name, or None."""
    row = conn.execute(
        text(
            "SELECT account_id, name, role, created, disabled, must_change, last_sign_in, password_hash "
            "FROM accounts WHERE name = :name"
        ),
        {"name": name},
    ).one_or_none()
    return None if row is None else (_account(row), str(row.password_hash))


def accounts(conn: Connection) -> list[Account]:
    """All accounts by name."""
    rows = conn.execute(
        text("SELECT account_id, name, role, created, disabled, must_change, last_sign_in FROM accounts ORDER BY name")
    )
    return [_account(row) for row in rows]


def set_password(conn: Connection, account_id: UUID, password_hash: str, *, must_change: bool) -> None:
    """Replace the password hash; all sessions of the account end."""
    conn.execute(
        text("UPDATE accounts SET password_hash = :hash, must_change = :must WHERE account_id = :id"),
        {"hash": password_hash, "must": must_change, "id": account_id},
    )
    close_sessions_of(conn, account_id)


def rehash(conn: Connection, account_id: UUID, password_hash: str) -> None:
    """Store the same password under newer parameters; sessions go on."""
    conn.execute(
        text("UPDATE accounts SET password_hash = :hash WHERE account_id = :id"),
        {"hash": password_hash, "id": account_id},
    )


def set_disabled(conn: Connection, account_id: UUID, *, disabled: bool) -> None:
    """Switch an account off or on; switching off ends its sessions at once."""
    conn.execute(
        text("UPDATE accounts SET disabled = :disabled WHERE account_id = :id"),
        {"disabled": disabled, "id": account_id},
    )
    close_sessions_of(conn, account_id)


def set_role(conn: Connection, account_id: UUID, role: Role) -> None:
    """Give an account another role; its sessions end."""
    conn.execute(
        text("UPDATE accounts SET role = :role WHERE account_id = :id"), {"role": role.value, "id": account_id}
    )
    close_sessions_of(conn, account_id)


def open_session(conn: Connection, who: Account, address: str, lifetime: Lifetime) -> tuple[str, Session]:
    """A new session with a fresh token (returned once, never stored). Old sessions past their end are swept."""
    now, token = _now(), new_token()
    session = Session(
        token_hash(token),
        who.account_id,
        who.name,
        who.role,
        who.must_change,
        created=now,
        last_seen=now,
        expires=now + lifetime.absolute,
        authenticated=now,
        address=address,
        csrf=new_token(),
    )
    conn.execute(text("DELETE FROM sessions WHERE expires < :now"), {"now": now})
    conn.execute(
        text(
            "INSERT INTO sessions (token_hash, account_id, created, last_seen, expires, authenticated, address, csrf) "
            "VALUES (:hash, :account, :now, :now, :expires, :now, :address, :csrf)"
        ),
        {
            "hash": session.token_hash,
            "account": who.account_id,
            "now": now,
            "expires": session.expires,
            "address": address,
            "csrf": session.csrf,
        },
    )
    conn.execute(
        text("UPDATE accounts SET last_sign_in = :now WHERE account_id = :id"), {"now": now, "id": who.account_id}
    )
    return token, session


def lookup(conn: Connection, token: str, lifetime: Lifetime, *, touch: bool = True) -> Session | None:
    """The living session of a token, or None. `touch`: this request is a person's, so it keeps the session awake."""
    row = conn.execute(
        text(
            "SELECT s.token_hash, s.account_id, a.name, a.role, a.must_change, s.created, s.last_seen, s.expires, "
            "s.authenticated, s.address, s.csrf FROM sessions s JOIN accounts a USING (account_id) "
            "WHERE s.token_hash = :hash AND NOT a.disabled"
        ),
        {"hash": token_hash(token)},
    ).one_or_none()
    if row is None:
        return None
    session = Session(bytes(row[0]), row[1], row[2], Role(row[3]), row[4], *row[5:])
    now = _now()
    if not session.alive(now, lifetime.idle):
        close_session(conn, session.token_hash)
        return None
    if touch and now - session.last_seen > SEEN_EVERY:
        conn.execute(
            text("UPDATE sessions SET last_seen = :now WHERE token_hash = :hash"),
            {"now": now, "hash": session.token_hash},
        )
    return session


def close_session(conn: Connection, hashed: bytes) -> None:
    """End one session."""
    conn.execute(text("DELETE FROM sessions WHERE token_hash = :hash"), {"hash": hashed})


def close_sessions_of(conn: Connection, account_id: UUID) -> None:
    """End every session of an account."""
    conn.execute(text("DELETE FROM sessions WHERE account_id = :id"), {"id": account_id})


def note_attempt(conn: Connection, name: str, address: str, since: datetime) -> tuple[list[datetime], int]:
    """Failed attempts since then, oldest first, for (name, address), and the number for the address alone.

    Takes a lock on the address until the transaction ends, so that parallel attempts cannot pass the limit together.
    """
    conn.execute(text("SELECT pg_advisory_xact_lock(:key, hashtext(:who))"), {"key": ATTEMPT_LOCK, "who": address})
    rows = conn.execute(
        text("SELECT name, at FROM sign_in_attempts WHERE address = :address AND at > :since ORDER BY at"),
        {"address": address, "since": since},
    ).all()
    return [row.at for row in rows if row.name == name], len(rows)


def add_attempt(conn: Connection, name: str, address: str, at: datetime, keep: timedelta) -> None:
    """Write an attempt down as failed, before the password is looked at; older ones than `keep` go."""
    conn.execute(text("DELETE FROM sign_in_attempts WHERE at < :old"), {"old": at - keep})
    conn.execute(
        text("INSERT INTO sign_in_attempts (name, address, at) VALUES (:name, :address, :at)"),
        {"name": name, "address": address, "at": at},
    )


def clear_attempts(conn: Connection, name: str, address: str) -> None:
    """After a right password nothing counts against this person at this address."""
    conn.execute(
        text("DELETE FROM sign_in_attempts WHERE name = :name AND address = :address"),
        {"name": name, "address": address},
    )


def append_audit(
    conn: Connection,
    actor: str,
    action: str,
    object: str,  # noqa: A002  the column's name
    detail: audit.Detail | None = None,
) -> audit.Record:
    """Append one record in the caller's transaction: the deed and its record are committed together or not at all.

    One writer at a time: an advisory lock is held until the caller's transaction ends, so keep that short.
    """
    conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": AUDIT_LOCK})
    head = audit_head(conn)
    plain = audit.plain(detail or {})
    fields = (head.number + 1, _now(), actor, action, object, plain)
    record = audit.Record(*fields, previous=head.hash, hash=audit.chain_hash(fields, head.hash))
    conn.execute(
        text(
            "INSERT INTO audit (number, at, actor, action, object, detail, previous, hash) "
            "VALUES (:number, :at, :actor, :action, :object, CAST(:detail AS jsonb), :previous, :hash)"
        ),
        {
            "number": record.number,
            "at": record.at,
            "actor": actor,
            "action": action,
            "object": object,
            "detail": json.dumps(plain),
            "previous": record.previous,
            "hash": record.hash,
        },
    )
    return record


def audit_head(conn: Connection) -> audit.Head:
    """The newest record, or the genesis of an empty chain."""
    row = conn.execute(text("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1")).one_or_none()
    return audit.Head(0, audit.GENESIS) if row is None else audit.Head(row.number, bytes(row.hash))


def audit_records(conn: Connection, after: int = 0) -> Iterator[audit.Record]:
    """All records in order, fetched in pages by number."""
    while True:
        rows = _audit_page(conn, "number > :bound ORDER BY number", after)
        yield from rows
        if len(rows) < VERIFY_ROWS:
            return
        after = rows[-1].number


def recent_audit(conn: Connection, limit: int = 200, before: int = 2**62) -> list[audit.Record]:
    """The newest records first, at most 5,000, with a number below `before`."""
    return _audit_page(conn, "number < :bound ORDER BY number DESC", before, min(limit, VERIFY_ROWS))


def _audit_page(conn: Connection, where: str, bound: int, limit: int = VERIFY_ROWS) -> list[audit.Record]:
    rows = conn.execute(
        text(
            "SELECT number, at, actor, action, object, detail, previous, hash FROM audit "  # noqa: S608
            f"WHERE {where} LIMIT :limit"
        ),
        {"bound": bound, "limit": limit},
    )
    return [
        audit.Record(r.number, r.at, r.actor, r.action, r.object, r.detail, bytes(r.previous), bytes(r.hash))
        for r in rows
    ]


def verify_audit(conn: Connection, anchor: audit.Head | None = None) -> audit.Head:
    """Check the whole chain and return its head; AuditBroken says where it lies."""
    return audit.verify(audit_records(conn), anchor)


def _account(row: Row[Any] | Sequence[Any]) -> Account:
    account_id, name, role, created, disabled, must_change, last_sign_in = tuple(row)[:7]
    return Account(account_id, name, Role(role), created, disabled, must_change, last_sign_in)


def _now() -> datetime:
    return datetime.now(UTC)
