"""Deny by default: the table, and what the duties of a role exclude."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from model.errors import NotPermitted
from trust.roles import PERMISSIONS, Action, Role, allows, matrix, require


@dataclass(frozen=True)
class Someone:
    role: Role
    must_change: bool = False


@pytest.mark.parametrize("action", Action)
def test_nobody_signed_in_may_do_nothing(action: Action) -> None:
    assert not allows(None, action)
    with pytest.raises(NotPermitted, match=action.value):
        require(None, action)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("action", Action)
def test_require_follows_the_table(role: Role, action: Action) -> None:
    if action in PERMISSIONS[role]:
        require(Someone(role), action)
    else:
        with pytest.raises(NotPermitted):
            require(Someone(role), action)


@pytest.mark.parametrize("role", Role)
def test_before_the_password_is_changed_only_the_own_session_is_open(role: Role) -> None:
    granted = {action for action in Action if allows(Someone(role, must_change=True), action)}
    assert granted == {Action.OWN_SESSION}


def test_every_role_has_a_row_and_every_action_somebody() -> None:
    assert set(PERMISSIONS) == set(Role)
    assert all(any(row.values()) for _, row in matrix())


def test_duties_are_separate() -> None:
    assert Action.DECIDE not in PERMISSIONS[Role.ADMIN]
    assert Action.MANAGE_ACCOUNTS not in PERMISSIONS[Role.OPERATOR]
    changing = {Action.TRIAGE_INCIDENT, Action.DECIDE, Action.PUBLISH_ALERT, Action.MANAGE_ACCOUNTS}
    assert not PERMISSIONS[Role.AUDITOR] & changing
    assert not PERMISSIONS[Role.EUROPEAN] & {Action.SEE_SIGNALS, Action.SEE_INCIDENTS, Action.DECIDE}


def test_matrix_shows_yes_and_no_of_every_role() -> None:
    rows = dict(matrix())
    assert set(rows) == set(Action)
    assert rows[Action.DECIDE] == {role: role is Role.OPERATOR for role in Role}
