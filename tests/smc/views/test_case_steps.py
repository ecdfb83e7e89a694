"""The steps of a playbook on the page: the person's decision comes first, and a dry run has done none of them."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from model.decision import Decision, DecisionStatus
from model.finding import FindingKind
from model.ids import new_id
from smc.playbooks import for_kind
from smc.views.case import _decision

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
PROPOSED = Decision(
    new_id(), new_id(), str(for_kind(FindingKind.CLOCK_ATTACK)["id"]), "t", "r", DecisionStatus.PROPOSED, NOW
)
APPROVED = replace(PROPOSED, status=DecisionStatus.APPROVED, decided_by="omar", decided=NOW, decision_reason="seen")
STEPS = [("Compare", "first"), ("Flag", "second")]


def shown(decision: Decision) -> list[str]:
    """The state of each step in the order of the page."""
    found: list[str] = []

    def walk(part: Any) -> None:
        name = str(getattr(part, "className", "") or "")
        if match := re.fullmatch(r"step step-(\w+)", name):
            found.append(match.group(1))
        children = getattr(part, "children", None)
        for child in children if isinstance(children, list) else [children]:
            if child is not None and not isinstance(child, str):
                walk(child)

    walk(_decision(decision, STEPS))
    return found


@pytest.mark.parametrize(
    ("decision", "states"),
    [
        (PROPOSED, ["done", "now", "next", "next", "next"]),
        (APPROVED, ["done", "done", "now", "now", "now"]),
        (
            replace(APPROVED, status=DecisionStatus.DONE, outcome="Dry run", outcome_at=NOW),
            ["done", "done", "planned", "planned", "done"],
        ),
        (
            replace(APPROVED, status=DecisionStatus.DONE, outcome="Done", outcome_at=NOW, dry_run=False),
            ["done", "done", "done", "done", "done"],
        ),
    ],
    ids=["proposed", "approved", "dry run", "done"],
)
def test_states_follow_the_decision(decision: Decision, states: list[str]) -> None:
    assert shown(decision) == states
