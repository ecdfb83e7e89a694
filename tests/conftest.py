"""What every test may use (see tests/servers), and the count of what really ran where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.servers.databases", "tests.servers.buses", "tests.servers.brokers", "tests.servers.browsers"]

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
_RAN = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RAN] = Counter()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture, mark in _BY_FIXTURE.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    if report.when == "call" and report.outcome == "passed":
        item.config.stash[_RAN].update({mark.name for mark in item.iter_markers()})
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    ran = config.stash[_RAN]
    terminalreporter.write_line("ran on " + ", ".join(f"{name}: {ran[mark]}" for mark, name in _SHOWN.items()))
