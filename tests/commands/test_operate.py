"""Backup and restore, accounts, audit, export, evidence, doctor: on a real database, through the commands."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import text

from host.database import engine
from host.postgres import Postgres
from smc.context import StageContext
from tests.browser import world
from tests.browser.conftest import centre  # noqa: F401 - the fixture
from tests.commands.running import app
from trust.signing import create_key


def url_of(context: StageContext) -> dict[str, str]:
    return {"DATABASE_URL": context.settings.database_url}


@pytest.fixture
def case(centre: StageContext) -> StageContext:  # noqa: F811 - the fixture
    """A centre with one incident, its readings and its proposal."""
    fleet, began = world.found_grid(centre)
    world.raise_finding(centre, world.tampered(fleet, began))
    return centre


def test_a_backup_restores_with_its_audit_chain(
    case: StageContext, postgres_embedded: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "centre.tar"
    done = app("backup", str(file), variables=url_of(case))
    assert done.returncode == 0, done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    into = postgres_embedded.create_database("restored")
    try:
        done = app("restore", str(file), "--into", into)
        assert done.returncode == 0, done.stderr
        assert "records intact" in done.stdout
        assert counted(into) == counted(case.settings.database_url)
        again = app("restore", str(file), "--into", into)
        assert (again.returncode, "an empty database" in again.stderr) == (2, True)
    finally:
        postgres_embedded.drop_database("restored")


def test_a_damaged_backup_is_refused_before_anything_is_loaded(
    case: StageContext, postgres_embedded: Postgres, tmp_path: Path
) -> None:
    file = tmp_path / "centre.tar"
    assert app("backup", str(file), variables=url_of(case)).returncode == 0
    with tarfile.open(file) as archive:
        offset = archive.getmember("database.dump").offset_data
    data = bytearray(file.read_bytes())
    data[offset + 5_000] ^= 1
    file.write_bytes(data)
    into = postgres_embedded.create_database("refused")
    try:
        done = app("restore", str(file), "--into", into)
        assert (done.returncode, "SHA-256" in done.stderr) == (2, True), done.stderr
        made = engine(into, "test", pool_size=1)
        with made.connect() as conn:
            assert conn.execute(text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")).scalar_one() == 0
        made.dispose()
    finally:
        postgres_embedded.drop_database("refused")


def test_accounts_are_made_listed_and_disabled_and_the_audit_verifies(case: StageContext) -> None:
    variables = url_of(case)
    added = app("user", "add", "nora", "--role", "analyst", variables=variables, given="a long enough password\n")
    assert added.returncode == 0, added.stderr
    short = app("user", "add", "nils", "--role", "analyst", variables=variables, given="short\n")
    assert (short.returncode, "12 to" in short.stderr) == (2, True)
    unknown = app("user", "add", "nils", "--role", "king", variables=variables, given="a long enough password\n")
    assert (unknown.returncode, "king" in unknown.stderr) == (2, True)
    assert app("user", "disable", "nora", variables=variables).returncode == 0
    listed = app("user", "list", variables=variables).stdout
    assert "nora\tanalyst\tdisabled" in listed
    assert "chain intact" in app("audit", "verify", variables=variables).stdout
    shown = [json.loads(line) for line in app("audit", "show", variables=variables).stdout.splitlines()]
    assert [entry["action"] for entry in shown][-2:] == ["account-created", "account-disabled"]


def test_a_changed_audit_record_is_found(case: StageContext) -> None:
    with case.engine.begin() as conn:
        conn.execute(text("ALTER TABLE audit DISABLE TRIGGER ALL"))
        conn.execute(text("UPDATE audit SET actor = 'somebody else' WHERE number = 1"))
    done = app("audit", "verify", variables=url_of(case))
    assert done.returncode == 1
    assert "1" in done.stderr
    assert app("doctor", variables=url_of(case)).returncode == 1


@pytest.mark.parametrize("form", ["markdown", pytest.param("json", marks=pytest.mark.slow)])
def test_a_case_is_exported(case: StageContext, form: str) -> None:
    done = app("export", "1", "--form", form, variables=url_of(case))
    assert done.returncode == 0, done.stderr
    assert "DSO-0001/case-000001" in done.stdout if form == "markdown" else json.loads(done.stdout)
    assert app("export", "99", variables=url_of(case)).returncode == 2


def test_evidence_is_frozen_and_any_change_is_found(case: StageContext, tmp_path: Path) -> None:
    file = tmp_path / "case.zip"
    done = app("evidence", "1", "--out", str(file), variables=url_of(case))
    assert done.returncode == 0, done.stderr
    assert app("evidence", str(file), "--verify").returncode == 0
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        rows = next(name for name in names if name.startswith("rows/"))
        contents = {name: archive.read(name) for name in names}
    assert contents[rows].count(b"\n") > 2
    assert b"simulated" in contents[rows]
    contents[rows] = contents[rows].replace(b"simulated", b"measured", 1)
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    done = app("evidence", str(file), "--verify")
    assert (done.returncode, f"SHA-256 of {rows}" in done.stderr) == (2, True)


def test_doctor_names_what_is_wrong_and_how_to_mend_it(case: StageContext) -> None:
    done = app("doctor", variables={**url_of(case), "REDIS_URL": case.settings.redis_url})
    assert done.returncode == 1  # no settings, no running stages
    assert "FAIL  settings: setting is SMC_SITE" in done.stdout
    assert "ok    schema" in done.stdout
    assert "ok    audit" in done.stdout
    assert "ok    bus eviction: noeviction" in done.stdout


def counted(url: str) -> dict[str, int]:
    made = engine(url, "test", pool_size=1)
    with made.connect() as conn:
        tables = ("devices", "findings", "incidents", "meter_readings", "audit", "decisions")
        found = {name: int(conn.execute(text(f"SELECT count(*) FROM {name}")).scalar_one()) for name in tables}
    made.dispose()
    return found


@pytest.mark.slow
def test_devices_are_enrolled_from_a_file_and_wrong_ones_are_named(case: StageContext, tmp_path: Path) -> None:
    variables = {
        **url_of(case), "REDIS_URL": case.settings.redis_url,
        "SMC_SITE": "DSO-0001", "SMC_COUNTRY": "DE", "SMC_AREA": "DE-BY",
    }  # fmt: skip
    device = {
        "index": 0, "name": "urn:dev:mac:0024befffe804ff1", "kind": "meter", "protocol": "senml-mqtt",
        "site": "DSO-0001", "provenance": "measured", "feeder": "F7",
    }  # fmt: skip
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps([device]))
    assert "1 devices" in app("smc", "enrol", str(file), variables=variables).stdout
    file.write_text(json.dumps([device | {"site": "DSO-0002"}]))
    done = app("smc", "enrol", str(file), variables=variables)
    assert (done.returncode, "device 0" in done.stderr) == (2, True)
    file.write_text(json.dumps([device | {"kind": "toaster"}]))
    done = app("smc", "enrol", str(file), variables=variables)
    assert (done.returncode, "toaster" in done.stderr) == (2, True)


def test_keys_are_made_once_and_only_for_their_owner(case: StageContext, tmp_path: Path) -> None:
    variables = {
        **url_of(case), "REDIS_URL": case.settings.redis_url,
        "SMC_SITE": "DSO-0001", "SMC_COUNTRY": "DE", "SMC_AREA": "DE-BY",
        "SMC_SIGNING_KEY_FILE": str(tmp_path / "sign.pem"), "SMC_PSEUDONYM_KEY_FILE": str(tmp_path / "hide.key"),
    }  # fmt: skip
    assert app("smc", "keys", variables=variables).returncode == 0
    before = (tmp_path / "sign.pem").read_bytes()
    assert (tmp_path / "sign.pem").stat().st_mode & 0o777 == 0o600
    assert "BEGIN PUBLIC KEY" in (tmp_path / "sign.pub").read_text()
    assert app("smc", "keys", variables=variables).returncode == 0
    assert (tmp_path / "sign.pem").read_bytes() == before


def test_a_member_is_enrolled_with_its_key(esmc_embedded: str, tmp_path: Path) -> None:
    key = tmp_path / "member.pub"
    key.write_text(create_key(tmp_path / "member.pem"))
    words = ("esmc", "member", "--code", "DSO-0009", "--name", "Nine", "--country", "FR", "--area", "FR-BRE")
    done = app(*words, "--key", str(key), variables={"DATABASE_URL": esmc_embedded})
    assert "urn:smc:dso:DSO-0009" in done.stdout, done.stderr
    done = app(*words, "--key", str(tmp_path / "none"), variables={"DATABASE_URL": esmc_embedded})
    assert (done.returncode, "public key" in done.stderr) == (2, True)
