"""What every test may use (see tests/servers), and the count of what really ran where."""

from __future__ import annotations

from collections import Counter

import pytest

pytest_plugins = [
    "tests.servers.databases",
    "tests.servers.buses",
    "tests.servers.brokers",
    "tests.servers.browsers",
    "tests.torture.fault_table",
]

_SHOWN = {
    "embedded": "embedded PostgreSQL",
    "timescale": "TimescaleDB",
    "redis": "Redis",
    "valkey": "Valkey",
    "mosquitto": "Mosquitto",
    "chromium": "Chromium",
}
# Who asks for a server by its fixture needs no mark of its own.
_BY_FIXTURE = {
    "postgres_embedded": "embedded",
    "postgres_timescale": "timescale",
    "valkey_server": "valkey",
    "redis_server": "redis",
    "mosquitto": "mosquitto",
    "browser": "chromium",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in _BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Counted from the reports, so that tests run by several processes count as well."""
    passed = [report for report in terminalreporter.stats.get("passed", ()) if report.when == "call"]
    ran = Counter(mark for report in passed for mark in _SHOWN if mark in report.keywords)
    terminalreporter.write_line("ran on " + ", ".join(f"{name}: {ran[mark]}" for mark, name in _SHOWN.items()))
