"""Who may do what: one table of role and action, deny by default.

An action is a right, not a page: every route, every callback and every command names one. What is not in the table
is refused, and so is a session whose password must be changed first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from model.errors import NotPermitted


class Role(StrEnum):
    """What a person is here to do. One person has one role."""

    ANALYST = "analyst"  # reads evidence, works on incidents
    OPERATOR = "operator"  # runs the grid: also decides on countermeasures
    ADMIN = "admin"  # keeps accounts and the installation, decides nothing about the grid
    AUDITOR = "auditor"  # reads everything including the audit chain, changes nothing
    EUROPEAN = "european"  # duty officer of the pan-European centre


class Action(StrEnum):
    """Rights. The value is what the audit chain shows."""

    OWN_SESSION = "own-session"  # sign out, change the own password, fetch the frame itself
    SEE_OVERVIEW = "see-overview"
    SEE_INCIDENTS = "see-incidents"
    SEE_SIGNALS = "see-signals"  # readings, phasors, raw bytes
    SEE_INTAKE = "see-intake"  # links, quarantine, health of the stages
    SEE_DECISIONS = "see-decisions"
    SEE_SHARING = "see-sharing"  # outbox, advice
    SEE_AUDIT = "see-audit"
    SEE_EUROPE = "see-europe"  # map, campaigns, members
    TRIAGE_INCIDENT = "triage-incident"  # assign, change the status, add a note
    DECIDE = "decide"  # approve or refuse a countermeasure
    ACKNOWLEDGE_ADVICE = "acknowledge-advice"
    PUBLISH_ALERT = "publish-alert"  # European early alerts, campaign verdicts
    EXPORT = "export"
    MANAGE_ACCOUNTS = "manage-accounts"


class Signed(Protocol):
    """Whoever asks: a session (see trust.sessions.Session)."""

    @property
    def role(self) -> Role: ...

    @property
    def must_change(self) -> bool: ...


_SEE_CENTRE = frozenset(
    {
        Action.SEE_OVERVIEW,
        Action.SEE_INCIDENTS,
        Action.SEE_SIGNALS,
        Action.SEE_INTAKE,
        Action.SEE_DECISIONS,
        Action.SEE_SHARING,
    }
)

PERMISSIONS: dict[Role, frozenset[Action]] = {
    Role.ANALYST: frozenset(
        {Action.OWN_SESSION, *_SEE_CENTRE, Action.TRIAGE_INCIDENT, Action.ACKNOWLEDGE_ADVICE, Action.EXPORT}
    ),
    Role.OPERATOR: frozenset(
        {
            Action.OWN_SESSION,
            *_SEE_CENTRE,
            Action.TRIAGE_INCIDENT,
            Action.DECIDE,
            Action.ACKNOWLEDGE_ADVICE,
            Action.EXPORT,
        }
    ),
    Role.ADMIN: frozenset({Action.OWN_SESSION, Action.SEE_OVERVIEW, Action.SEE_INTAKE, Action.MANAGE_ACCOUNTS}),
    Role.AUDITOR: frozenset({Action.OWN_SESSION, *_SEE_CENTRE, Action.SEE_AUDIT, Action.SEE_EUROPE, Action.EXPORT}),
    Role.EUROPEAN: frozenset(
        {
            Action.OWN_SESSION,
            Action.SEE_OVERVIEW,
            Action.SEE_INTAKE,
            Action.SEE_SHARING,
            Action.SEE_EUROPE,
            Action.PUBLISH_ALERT,
            Action.EXPORT,
        }
    ),
}


def allows(session: Signed | None, action: Action) -> bool:
    """Whether the table grants the action. Nobody signed in: nothing. Password to be changed: the own session only."""
    if session is None:
        return False
    if session.must_change and action is not Action.OWN_SESSION:
        return False
    return action in PERMISSIONS.get(session.role, frozenset())


def require(session: Signed | None, action: Action) -> None:
    """Raise NotPermitted unless `allows`; the text names the missing right and nothing else."""
    if not allows(session, action):
        raise NotPermitted(f"the right {action.value!r} is missing")


def matrix() -> list[tuple[Action, dict[Role, bool]]]:
    """Every action with yes or no per role: the table of the documentation and of the tests."""
    return [(action, {role: action in PERMISSIONS[role] for role in Role}) for action in Action]
