"""Every kind has one sound CACAO v2 playbook, proved against the OASIS schemas; unsound ones are refused."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import referencing

from model.errors import DecodeError
from model.finding import FindingKind
from smc.decide import REASONS
from smc.playbooks import check, for_kind, library, playbook, steps_of

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(os.environ.get("SMC_TEST_DATA", ROOT.parent / "shared" / "data"))
SCHEMAS = DATA / "cacao" / "schemas"


@pytest.mark.parametrize("kind", list(FindingKind))
def test_every_kind_has_a_playbook_with_steps_and_a_reason(kind: FindingKind) -> None:
    book = for_kind(kind)
    assert playbook(book["id"]) is book
    assert all(name and agent and text for name, agent, text in steps_of(book))
    assert REASONS[kind]


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"no CACAO schemas at {SCHEMAS}")
@pytest.mark.parametrize("book", library().values(), ids=lambda book: book["name"])
def test_playbooks_hold_against_the_oasis_schemas(book: dict[str, Any]) -> None:
    registry, root = schemas()
    jsonschema.Draft202012Validator(root, registry=registry).validate(book)


@pytest.mark.skipif(not SCHEMAS.is_dir(), reason=f"no CACAO schemas at {SCHEMAS}")
def test_the_schemas_do_refuse() -> None:
    registry, root = schemas()
    broken = {**for_kind(FindingKind.DATA_QUALITY), "spec_version": "cacao-1.0"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(root, registry=registry).validate(broken)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda book: book.update(spec_version="cacao-1.1"), "type"),
        (lambda book: book.update(id="playbook--1"), "id"),
        (lambda book: book.pop("workflow"), "playbook"),
        (lambda book: first_action(book)["commands"][0].update(type="bash"), "command"),
        (lambda book: first_action(book).update(on_completion=book["workflow_exception"]), "workflow"),
        (lambda book: first_action(book).update(on_completion="action--nowhere"), "playbook"),
        (lambda book: last_action(book).update(on_completion=first_id(book)), "workflow"),
    ],
    ids=["version", "id", "no workflow", "machine command", "unreached step", "dangling", "circle"],
)
def test_unsound_playbooks_are_refused(change: Any, reason: str) -> None:
    book = copy.deepcopy(dict(for_kind(FindingKind.CLOCK_ATTACK)))
    change(book)
    with pytest.raises(DecodeError) as caught:
        check(book)
    assert caught.value.reason == reason


def first_id(book: dict[str, Any]) -> str:
    return str(book["workflow"][book["workflow_start"]]["on_completion"])


def first_action(book: dict[str, Any]) -> dict[str, Any]:
    return dict.__getitem__(book["workflow"], first_id(book))


def last_action(book: dict[str, Any]) -> dict[str, Any]:
    return next(s for s in book["workflow"].values() if s.get("on_completion") == book["workflow_exception"])


def schemas() -> tuple[referencing.Registry[Any], Any]:
    """The published schemas with each address rewritten to its path, so that nothing is fetched."""
    loaded = {path: json.loads(path.read_text()) for path in SCHEMAS.rglob("*.json")}
    registry: referencing.Registry[Any] = referencing.Registry()
    for path, schema in loaded.items():
        schema["$id"] = path.as_uri()
        registry = registry.with_resource(path.as_uri(), referencing.Resource.from_contents(schema))
    return registry, loaded[SCHEMAS / "playbook.json"]
