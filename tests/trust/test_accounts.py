"""Passwords, limits, sessions: what a stranger and what a stolen cookie can reach."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from time import perf_counter

import pytest
from sqlalchemy import Engine, text

from model.errors import Conflict, NotPermitted, OperatorError
from tests.trust.conftest import PASSWORD
from trust import accounts, store
from trust.roles import Role
from trust.sessions import Lifetime, new_token

LIFE = Lifetime(timedelta(minutes=15), timedelta(hours=12))
HERE, THERE = "192.0.2.1", "192.0.2.2"
NOW = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)


def signed(engine: Engine, name: str = "analyst", address: str = HERE) -> accounts.SignedIn:
    found = accounts.sign_in(engine, name, PASSWORD, address, LIFE)
    assert found is not None
    return found


def test_a_fresh_installation_has_no_account(engine: Engine) -> None:
    with engine.begin() as conn:
        assert store.accounts(conn) == []


def test_the_right_password_opens_a_session_of_that_role(people: Engine) -> None:
    made = signed(people)
    with people.begin() as conn:
        found = store.lookup(conn, made.token, LIFE)
        kept = conn.execute(text("SELECT token_hash FROM sessions")).scalar_one()
    assert found is not None
    assert (found.name, found.role, found.must_change) == ("analyst", Role.ANALYST, False)
    assert bytes(kept) == found.token_hash
    assert made.token.encode() not in bytes(kept)


@pytest.mark.parametrize("name", ["analyst", "nobody", "", "a\0b", "analyst "])
@pytest.mark.parametrize("password", ["", "wrong horse battery", PASSWORD + " ", "x" * 5000])
def test_anything_else_opens_none(people: Engine, name: str, password: str) -> None:
    assert accounts.sign_in(people, name, password, HERE, LIFE) is None


@pytest.mark.parametrize("password", ["short", "x" * 1001, "abababababababab"])
def test_passwords_that_break_the_rules_are_refused_with_the_rule(engine: Engine, password: str) -> None:
    with engine.begin() as conn, pytest.raises(OperatorError, match="password"):
        accounts.create(conn, "new", password, Role.ANALYST, "test", must_change=True)


def test_all_of_a_long_password_counts(engine: Engine) -> None:
    long = "correct horse " * 10
    with engine.begin() as conn:
        accounts.create(conn, "long", long + "A", Role.ANALYST, "test", must_change=False)
    assert accounts.sign_in(engine, "long", long + "B", HERE, LIFE) is None
    assert accounts.sign_in(engine, "long", long + "A", HERE, LIFE) is not None


def test_a_name_is_taken_once_and_has_no_hidden_characters(people: Engine) -> None:
    with people.begin() as conn, pytest.raises(Conflict):
        accounts.create(conn, "analyst", PASSWORD, Role.ADMIN, "test", must_change=False)
    for name in ("", " padded", "right\u202eto-left", "x" * 65):
        with people.begin() as conn, pytest.raises(OperatorError):
            accounts.create(conn, name, PASSWORD, Role.ADMIN, "test", must_change=False)


def test_the_sixth_attempt_waits_and_only_at_this_address(people: Engine) -> None:
    for _ in range(5):
        assert accounts.sign_in(people, "analyst", "wrong horse battery", HERE, LIFE) is None
    with pytest.raises(accounts.TooManyAttempts) as refused:
        accounts.sign_in(people, "analyst", PASSWORD, HERE, LIFE)
    assert 30 < refused.value.retry_after_s <= 300
    assert accounts.sign_in(people, "analyst", PASSWORD, THERE, LIFE) is not None
    assert accounts.sign_in(people, "operator", PASSWORD, HERE, LIFE) is not None


def test_parallel_attempts_cannot_pass_the_limit_together(people: Engine) -> None:
    answers: list[str] = []

    def attempt() -> None:
        try:
            accounts.sign_in(people, "analyst", "wrong horse battery", HERE, LIFE)
            answers.append("looked at")
        except accounts.TooManyAttempts:
            answers.append("refused")

    attempts = [threading.Thread(target=attempt) for _ in range(8)]
    for one in attempts:
        one.start()
    for one in attempts:
        one.join(timeout=30)
    assert sorted(answers) == ["looked at"] * 5 + ["refused"] * 3


def test_a_right_password_clears_the_count(people: Engine) -> None:
    for _ in range(3):
        for _ in range(4):
            assert accounts.sign_in(people, "analyst", "wrong horse battery", HERE, LIFE) is None
        signed(people)


def test_one_address_gets_fifty_failures_an_hour_over_all_names(people: Engine) -> None:
    now = datetime.now(UTC)
    with people.begin() as conn:
        for i in range(50):
            store.add_attempt(conn, f"name-{i}", HERE, now - timedelta(minutes=30), timedelta(hours=1))
    with pytest.raises(accounts.TooManyAttempts):
        accounts.sign_in(people, "analyst", PASSWORD, HERE, LIFE)
    assert accounts.sign_in(people, "analyst", PASSWORD, THERE, LIFE) is not None


@pytest.mark.parametrize(
    ("ages_s", "least", "most"),
    [
        ([], 0, 0),
        ([10] * 4, 0, 0),
        ([250, 240, 30, 20, 10], 50, 50),  # until the first of five leaves the window
        ([900] * 5, 0, 0),
        ([600] * 6 + [10], 110, 110),  # seven failures: 120 s after the last one
        ([600] * 30 + [1], 899, 899),  # never longer than a quarter of an hour
    ],
)
def test_delay_grows_and_ends(ages_s: list[int], least: float, most: float) -> None:
    failures = [NOW - timedelta(seconds=age) for age in ages_s]
    assert least <= accounts.delay_s(failures, NOW) <= most


def test_an_unknown_name_costs_what_a_known_one_costs(people: Engine) -> None:
    def cost_s(name: str, turn: int) -> float:
        started = perf_counter()
        accounts.sign_in(people, name, "wrong horse battery", f"198.51.100.{turn}", LIFE)
        return perf_counter() - started

    turns = [(cost_s("analyst", turn), cost_s("nobody-at-all", turn)) for turn in range(12)]
    known, unknown = min(k for k, _ in turns), min(u for _, u in turns)  # the least is free of the machine's noise
    assert 0.5 < known / unknown < 2.0  # leaving out the hash of 30 ms would be a factor of ten


def test_sessions_end_by_idling_and_in_any_case(people: Engine) -> None:
    made = signed(people)
    with people.begin() as conn:
        conn.execute(text("UPDATE sessions SET last_seen = last_seen - interval '14 minutes'"))
        assert store.lookup(conn, made.token, LIFE) is not None
        conn.execute(text("UPDATE sessions SET last_seen = last_seen - interval '16 minutes'"))
        assert store.lookup(conn, made.token, LIFE) is None
        assert conn.execute(text("SELECT count(*) FROM sessions")).scalar_one() == 0
    again = signed(people)
    with people.begin() as conn:
        conn.execute(text("UPDATE sessions SET expires = now() - interval '1 second'"))
        assert store.lookup(conn, again.token, LIFE) is None


def test_use_keeps_awake_but_a_tick_does_not(people: Engine) -> None:
    made = signed(people)
    with people.begin() as conn:
        conn.execute(text("UPDATE sessions SET last_seen = last_seen - interval '10 minutes'"))
        before = conn.execute(text("SELECT last_seen FROM sessions")).scalar_one()
        store.lookup(conn, made.token, LIFE, touch=False)
        assert conn.execute(text("SELECT last_seen FROM sessions")).scalar_one() == before
        store.lookup(conn, made.token, LIFE)
        assert conn.execute(text("SELECT last_seen FROM sessions")).scalar_one() > before


def test_a_guessed_token_finds_nothing(people: Engine) -> None:
    signed(people)
    with people.begin() as conn:
        for token in ("", "x", new_token(), "a" * 128):
            assert store.lookup(conn, token, LIFE) is None


@pytest.mark.parametrize("event", ["sign-out", "disable", "password", "role"])
def test_an_old_cookie_is_worth_nothing_after(people: Engine, event: str) -> None:
    made = signed(people)
    account_id = made.session.account_id
    if event == "sign-out":
        accounts.sign_out(people, made.session)
    elif event == "password":
        fresh = accounts.change_password(people, made.session, PASSWORD, "another horse battery", LIFE)
        with people.begin() as conn:
            assert store.lookup(conn, fresh.token, LIFE) is not None
    with people.begin() as conn:
        if event == "disable":
            store.set_disabled(conn, account_id, disabled=True)
        if event == "role":
            store.set_role(conn, account_id, Role.ADMIN)
        assert store.lookup(conn, made.token, LIFE) is None
    if event == "disable":
        assert accounts.sign_in(people, "analyst", PASSWORD, HERE, LIFE) is None


def test_changing_the_password_needs_the_old_one(people: Engine) -> None:
    made = signed(people)
    with pytest.raises(NotPermitted, match="wrong"):
        accounts.change_password(people, made.session, "wrong horse battery", "another horse battery", LIFE)


def test_everything_is_written_down(people: Engine) -> None:
    accounts.sign_in(people, "analyst", "wrong horse battery", HERE, LIFE)
    accounts.sign_out(people, signed(people).session)
    with people.begin() as conn:
        told = [(r.actor, r.action, r.object) for r in store.recent_audit(conn, 3)]
        store.verify_audit(conn)
        dump = str([r.detail for r in store.audit_records(conn)])
    assert told == [
        ("analyst", "signed-out", "account:analyst"),
        ("analyst", "signed-in", "account:analyst"),
        ("anonymous", "sign-in-refused", "account:analyst"),
    ]
    assert "horse" not in dump
