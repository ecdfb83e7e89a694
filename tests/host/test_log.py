"""Logs: one JSON line per event whatever its fields hold, and never a payload, a secret or a local variable."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START = "from host.log import configure, logger\nconfigure('smc.test', 'DSO-0001')\nlog = logger()\n"


def lines(code: str) -> list[dict[str, Any]]:
    """What a process that runs `code` writes to stderr; its stdout stays empty."""
    done = subprocess.run([sys.executable, "-c", START + code], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.stdout == ""
    return [json.loads(line) for line in done.stderr.splitlines()]


def test_an_event_is_one_line_with_its_origin() -> None:
    (line,) = lines("log.info('intake.block_stored', rows=5, wait_s=0.25)")
    expected = {"event": "intake.block_stored", "rows": 5, "component": "smc.test", "site": "DSO-0001", "level": "info"}
    assert line.items() >= expected.items()
    assert line["timestamp"].endswith("Z")


def test_another_thread_says_its_origin_too() -> None:
    (line,) = lines("import threading; threading.Thread(target=log.info, args=('stages.started',)).start()")
    assert (line["event"], line["component"], line["site"]) == ("stages.started", "smc.test", "DSO-0001")


def test_line_ends_and_escapes_in_a_field_make_no_second_line() -> None:
    forged = 'a\r\n{"event":"forged"}\x1b[2J'
    (line,) = lines(f"log.warning('link.peer_refused', peer={forged!r})")
    assert line["peer"] == forged


def test_contents_are_withheld() -> None:
    fields = ("body", "payload", "password", "secret", "token", "key", "cookie", "bytes")
    (line,) = lines(f"log.info('intake.seen', **dict.fromkeys({fields!r}, 'hush'))")
    assert {name: line[name] for name in fields} == dict.fromkeys(fields, "withheld")


def test_a_traceback_shows_no_local_variables() -> None:
    code = "def f():\n    frame = 'hu' + 'sh'\n    raise ValueError('out of range')\n"
    (line,) = lines(code + "try:\n    f()\nexcept ValueError:\n    log.exception('stage.failed')\n")
    assert line["exception"][0]["exc_value"] == "out of range"
    assert "hush" not in json.dumps(line)


def test_libraries_are_heard_from_warnings_on() -> None:
    code = "import logging; log = logging.getLogger('somebody'); log.info('chatter'); log.warning('trouble %d', 7)"
    (line,) = lines(code)
    assert (line["event"], line["component"], line["level"]) == ("trouble 7", "smc.test", "warning")
