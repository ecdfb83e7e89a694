"""The one door to the grid, and it is closed: an approved playbook is written out step by step as what *would* be done.

No other file may touch the grid. There is no setting that makes this file switch, disconnect or reconfigure anything.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from uuid import UUID

from model.decision import Decision, DecisionStatus
from model.errors import Conflict
from model.time import to_datetime
from smc.bus import Delivery
from smc.context import StageContext
from smc.playbooks import playbook, steps_of
from smc.stage import consume, message_id
from smc.store import decisions
from trust.store import append_audit

STAGE, TOPIC = "act", "decisions"
LOOK_S = 5.0


def run(context: StageContext, stop: threading.Event) -> None:
    """Carry out what is approved. Messages only shorten the wait: the store is asked every few seconds as well.

    An approval whose message never came (a crash or a bus that was away after the commit) is thereby found.
    """
    next_look_s = context.clock.monotonic_s()

    def handle(delivery: Delivery) -> Mapping[str, int]:
        return {"dry_runs": int(carry_out(context, message_id(delivery.body, "decision_id")))}

    def look() -> Mapping[str, int]:
        nonlocal next_look_s
        if context.clock.monotonic_s() < next_look_s:
            return {}
        next_look_s = context.clock.monotonic_s() + LOOK_S
        with context.engine.connect() as conn:
            left_over = decisions.approved(conn)
        return {"dry_runs": sum(carry_out(context, decision.decision_id) for decision in left_over)}

    consume(context, stop, TOPIC, STAGE, handle, between=look)


def carry_out(context: StageContext, which: UUID) -> bool:
    """Dry-run one decision that a person approved; False if there is nothing (left) to do. Audited with the outcome."""
    now = to_datetime(context.clock.now_ns())
    with context.engine.begin() as conn:
        decision = decisions.get(conn, which)
        if decision is None or decision.status is not DecisionStatus.APPROVED:
            return False
        try:
            decisions.record_outcome(conn, which, DecisionStatus.DONE, dry_run(decision), now)
        except Conflict as error:  # another process carried it out between our look and our lock
            context.log.info("act.overtaken", decision=str(which), reason=str(error))
            return False
        detail = {"playbook": decision.playbook_id, "approved_by": decision.decided_by, "dry_run": True}
        append_audit(conn, "act", "decision-dry-run", f"decision:{which}", detail)
    return True


def dry_run(decision: Decision) -> str:
    """What would be done, one line per step. Refuses what no person approved."""
    if decision.status is not DecisionStatus.APPROVED or not decision.decided_by:
        raise Conflict(f"decision is {decision.status}, expected approved by a person")
    lines = [f"Dry run: nothing was switched or sent. Approved by {decision.decided_by}."]
    steps = steps_of(playbook(decision.playbook_id))
    lines += [
        f"{number}. {name}: would be handed to {agent}: {text}" for number, (name, agent, text) in enumerate(steps, 1)
    ]
    return "\n".join(lines)
