"""Every command of the contract exists with a help text; wrong input is one clear line and exit code 2."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from app import parser
from tests.commands.running import ROOT, app

COMMANDS = (
    *("demo", "migrate", "smc", "esmc", "norm", "replay", "decode", "score", "user", "audit", "backup", "restore"),
    *("export", "evidence", "doctor", "hold"),
)
CENTRE = {"SMC_SITE": "DSO-0001", "SMC_COUNTRY": "DE", "SMC_AREA": "DE-BY", "REDIS_URL": "unix:///nowhere.sock"}
DATA = Path(os.environ.get("SMC_TEST_DATA", ROOT.parent / "shared" / "data"))
CAPTURE = DATA / "captures" / "c37.118" / "C37.118_1PMU_TCP.pcap"


def test_help_names_every_command() -> None:
    text = parser().format_help()
    assert all(f"    {name}" in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args([name, "--help"])
    assert ended.value.code == 0
    assert len(capsys.readouterr().out) > 120


@pytest.mark.parametrize(
    ("words", "variables", "named"),
    [
        (["smc", "intake"], {}, "SMC_SITE"),
        (["smc", "detect"], {**CENTRE, "DATABASE_URL": "postgresql:///x", "SMC_FLUSH_SX": "1"}, "SMC_FLUSH_S"),
        (["smc", "detect"], {**CENTRE, "DATABASE_URL": "postgresql:///x", "SMC_FLUSH_S": "soon"}, "soon"),
        pytest.param(["smc", "triage"], {**CENTRE, "DATABASE_URL": "mysql:///x"}, "mysql", marks=pytest.mark.slow),
        (["smc", "triage"], {**CENTRE, "DATABASE_URL": "postgresql://a@127.0.0.1:9/x"}, "127.0.0.1:9"),
        (["smc", "keep"], {**CENTRE, "DATABASE_URL": "postgresql:///x", "SMC_KEEP_READINGS_DAYS": "61"}, "62 days"),
        pytest.param(["hold", "list"], {}, "DATABASE_URL", marks=pytest.mark.slow),
        pytest.param(
            ["esmc", "correlate"], {"DATABASE_URL": "postgresql:///x"}, "ESMC_TAXII_CA_FILE", marks=pytest.mark.slow
        ),
        pytest.param(["migrate", "smc"], {}, "DATABASE_URL", marks=pytest.mark.slow),
        (["decode", "nowhere.pcap"], {}, "nowhere.pcap"),
        (["demo"], {"DEMO_CAPTURE": "/nowhere/at/all"}, "/nowhere/at/all"),
        pytest.param(["demo"], {"DEMO_SECONDS": "long"}, "long", marks=pytest.mark.slow),
        (["user", "add", "x", "--role", "king"], {"DATABASE_URL": "postgresql://a@127.0.0.1:9/x"}, "127.0.0.1:9"),
        pytest.param(["backup", "b.tar"], {}, "DATABASE_URL", marks=pytest.mark.slow),
        (["evidence", "nowhere.zip", "--verify"], {}, "nowhere.zip"),
        (["norm", "--site", "DSO-0001", "--scenario", "s99"], {}, "s99"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line(words: list[str], variables: dict[str, str], named: str) -> None:
    done = app(*words, variables=variables)
    assert done.returncode == 2, done.stderr
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.skipif(not CAPTURE.is_file(), reason=f"no captures at {DATA}")
def test_decode_prints_a_line_per_frame_and_counts_last() -> None:
    done = app("decode", str(CAPTURE))
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    assert len(lines) >= 256
    assert json.dumps(lines[-1]).count("252") == 1


@pytest.mark.skipif(not CAPTURE.is_file(), reason=f"no captures at {DATA}")
def test_decode_of_a_truncated_capture_says_where(tmp_path: Path) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(CAPTURE.read_bytes()[:20_001])
    done = app("decode", str(cut))
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "truncated" in done.stdout + done.stderr
