"""DEMO_AUTO=1: a signed-in demo operator that approves what is proposed, through the same command as the page."""

from __future__ import annotations

from datetime import timedelta

import structlog
from sqlalchemy import Engine

from commands.demo.accounts import SignIn
from model.errors import Conflict
from smc.bus import Bus
from smc.desk import commands
from smc.store import decisions
from trust import accounts
from trust.sessions import Lifetime, Session

log = structlog.get_logger()
REASON = "approved automatically by the demo (DEMO_AUTO=1): dry run on simulated data"
LIFETIME = Lifetime(idle=timedelta(hours=12), absolute=timedelta(hours=12))


class AutomaticOperator:
    """One operator account at one centre."""

    def __init__(self, engine: Engine, bus: Bus, person: SignIn) -> None:
        self._engine, self._bus = engine, bus
        self._session = _sign_in(engine, person)

    def approve_all(self) -> int:
        """Approve every proposal that is open now; returns how many."""
        with self._engine.connect() as conn:
            waiting = decisions.proposed(conn)
        approved = 0
        for decision in waiting:
            try:
                commands.approve(self._engine, self._bus, self._session, decision.decision_id, REASON)
            except Conflict as error:  # a person at the page was faster
                log.info("demo.approval_overtaken", decision=str(decision.decision_id), reason=str(error))
                continue
            approved += 1
        return approved


def _sign_in(engine: Engine, person: SignIn) -> Session:
    signed_in = accounts.sign_in(engine, person.name, person.password, "local", LIFETIME)
    if signed_in is None:
        raise RuntimeError(f"the demo's own account {person.name} cannot sign in")
    return signed_in.session
