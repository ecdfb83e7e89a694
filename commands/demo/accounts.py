"""Accounts of the demo: random passwords, made at every start, printed once."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Engine

from trust import accounts
from trust.roles import Role

SMC_ROLES = (Role.ANALYST, Role.OPERATOR, Role.ADMIN, Role.AUDITOR)
ESMC_ROLES = (Role.EUROPEAN, Role.ADMIN, Role.AUDITOR)


@dataclass(frozen=True)
class SignIn:
    """A name and its password; the password shows in no repr."""

    name: str
    role: Role
    password: str

    def __repr__(self) -> str:
        return f"SignIn({self.name!r}, {self.role!r})"


def create_accounts(engine: Engine, roles: Sequence[Role]) -> list[SignIn]:
    """One account per role, named after it."""
    made = [SignIn(role.value, role, secrets.token_urlsafe(12)) for role in roles]
    with engine.begin() as conn:
        for person in made:
            accounts.create(conn, person.name, person.password, person.role, "demo-setup", must_change=False)
    return made
