"""The chain finds every edit, deletion and swap; a cut tail and a rebuilt chain are found by a kept head."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from trust.audit import GENESIS, AuditBroken, Head, Record, chain_hash, plain, verify
from trust.store import append_audit, audit_head, audit_records, recent_audit, verify_audit

START = datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)


def chain(length: int, actor: str = "anna") -> list[Record]:
    records: list[Record] = []
    previous = GENESIS
    for number in range(1, length + 1):
        at = START + timedelta(seconds=number)
        fields = (number, at, actor, "approved", f"decision:{number}", {"reason": f"because {number}", "count": number})
        records.append(Record(*fields, previous=previous, hash=chain_hash(fields, previous)))
        previous = records[-1].hash
    return records


def test_a_whole_chain_holds() -> None:
    records = chain(5)
    assert verify(records) == Head(5, records[-1].hash)
    assert verify([]) == Head(0, GENESIS)


EDITS = {
    "at": START,
    "actor": "mallory",
    "action": "refused",
    "object": "decision:9",
    "detail": {"reason": "another", "count": 3},
    "previous": bytes(32),
    "hash": bytes(32),
}


@pytest.mark.parametrize("field", EDITS)
@pytest.mark.parametrize("position", [1, 2, 4])
def test_an_edit_of_any_field_shows(field: str, position: int) -> None:
    records = chain(5)
    records[position] = replace(records[position], **{field: EDITS[field]})
    with pytest.raises(AuditBroken, match=r"record \d"):
        verify(records)


def test_an_edit_that_repairs_its_own_hash_shows_at_the_next_record() -> None:
    records = chain(5)
    old = records[2]
    fields = (old.number, old.at, "mallory", old.action, old.object, old.detail)
    records[2] = replace(old, actor="mallory", hash=chain_hash(fields, old.previous))
    with pytest.raises(AuditBroken, match="record 4 does not follow record 3"):
        verify(records)


@pytest.mark.parametrize("position", range(4))
def test_a_deletion_shows(position: int) -> None:
    records = chain(5)
    del records[position]
    with pytest.raises(AuditBroken, match=f"record {position + 1} is missing"):
        verify(records)


@pytest.mark.parametrize(("a", "b"), [(0, 1), (1, 3), (0, 4)])
def test_a_swap_shows_even_with_the_numbers_swapped_back(a: int, b: int) -> None:
    records = chain(5)
    records[a], records[b] = replace(records[b], number=a + 1), replace(records[a], number=b + 1)
    with pytest.raises(AuditBroken):
        verify(records)


def test_a_cut_tail_and_a_rebuilt_chain_show_only_against_a_kept_head() -> None:
    records = chain(5)
    kept = Head(5, records[-1].hash)
    assert verify(records, kept) == kept
    assert verify(records[:4]).number == 4
    with pytest.raises(AuditBroken, match="cut or rebuilt"):
        verify(records[:4], kept)
    with pytest.raises(AuditBroken, match="cut or rebuilt"):
        verify(chain(6, actor="mallory"), kept)


@pytest.mark.parametrize("value", [1.5, float("nan"), b"bytes", "a\0b", 2**53, object()])
def test_detail_that_would_come_back_changed_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="audit detail"):
        plain({"value": value})


def test_detail_nested_too_deep_is_refused() -> None:
    nested: dict[str, object] = {}
    for _ in range(20):
        nested = {"in": nested}
    with pytest.raises(ValueError, match="deeper"):
        plain(nested)


DETAIL = st.dictionaries(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**53) + 1, 2**53 - 1)
        | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)


@given(DETAIL)
def test_the_hash_depends_on_content_not_on_order(detail: dict[str, object]) -> None:
    turned = dict(reversed(list(detail.items())))
    one = chain_hash((1, START, "a", "b", "c", detail), GENESIS)
    assert one == chain_hash((1, START, "a", "b", "c", turned), GENESIS)
    assert one != chain_hash((1, START, "a", "b", "c", detail | {"more": True}), GENESIS)


def test_the_database_gives_back_what_was_hashed(engine: Engine) -> None:
    odd = {"text": "zwei Wörter ☃ \u202e", "big": 2**53 - 1, "list": [1, None, True, {"b": 1, "a": 2}], "": ""}
    with engine.begin() as conn:
        append_audit(conn, "anna", "exported", "case:1", odd)
        append_audit(conn, "anna", "exported", "case:2")
        head = audit_head(conn)
    with engine.begin() as conn:
        assert verify_audit(conn) == head
        assert recent_audit(conn, 1)[0].object == "case:2"


def test_a_refused_transaction_leaves_no_record(engine: Engine) -> None:
    with pytest.raises(DBAPIError), engine.begin() as conn:  # noqa: PT012  the deed and its record in one transaction
        append_audit(conn, "anna", "approved", "decision:1")
        conn.execute(text("INSERT INTO no_such_table VALUES (1)"))
    with engine.begin() as conn:
        assert audit_head(conn).number == 0


def test_the_database_refuses_to_change_the_chain(engine: Engine) -> None:
    with engine.begin() as conn:
        append_audit(conn, "anna", "approved", "decision:1")
    for statement in ("UPDATE audit SET actor = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with pytest.raises(DBAPIError, match="append-only"), engine.begin() as conn:
            conn.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'mallory' WHERE number = 7",
        "UPDATE audit SET at = at + interval '1 microsecond' WHERE number = 7",
        """UPDATE audit SET detail = '{"i": 8}' WHERE number = 7""",
        "DELETE FROM audit WHERE number = 7",
        "UPDATE audit SET number = CASE number WHEN 6 THEN 1007 ELSE 1006 END WHERE number IN (6, 7);"
        "UPDATE audit SET number = number - 1000 WHERE number > 1000",
    ],
)
def test_who_switches_the_triggers_off_is_found(engine: Engine, statement: str) -> None:
    with engine.begin() as conn:
        for i in range(10):
            append_audit(conn, "anna", "approved", f"decision:{i}", {"i": i})
        conn.execute(text("ALTER TABLE audit DISABLE TRIGGER USER"))
        for part in statement.split(";"):
            conn.execute(text(part))
    with engine.begin() as conn, pytest.raises(AuditBroken):
        verify_audit(conn)


def test_eight_writers_make_one_chain(engine: Engine) -> None:
    def write(name: str) -> None:
        for i in range(10):
            with engine.begin() as conn:
                append_audit(conn, name, "approved", f"decision:{i}")

    writers = [threading.Thread(target=write, args=(f"writer-{n}",)) for n in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(timeout=30)
    with engine.begin() as conn:
        assert verify_audit(conn).number == 80
        assert [record.number for record in audit_records(conn, after=75)] == [76, 77, 78, 79, 80]
