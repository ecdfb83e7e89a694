"""Legal holds at the command line, and what doctor says about retention."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from app import parser
from commands import holds
from commands.doctor import doctor
from model.block import Block
from model.errors import OperatorError
from model.time import to_ns
from smc.store import devices, kept
from smc.store.holds import all_holds
from smc.store.ingest import store_block
from tests.commands.running import app
from tests.smc.store.blocks import START_NS, meter_block, transaction
from tests.smc.store.test_small_stores import METER
from trust.store import audit_records

CENTRE = {"SMC_SITE": "DSO-0001", "SMC_COUNTRY": "DE", "SMC_AREA": "DE-BY", "REDIS_URL": "unix:///nowhere.sock"}


def days_ago(block: Block, days: int) -> Block:
    shift = to_ns(datetime.now(UTC) - timedelta(days=days)) - START_NS
    return replace(block, time_ns=block.time_ns + shift, received_ns=block.received_ns + shift)


def hold(url: str, *words: str) -> None:
    holds.hold(parser().parse_args(["hold", *words]), {"DATABASE_URL": url})


def test_a_hold_is_opened_listed_and_released_with_its_reasons_in_the_audit(
    smc_embedded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with transaction(smc_embedded) as conn:
        devices.enrol(conn, [METER])
    words = ("add", "--from", "2026-10-01", "--to", "2026-10-08T12:00+02:00", "--reason", "case 7")
    added = app(
        *("hold", *words, "--data", "readings, conflicts", "--devices", METER.name),
        variables={"DATABASE_URL": smc_embedded},
    )
    assert (added.returncode, added.stdout) == (0, "hold: 1 is in force\n"), added.stderr
    hold(smc_embedded, *words)
    capsys.readouterr()
    hold(smc_embedded, "list")
    first, second = capsys.readouterr().out.splitlines()
    assert first.split("\t") == [
        "1",
        "in force",
        "2026-10-01T00:00:00.000Z to 2026-10-08T10:00:00.000Z",
        "conflicts,readings",
        "1 devices",
        "local-console",
        "case 7",
    ]
    assert second.split("\t")[3:5] == ["all data", "all devices"]
    hold(smc_embedded, "release", "1", "--reason", "settled")
    hold(smc_embedded, "list")
    assert "1\treleased 20" in capsys.readouterr().out
    with transaction(smc_embedded) as conn:
        shown = list(audit_records(conn))
    told = [(entry.action, entry.object) for entry in shown]
    assert told == [("hold-opened", "hold:1"), ("hold-opened", "hold:2"), ("hold-released", "hold:1")]
    assert shown[-1].detail == {"reason": "settled"}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("add", "--from", "2026-10-01", "--to", "2026-10-01", "--reason", "x"), "--to"),
        (("add", "--from", "yesterday", "--to", "2026-10-01", "--reason", "x"), "yesterday"),
        (("add", "--from", "2026-10-01", "--to", "2026-10-02"), "--reason"),
        (("add", "--from", "2026-10-01", "--to", "2026-10-02", "--reason", "x", "--data", "mail"), "mail"),
        (("add", "--from", "2026-10-01", "--to", "2026-10-02", "--reason", "x", "--devices", "nobody"), "nobody"),
        (("release", "7", "--reason", "x"), "7"),
    ],
)
def test_a_hold_that_says_too_little_is_one_clear_line(smc_embedded: str, words: tuple[str, ...], named: str) -> None:
    with pytest.raises(OperatorError, match=named):
        hold(smc_embedded, *words)
    with transaction(smc_embedded) as conn:
        assert all_holds(conn) == []
        assert list(audit_records(conn)) == []


def test_doctor_shows_what_is_oldest_who_holds_it_and_what_lies_outside(
    smc_embedded: str, capsys: pytest.CaptureFixture[str]
) -> None:
    variables = {**CENTRE, "DATABASE_URL": smc_embedded}
    with transaction(smc_embedded) as conn:
        store_block(conn, days_ago(meter_block(1, 70, step_s=86_400), 100))
    assert doctor("smc", variables) == 1
    before = capsys.readouterr().out
    assert "FAIL  retention: no round yet" in before
    assert "FAIL  rows outside any day: 6 in meter_readings" in before
    with transaction(smc_embedded) as conn:
        kept.say_ended(conn, "retention", datetime.now(UTC))
    hold(smc_embedded, "add", "--from", "2008-01-01", "--to", "2009-01-01", "--reason", "x")
    assert doctor("smc", variables) == 1
    after = capsys.readouterr().out
    oldest = (datetime.now(UTC) - timedelta(days=94)).date()
    assert f"ok    oldest meter_readings: {oldest}, kept until {oldest + timedelta(days=91)}" in after
    assert "ok    legal holds: 1 in force: 1" in after
    assert "ok    retention: last round" in after
