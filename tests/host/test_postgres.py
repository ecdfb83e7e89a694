"""The launcher of PostgreSQL: private, durable, one owner, and clear about what is wrong."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from host.account import account_for
from host.postgres import ADMINISTRATOR, Postgres, embedded_binaries
from host.processes import running_in
from model.errors import SetupError

pytestmark = pytest.mark.embedded


@pytest.fixture(scope="module")
def empty_cluster() -> Iterator[Path]:
    """A stopped, new cluster to copy: initdb is most of a first start."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-test-") as folder:
        with Postgres(Path(folder), durable=False):
            pass
        yield Path(folder) / "data"


@pytest.fixture(params=["open", "closed"])
def folder(request: pytest.FixtureRequest, empty_cluster: Path, tmp_path: Path) -> Iterator[Path]:
    """Folder with a new cluster: reachable for everybody, or below a parent that only this user may pass."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-test-", ignore_cleanup_errors=True) as parent:
        Path(parent).chmod(0o755 if request.param == "open" else 0o700)
        place = Path(parent) / "pg"
        place.mkdir()
        shutil.copytree(empty_cluster, place / "data")
        yield place


def rows(server: Postgres) -> list[int]:
    with psycopg.connect(server.url("line")) as connection:
        return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


def test_the_server_is_private(folder: Path) -> None:
    with Postgres(folder) as server:
        assert server.socket.parent.stat().st_mode & 0o777 == 0o700
        assert server.socket.is_socket()
        with psycopg.connect(server.create_database("line")) as connection:
            asked = "SELECT current_user, usesuper, inet_server_addr() FROM pg_user WHERE usename = current_user"
            assert connection.execute(asked).fetchone() == ("grid", False, None)
            settings = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert settings["listen_addresses"] == ""
        assert settings["unix_socket_permissions"] == "0700"
        assert settings["fsync"] == settings["full_page_writes"] == "on"
        assert settings["jit"] == "off"
        assert settings["data_checksums"] == "on"
        assert settings["data_directory_mode"] == "0700"
        with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
            psycopg.connect(server.url("line", "pg_monitor"))
    assert running_in(server.data) == []
    assert not server.socket.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can connect as somebody else")
def test_the_servers_own_user_may_not_connect(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="grid-smc-test-") as place:
        Path(place).chmod(0o711)
        server = Postgres(Path(place), durable=False)
        if account_for(server.binaries / "postgres", server.data).user is None:
            pytest.skip("the checkout is closed to others, so the server runs as this user")
        with server:
            line = [server.binaries / "psql", server.url("postgres", ADMINISTRATOR), "-c", "SELECT 1"]
            asked = subprocess.run(line, user=65534, cwd="/", capture_output=True, text=True, timeout=20)
    assert asked.returncode != 0
    assert "Peer authentication failed" in asked.stderr


def test_committed_rows_survive_kill_9(folder: Path) -> None:
    server = Postgres(folder)
    server.start()
    with psycopg.connect(server.create_database("line"), autocommit=True) as connection:
        connection.execute("CREATE TABLE t (n int)")
        for n in range(50):
            connection.execute("INSERT INTO t VALUES (%s)", [n])
        os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with server:
        assert rows(server) == list(range(50))


def test_a_killed_starter_takes_its_server_along_and_the_next_one_starts(folder: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from host.postgres import Postgres\n"
        "Postgres(Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    assert running_in(folder / "data")
    starter.kill()
    starter.communicate()
    with Postgres(folder) as server:  # at once, while the old one may still be ending
        server.create_database("line")
    assert running_in(folder / "data") == []


def test_the_folder_has_one_owner(folder: Path) -> None:
    with Postgres(folder) as server, pytest.raises(SetupError, match=f"stop process {os.getpid()}"):
        Postgres(folder).start()
    assert not server.answers()
    with Postgres(folder):
        assert server.answers()


def test_others_find_the_server_by_its_folder(folder: Path) -> None:
    with Postgres(folder) as server:
        url = server.create_database("line")
        assert Postgres(folder).url("line") == url
        psycopg.connect(Postgres(folder).url("line")).close()


def test_a_folder_of_another_version_is_refused_with_the_way_out(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("15\n")
    with pytest.raises(SetupError, match=r"expected 18: dump it with PostgreSQL 15 .* pg_upgrade"):
        Postgres(folder).start()
    assert running_in(folder / "data") == []


def test_a_folder_that_is_no_cluster_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "letter.txt").write_text("keep me")
    with pytest.raises(SetupError, match="expected a PostgreSQL cluster"):
        Postgres(tmp_path).start()
    assert (tmp_path / "data" / "letter.txt").read_text() == "keep me"


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "data.part").mkdir()
    (tmp_path / "data.part" / "PG_VERSION").write_text("18\n")
    with Postgres(tmp_path, durable=False) as server:
        assert server.answers()
    assert not (tmp_path / "data.part").exists()


def test_a_process_number_that_somebody_else_got_does_not_block_the_start(folder: Path) -> None:
    account = account_for(embedded_binaries() / "postgres", folder / "data")
    bystander = subprocess.Popen(account.command(["sleep", "60"], at_end="KILL"))
    time.sleep(0.2)  # until it is the account's process
    (folder / "data" / "postmaster.pid").write_text(f"{bystander.pid}\n{folder / 'data'}\n1\n5432\n/nowhere\n\n1 1\n")
    try:
        with Postgres(folder) as server:
            assert server.answers()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_server_of_somebody_else_on_the_folder_is_named(folder: Path) -> None:
    with Postgres(folder) as server:
        (folder / "lock").unlink()  # as if it had been started without this launcher
        other = Postgres(folder)
        with pytest.raises(SetupError, match=f"running as process {server.pid}"):
            other._await_orphans(wait_s=0.2)
        assert (folder / "data" / "postmaster.pid").exists()


def test_what_the_server_says_when_it_does_not_start_is_shown(folder: Path) -> None:
    with pytest.raises(SetupError, match=r'unrecognized configuration parameter "no_such"'):
        Postgres(folder, options={"no_such": "1"}).start()
    with Postgres(folder) as server:  # the lock was given back
        assert server.answers()


def test_a_socket_path_too_long_for_the_system_moves_to_the_temporary_folder(
    empty_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("long" * 30)
    shutil.copytree(empty_cluster, deep / "data")
    with Postgres(deep) as server:
        assert len(os.fsencode(server.socket)) <= 107
        assert server.socket.parent.stat().st_mode & 0o777 == 0o700
        psycopg.connect(server.create_database("line")).close()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(SetupError, match="at most 107 bytes: set TMPDIR"):
        Postgres(deep)


def test_a_link_instead_of_the_socket_folder_is_refused(
    empty_cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(empty_cluster, tmp_path / "data")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SetupError, match="no file and no link"):
        Postgres(tmp_path).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only for root the account depends on the place")
def test_a_folder_moved_below_a_closed_parent_still_starts(empty_cluster: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="grid-smc-test-") as parent:
        Path(parent).chmod(0o755)
        shutil.copytree(empty_cluster, Path(parent) / "pg" / "data")
        for mode in (0o755, 0o700, 0o755):
            Path(parent).chmod(mode)
            with Postgres(Path(parent) / "pg") as server:
                psycopg.connect(server.create_database("line")).close()


def test_timescale_starts_from_the_same_launcher(postgres_timescale: Postgres) -> None:
    with psycopg.connect(postgres_timescale.url("postgres", ADMINISTRATOR)) as connection:
        loaded = connection.execute("SHOW shared_preload_libraries").fetchone()
        version = connection.execute("SHOW server_version_num").fetchone()
    assert loaded == ("timescaledb",)
    assert version is not None
    assert int(version[0]) >= 170_000
