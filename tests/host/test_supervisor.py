"""The supervisor: who crashes starts again, who ends has ended, and nobody stays behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from host.child import command
from host.processes import descendants, memory_bytes
from host.supervisor import Program, Supervisor

ROOT = Path(__file__).resolve().parents[2]


def program(name: str, code: str, *arguments: str, stop_s: float = 10.0) -> Program:
    return Program(name, (sys.executable, "-c", code, *arguments), os.environ, ROOT, stop_s)


def wait_for(condition: Callable[[], object], seconds: float = 15.0, step: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        step()
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_crashed_program_starts_again_after_a_growing_delay(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("weak", "import time; print(time.monotonic(), flush=True); raise SystemExit(3)"))
        wait_for(lambda: supervisor.restarts()["weak"] == 2 and supervisor.pid("weak") is None, step=supervisor.tick)
        first, second, third = (float(line) for line in supervisor.output("weak").split())
    assert 0.5 <= second - first < 1.5
    assert 1.0 <= third - second < 3.0
    assert third - second > second - first


def test_a_killed_program_starts_again(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        first = supervisor.start(program("calm", "import time; time.sleep(60)"))
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: supervisor.pid("calm") not in (None, first), step=supervisor.tick)
        assert supervisor.restarts() == {"calm": 1}


def test_an_end_without_error_is_final(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("done", "print('done')"))
        supervisor.run(1.2)
        assert supervisor.pid("done") is None
        assert supervisor.output("done") == "done\n"
        assert supervisor.restarts() == {"done": 0}


def test_stop_ends_all_and_kills_who_does_not_listen(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    parent = "import subprocess, time; print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    with Supervisor(tmp_path) as supervisor:
        pids = [
            supervisor.start(program("deaf", deaf, stop_s=0.5)),
            supervisor.start(program("parent", parent)),
        ]
        wait_for(lambda: supervisor.output("deaf") and supervisor.output("parent").endswith("\n"))
        pids.append(int(supervisor.output("parent")))  # a grandchild that SIGTERM to its parent leaves alone
        assert all(alive(pid) for pid in pids)
        begun = time.monotonic()
    assert time.monotonic() - begun < 5
    assert not any(alive(pid) for pid in pids)


def test_nobody_outlives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    """With a real gunicorn, whose workers are grandchildren."""
    (tmp_path / "page.py").write_text("def app(environ, start):\n    start('200 OK', [])\n    return [b'']\n")
    code = f"""
import os, sys
from pathlib import Path
from host.supervisor import Program, Supervisor
supervisor = Supervisor(Path({str(tmp_path)!r}))
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
supervisor.start(Program("deaf", (sys.executable, "-c", deaf), os.environ))
line = (sys.executable, "-m", "gunicorn", "-k", "gthread", "-b", "unix:{tmp_path}/socket", "page:app")
supervisor.start(Program("desk", line, os.environ, Path({str(tmp_path)!r})))
supervisor.run(60)
"""
    killed = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    wait_for(lambda: (tmp_path / "desk.log").exists() and "Booting worker" in (tmp_path / "desk.log").read_text())
    family = descendants(killed.pid)
    assert len(family) >= 4  # supervisor, the deaf one, gunicorn and its worker
    killed.kill()
    killed.wait()
    wait_for(lambda: not any(alive(pid) for pid in family))


def test_a_child_whose_parent_is_already_gone_does_not_start() -> None:
    line = command(["echo", "started"])
    line[line.index("--parent") + 1] = "1"
    done = subprocess.run(line, capture_output=True, text=True, timeout=20)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "parent ended" in done.stderr


def test_a_name_is_used_once(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("one", "pass"))
        with pytest.raises(ValueError, match="already supervised"):
            supervisor.start(program("one", "pass"))


def test_the_memory_of_the_whole_family_is_counted(tmp_path: Path) -> None:
    own = memory_bytes([os.getpid()])
    assert 5e6 < own < 2e9
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("big", "import time; b = b'x' * 80_000_000; print('up', flush=True); time.sleep(60)"))
        wait_for(lambda: supervisor.output("big"))
        assert supervisor.memory_bytes() - own > 75e6


def test_logs_are_for_their_owner_only(tmp_path: Path) -> None:
    with Supervisor(tmp_path) as supervisor:
        supervisor.start(program("one", "pass"))
    assert (tmp_path / "one.log").stat().st_mode & 0o777 == 0o600
