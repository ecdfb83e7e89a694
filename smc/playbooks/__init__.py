"""The playbooks of this house: CACAO v2 documents, one per kind of finding, checked when they are loaded.

The check is our own, of the rules of CACAO v2 that we rely on: ids, one start, every step reachable and defined,
manual commands only. Tests prove the files against the OASIS schemas as well.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model.errors import DecodeError
from model.finding import FindingKind

FOLDER = Path(__file__).resolve().parent
LABEL = "grid-smc-kind:"
MOST_STEPS = 50
_ID = re.compile(
    r"(playbook|start|end|action|group)--[0-9a-f]{8}-[0-9a-f]{4}-[45][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)

Playbook = Mapping[str, Any]


@functools.cache
def library() -> dict[str, Playbook]:
    """All playbooks by id. A file that is no sound playbook is our own fault and raises DecodeError."""
    loaded = [check(json.loads(file.read_text("utf-8"))) for file in sorted(FOLDER.glob("*.json"))]
    return {str(found["id"]): found for found in loaded}


def playbook(playbook_id: str) -> Playbook:
    """The playbook of an id. KeyError if this house has none of that id."""
    return library()[playbook_id]


@functools.cache
def for_kind(kind: FindingKind) -> Playbook:
    """The playbook proposed for a kind of finding; every kind has exactly one."""
    (found,) = (book for book in library().values() if LABEL + kind in book["labels"])
    return found


def steps_of(book: Playbook) -> list[tuple[str, str, str]]:
    """(name, who, what) of each step, from start to end. Raises DecodeError if the steps run in a circle."""
    workflow = book["workflow"]
    steps: list[tuple[str, str, str]] = []
    at, seen = workflow[book["workflow_start"]]["on_completion"], set[str]()
    while workflow[at]["type"] != "end":
        if at in seen or len(seen) >= MOST_STEPS:
            raise DecodeError("workflow", "steps of a playbook", "a circle", f"at most {MOST_STEPS} steps to an end")
        seen.add(at)
        step = workflow[at]
        agent = book["agent_definitions"][step["agent"]]["name"]
        steps.append((step["name"], agent, " ".join(command["command"] for command in step["commands"])))
        at = step["on_completion"]
    return steps


def check(book: Any) -> Playbook:
    """The playbook, if it is one that this house may propose. Raises DecodeError with the rule it breaks."""
    try:
        if (book["type"], book["spec_version"]) != ("playbook", "cacao-2.0"):
            raise DecodeError("type", "type of a playbook", (book["type"], book["spec_version"]), "playbook, cacao-2.0")
        _check_ids([book["id"], *book["workflow"], *book["agent_definitions"]])
        _check_steps(book)
    except (KeyError, TypeError, ValueError) as error:
        raise DecodeError("playbook", "playbook", f"lacks {error}", "a CACAO v2 playbook") from error
    return book  # type: ignore[no-any-return]


def _check_ids(names: list[str]) -> None:
    for name in names:
        if not _ID.fullmatch(name):
            raise DecodeError("id", "id in a playbook", name, "type--UUID")


def _check_steps(book: Playbook) -> None:
    actions = [step for step in book["workflow"].values() if step["type"] == "action"]
    kinds = {command["type"] for step in actions for command in step["commands"]}
    if kinds != {"manual"}:
        raise DecodeError("command", "types of commands", sorted(kinds), "manual only: people act")
    if len(steps_of(book)) != len(actions):
        raise DecodeError("workflow", "steps reached from the start", len(steps_of(book)), f"all {len(actions)}")
