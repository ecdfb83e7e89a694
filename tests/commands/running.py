"""Start `app.py` the way a person does, and know what it left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """A clean environment: nothing of ours but what is given."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "SMC_CACHE") if name in os.environ}
    return {**kept, **more}


def app(
    *words: str, variables: Mapping[str, str] | None = None, given: str = "", timeout_s: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [sys.executable, str(ROOT / "app.py"), *words],
        env=environment(**(variables or {})),
        input=given,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        cwd=ROOT,
        check=False,
    )


def processes_naming(text: str) -> list[str]:
    """Command lines of the processes of this machine that contain `text`; zombies have none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and entry.name != str(os.getpid()):
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended meanwhile
            if text in line:
                found.append(line)
    return found
