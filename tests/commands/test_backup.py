"""The restore drill: a backup taken while readings come in, loaded into a new cluster in an empty folder."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import text

from host.postgres import ADMINISTRATOR, Postgres
from scripts import timescale
from tests.commands.running import app
from tests.servers.databases import private_folder
from tests.smc.store.blocks import transaction
from tests.smc.store.steady import Load, load, lost_doubled_wrong
from trust.store import append_audit


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_was_acknowledged_before_a_backup_is_in_it(
    database: str, database_server: Postgres, edition: str, tmp_path: Path
) -> None:
    with transaction(database) as conn:
        append_audit(conn, "tests", "tested", "backup", {})
    file = tmp_path / "centre.tar"
    programs = {"PG_BIN": str(database_server.binaries)}
    with load(database, tmp_path) as going:
        going.more(20)
        before = going.acknowledged
        done = app("backup", str(file), variables={"DATABASE_URL": database, **programs})
        after = going.acknowledged
    assert done.returncode == 0, done.stderr
    assert after > before, "nobody had to wait for the backup"
    options = timescale.OPTIONS if edition == "timescale" else {}
    with private_folder() as empty, Postgres(Path(empty), binaries=database_server.binaries, options=options) as server:
        into = server.create_database("restored")
        role = into
        if edition == "timescale":
            refused = app("restore", str(file), "--into", into, variables=programs)
            assert (refused.returncode, "a superuser" in refused.stderr) == (2, True), refused.stderr
            role = server.url("restored", ADMINISTRATOR)
        restored = app("restore", str(file), "--into", role, variables=programs)
        assert restored.returncode == 0, restored.stderr
        assert lost_doubled_wrong(into, before) == (0, 0, 0)
        goes_on(into, tmp_path)
    for line in (done.stdout, restored.stdout):
        assert re.search(r"rows=\d+ .*seconds=\d+\.\d", line), line
    print(done.stdout, restored.stdout, sep="")


def goes_on(url: str, data: Path) -> None:
    """The restored centre takes up its work: readings behind those it has."""
    with transaction(url) as conn:
        last = int(conn.execute(text("SELECT max(power_w) FROM meter_readings")).scalar_one())
    restored = Load(url, data)
    restored.acknowledged = last + 1
    restored.start()
    try:
        restored.more(3)
    finally:
        restored.stop()
    assert lost_doubled_wrong(url, restored.acknowledged) == (0, 0, 0)
