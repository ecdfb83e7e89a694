"""The line of a fault test in docs/reliability.md, servers that may be killed, and the truth without faults."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from host.database import migrate
from host.postgres import Postgres
from host.valkey import Valkey
from model.ids import new_id
from smc import decide, detect, triage
from smc.bus import MemoryBus
from tests.smc.stages import line
from tests.torture.centre import Outcome, blocks_of, enrolled, idle, outcome


class Fault(Protocol):
    """Writes the line of this test; `lost` and `doubled` are counts, `control` marks a test with a mistake put in."""

    def __call__(self, fault: str, how: str, counted: str, lost: int, doubled: int, control: bool = False) -> None: ...


@pytest.fixture
def fault(record_property: Callable[[str, object], None]) -> Fault:
    def record(fault: str, how: str, counted: str, lost: int, doubled: int, control: bool = False) -> None:
        columns = {"fault": fault, "how": how, "counted": counted, "lost": lost, "doubled": doubled}
        for name, value in columns.items():
            record_property(name, value)
        if control:
            record_property("control", "yes")

    return record


@contextmanager
def server_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="grid-smc-torture-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)  # a server started by root runs as nobody and must get through
        yield Path(folder)


@pytest.fixture
def own_postgres() -> Iterator[Postgres]:
    """A PostgreSQL that syncs, and that this test may kill."""
    with server_folder() as folder, Postgres(folder, durable=True) as server:
        yield server


@pytest.fixture
def own_database(own_postgres: Postgres) -> str:
    """URL of a fresh database with the smc schema on it."""
    url = own_postgres.create_database("smc")
    migrate(url, "smc")
    return url


@pytest.fixture
def own_valkey() -> Iterator[Valkey]:
    """A Valkey that this test may kill."""
    with server_folder() as folder, Valkey(folder) as server:
        yield server


@pytest.fixture(scope="session")
def truth(postgres_embedded: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """What detect, triage and decide make of the blocks when nothing happens to them."""
    name = f"truth_{new_id().hex}"
    url = postgres_embedded.create_database(name)
    migrate(url, "smc")
    context = line.centre(url, MemoryBus(), tmp_path_factory.mktemp("truth"))
    blocks = blocks_of(enrolled(context.engine))
    line.publish(context.bus, blocks)
    with line.running(context, detect, triage, decide):
        line.until(lambda: idle(context.bus, ("blocks", "findings")), "all judged")
        line.until(lambda: outcome(context.engine).settled, "a decision for each incident")
    found = outcome(context.engine)
    context.engine.dispose()
    assert len(found.incidents) >= 2, "a scenario without incidents proves nothing"
    yield found
    postgres_embedded.drop_database(name)
