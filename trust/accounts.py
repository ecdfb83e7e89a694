"""Passwords and sign-in: Argon2id in a bounded pool behind limits, the same path whether or not the name exists."""

from __future__ import annotations

import secrets
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine

from model.errors import NotPermitted, OperatorError
from trust import store
from trust.roles import Role
from trust.sessions import Lifetime, Session

MIN_PASSWORD, MAX_PASSWORD = 12, 1_000
MAX_NAME = 64
FAILURES, WINDOW = 5, timedelta(minutes=5)  # per account and address
ADDRESS_FAILURES, ADDRESS_WINDOW = 50, timedelta(hours=1)  # per address
FIRST_DELAY_S, LONGEST_DELAY_S = 30.0, 900.0  # a pause that doubles with every failure past the fifth
HASHES_AT_ONCE, HASHES_WAITING = 2, 8  # 19 MiB and about 33 ms each

_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_AT_ONCE = threading.BoundedSemaphore(HASHES_AT_ONCE)
_PLACES = threading.BoundedSemaphore(HASHES_AT_ONCE + HASHES_WAITING)
_NOBODY = _HASHER.hash(secrets.token_urlsafe(32))  # verified when the name is unknown: the same work, never right


class TooManyAttempts(NotPermitted):
    """Wait first; `retry_after_s` says how long."""

    def __init__(self, retry_after_s: float) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many attempts, try again in {retry_after_s:.0f} s")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session; the token goes into a cookie and nowhere else."""

    token: str
    session: Session


def hash_password(password: str) -> str:
    """Argon2id of a password that meets the rules; OperatorError names the rule it breaks."""
    check_password(password)
    with _turn():
        return _HASHER.hash(_normal(password))


def check_password(password: str) -> None:
    """12 to 1,000 characters, not all the same few. No rule about digits and signs: length is what helps."""
    length = len(_normal(password))
    if not MIN_PASSWORD <= length <= MAX_PASSWORD:
        raise OperatorError(
            "length of the password", length, f"{MIN_PASSWORD} to {MAX_PASSWORD} characters", "choose another password"
        )
    if len(set(password)) < 5:
        raise OperatorError(
            "number of different characters in the password", len(set(password)), "at least 5", "choose another one"
        )


def create(conn: Connection, name: str, password: str, role: Role, actor: str, *, must_change: bool) -> store.Account:
    """A new account with its audit record in the caller's transaction."""
    if not name or len(name) > MAX_NAME or not name.isprintable() or name != name.strip():
        raise OperatorError("account name", name, f"1 to {MAX_NAME} printable characters", "choose another name")
    made = store.create_account(conn, name, hash_password(password), role, must_change=must_change)
    store.append_audit(conn, actor, "account-created", f"account:{name}", {"role": role.value})
    return made


def sign_in(engine: Engine, name: str, password: str, address: str, lifetime: Lifetime) -> SignedIn | None:
    """A session for the right name and password, else None. TooManyAttempts past the limits.

    The attempt is written down as failed before the password is looked at, in a transaction of its own.
    """
    name, password = name.strip()[:MAX_NAME], password[: MAX_PASSWORD + 1]
    if "\0" in name:
        return None
    with engine.begin() as conn:
        _admit(conn, name, address)
    with engine.begin() as conn:
        found = store.account(conn, name)
    right = _verify(found[1] if found else _NOBODY, password)
    with engine.begin() as conn:
        if not right or found is None or found[0].disabled:
            store.append_audit(conn, "anonymous", "sign-in-refused", f"account:{name}", {"address": address})
            return None
        who = found[0]
        store.clear_attempts(conn, name, address)
        if _HASHER.check_needs_rehash(found[1]):
            store.rehash(conn, who.account_id, hash_password(password))
        token, session = store.open_session(conn, who, address, lifetime)
        store.append_audit(conn, who.name, "signed-in", f"account:{name}", {"address": address})
    return SignedIn(token, session)


def sign_out(engine: Engine, session: Session) -> None:
    """End this session and write it down."""
    with engine.begin() as conn:
        store.close_session(conn, session.token_hash)
        store.append_audit(conn, session.name, "signed-out", f"account:{session.name}", {})


def change_password(engine: Engine, session: Session, old: str, new: str, lifetime: Lifetime) -> SignedIn:
    """The own password. NotPermitted if the old one is wrong. All sessions end, a fresh one comes back."""
    with engine.begin() as conn:
        _admit(conn, session.name, session.address)
        found = store.account(conn, session.name)
    if not _verify(found[1] if found else _NOBODY, old) or found is None or found[0].disabled:
        raise NotPermitted("the present password is wrong")
    hashed = hash_password(new)
    with engine.begin() as conn:
        store.clear_attempts(conn, session.name, session.address)
        store.set_password(conn, session.account_id, hashed, must_change=False)
        store.append_audit(conn, session.name, "password-changed", f"account:{session.name}", {})
        fresh = store.account(conn, session.name)
        assert fresh is not None
        return SignedIn(*store.open_session(conn, fresh[0], session.address, lifetime))


def delay_s(failures: Sequence[datetime], now: datetime) -> float:
    """Seconds to wait before the next attempt: none up to five failures in five minutes, then growing.

    Nobody is locked out for good, and only this address has to wait: an attacker cannot lock operators out.
    """
    recent = [at for at in failures if now - at < WINDOW]
    if len(failures) < FAILURES:
        return 0.0
    growing = min(FIRST_DELAY_S * 2.0 ** (len(failures) - FAILURES), LONGEST_DELAY_S)
    wait = growing - (now - failures[-1]).total_seconds()
    if len(recent) >= FAILURES:
        wait = max(wait, (recent[-FAILURES] + WINDOW - now).total_seconds())
    return max(wait, 0.0)


def _admit(conn: Connection, name: str, address: str) -> None:
    now = datetime.now(UTC)
    failures, of_address = store.note_attempt(conn, name, address, now - ADDRESS_WINDOW)
    wait = delay_s(failures, now)
    if of_address >= ADDRESS_FAILURES:
        wait = max(wait, LONGEST_DELAY_S)
    if wait > 0:
        raise TooManyAttempts(wait)
    store.add_attempt(conn, name, address, now, ADDRESS_WINDOW)


def _verify(hashed: str, password: str) -> bool:
    with _turn():
        try:
            return _HASHER.verify(hashed, _normal(password))
        except (VerificationError, InvalidHashError):
            return False


class _turn:  # noqa: N801  reads as a statement: with _turn():
    """One of few places to hash at a time; when even the waiting places are taken, the caller is sent away."""

    def __enter__(self) -> None:
        if not _PLACES.acquire(blocking=False):
            raise TooManyAttempts(1.0)
        _AT_ONCE.acquire()

    def __exit__(self, *_: object) -> None:
        _AT_ONCE.release()
        _PLACES.release()


def _normal(password: str) -> str:
    return unicodedata.normalize("NFKC", password)
