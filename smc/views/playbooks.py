"""Playbooks as the desk prints them: the steps of a CACAO v2 workflow, in the order in which they are taken."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "playbooks"
MOST_STEPS = 50


@functools.cache
def _library() -> dict[str, dict[str, Any]]:
    found = (json.loads(file.read_text("utf-8")) for file in sorted(FOLDER.glob("*.json")))
    return {str(playbook["id"]): playbook for playbook in found}


def steps(playbook_id: str) -> list[tuple[str, str]]:
    """(name, what is done) of each step of a playbook of this house; none for one that is not in the library."""
    return steps_of(_library().get(playbook_id, {}))


def steps_of(playbook: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Steps from the start to the end. Branches follow their success path; a loop ends where it closes."""
    workflow: Mapping[str, Any] = playbook.get("workflow", {})
    at = str(playbook.get("workflow_start", ""))
    seen: list[tuple[str, str]] = []
    visited: set[str] = set()
    while at in workflow and at not in visited and len(visited) < MOST_STEPS:
        visited.add(at)
        step = workflow[at]
        if step.get("type") not in {"start", "end"}:
            seen.append((str(step.get("name", step.get("type", ""))), _text(step)))
        at = str(step.get("on_completion") or step.get("on_success") or step.get("on_true") or "")
    return seen


def _text(step: Mapping[str, Any]) -> str:
    commands = [str(c.get("command", "")) for c in step.get("commands", ())]
    return str(step.get("description") or " ".join(filter(None, commands)))
