"""`--fault-table FILE`: what the fault tests counted, written as a page of the documentation (see page.md).

A fault test records the columns of its line with `record_property` (fixture `fault` in conftest.py). A fault test that
failed or was skipped has a line as well: a page without it would look better than the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

PAGE = Path(__file__).with_name("page.md")
COLUMNS = ("fault", "how", "counted", "lost", "doubled", "result")
# Fault tests that live beside what they test, and say nothing themselves.
ELSEWHERE = {
    "tests/wire/test_c37118_hostile.py::test_hundred_thousand_mutated_frames": {
        "fault": "F14",
        "how": "100,000 mutated C37.118.2 frames between good ones",
        "counted": "an exception other than a refusal, a good frame not found again",
        "lost": "0",
        "doubled": "0",
    }
}
RESULTS = {"passed": "held", "failed": "**FAILED**", "skipped": "not run", "error": "**FAILED**"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fault-table", type=Path, help="write what the fault tests counted to this file")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, exitstatus: pytest.ExitCode, config: pytest.Config
) -> None:
    file: Path | None = config.getoption("--fault-table")
    if file is None or exitstatus not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return  # an interrupted run would leave lines out
    stats = terminalreporter.stats
    lines = [line_of(report, outcome) for outcome in RESULTS for report in stats.get(outcome, ()) if told(report)]
    file.write_text(PAGE.read_text().replace("{table}", table(lines)))


def told(report: pytest.TestReport) -> bool:
    """Whether this report decides about a fault test: its call, or what kept it from being called."""
    ours = report.nodeid.startswith("tests/torture/") or report.nodeid in ELSEWHERE
    return ours and (report.when == "call" or not report.passed)


def line_of(report: pytest.TestReport, outcome: str) -> dict[str, str]:
    recorded = ELSEWHERE.get(report.nodeid) or {name: str(value) for name, value in report.user_properties}
    unknown = {"fault": "?", "how": report.nodeid, "counted": "", "lost": "", "doubled": ""}
    result = "found out" if recorded.get("control") and outcome == "passed" else RESULTS[outcome]
    return unknown | recorded | {"result": result}


def table(lines: Iterable[Mapping[str, str]]) -> str:
    """Markdown, in an order that depends on the lines alone."""
    ordered = sorted(lines, key=lambda line: (int(line["fault"].lstrip("F?") or 99), line["how"], line["counted"]))
    rows = [[line[name] for name in COLUMNS] for line in ordered]
    head = ["fault", "how", "what was counted", "lost", "doubled", "result"]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
