"""The launcher of Valkey: private, durable, and up again after a power cut's tail of NUL bytes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

import host.valkey
from host.processes import running_in
from host.valkey import Valkey
from model.errors import SetupError

pytestmark = pytest.mark.valkey


def test_the_server_is_private_and_durable(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server:
        assert server.socket.parent.stat().st_mode & 0o777 == 0o700
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            wanted = {"port": "0", "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
            assert client.config_get(*wanted) == wanted
    assert running_in(server.data) == []
    assert not server.socket.exists()


def test_answered_writes_survive_kill_9(tmp_path: Path) -> None:
    server = Valkey(tmp_path)
    server.start()
    with redis.Redis.from_url(server.url) as client:
        for n in range(200):
            client.rpush("line", n)
        os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with server, redis.Redis.from_url(server.url) as client:
        assert [int(n) for n in client.lrange("line", 0, -1)] == list(range(200))


def last_file(server: Valkey) -> Path:
    return max((server.data / "appendonlydir").glob("*.incr.aof"))


def written(folder: Path) -> Valkey:
    with Valkey(folder) as server, redis.Redis.from_url(server.url) as client:
        client.set("a", "1")
    return server


@pytest.mark.parametrize("size", [1, 4096, 65_536, 200_000])
def test_a_tail_of_nul_bytes_is_cut_and_a_copy_kept(tmp_path: Path, size: int) -> None:
    server = written(tmp_path)
    sound = last_file(server).read_bytes()
    last_file(server).write_bytes(sound + bytes(size))
    with server, redis.Redis.from_url(server.url) as client:
        assert client.get("a") == b"1"
    copy = last_file(server).with_name(f"{last_file(server).name}.before-repair")
    assert copy.read_bytes() == sound + bytes(size)


def test_without_the_repair_the_server_would_stay_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = written(tmp_path)
    with last_file(server).open("ab") as file:
        file.write(bytes(4096))
    monkeypatch.setattr(host.valkey, "repair_tail", lambda *_: 0)
    with pytest.raises(SetupError, match="Valkey"):
        server.start()


def test_a_sound_file_and_an_empty_folder_stay_as_they_are(tmp_path: Path) -> None:
    server = written(tmp_path)
    before = last_file(server).read_bytes()
    account = host.valkey.account_for(server.binary, server.data)
    assert host.valkey.repair_tail(server.data / "appendonlydir", account) == 0
    assert host.valkey.repair_tail(tmp_path / "nothing", account) == 0
    assert last_file(server).read_bytes() == before


def test_the_highest_number_is_the_last_file(tmp_path: Path) -> None:
    account = host.valkey.account_for(tmp_path)
    for number in (2, 9, 10):
        (tmp_path / f"appendonly.aof.{number}.incr.aof").write_bytes(b"x\r\n\0")
    assert host.valkey.repair_tail(tmp_path, account) == 1
    assert {f.name for f in tmp_path.glob("*.before-repair")} == {"appendonly.aof.10.incr.aof.before-repair"}


def test_the_folder_has_one_owner(tmp_path: Path) -> None:
    with Valkey(tmp_path), pytest.raises(SetupError, match=f"stop process {os.getpid()}"):
        Valkey(tmp_path).start()


def test_a_killed_starter_takes_its_server_along(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from host.valkey import Valkey\n"
        "Valkey(Path(sys.argv[1])).start(); print('up', flush=True); time.sleep(60)"
    )
    starter = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert starter.stdout is not None
    assert starter.stdout.readline() == "up\n"
    starter.kill()
    starter.communicate()
    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_program_that_is_no_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="expected answering within"):
        Valkey(tmp_path, binary=Path("/bin/false")).start()
