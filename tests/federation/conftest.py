"""A federation on one machine: an authority, two operators' centres, the pan-European centre over mutual TLS."""

from __future__ import annotations

import multiprocessing
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog
from sqlalchemy import Engine, text

from esmc.context import EsmcContext
from esmc.members import enrol
from esmc.serve import taxii_serve
from esmc.settings import EsmcSettings
from host.database import engine, migrate
from host.postgres import Postgres
from model.federation import member_uri
from model.time import SystemClock
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.settings import SmcSettings
from trust.certificates import Authority, create_authority, issue_client, issue_server
from trust.secret_files import write_secret
from trust.signing import create_key

# A server of its own per test, forked from a process that has imported everything once.
SERVERS = multiprocessing.get_context("forkserver")
SERVERS.set_forkserver_preload(["tests.federation.conftest"])


@dataclass
class Centre:
    """The pan-European centre: its database, its files, and its server as a process that can be stopped."""

    settings: EsmcSettings
    engine: Engine
    authority: Authority
    public_key: str
    folder: Path
    process: multiprocessing.process.BaseProcess | None = field(default=None)

    @property
    def context(self) -> EsmcContext:
        return EsmcContext(self.settings, self.engine, SystemClock(), structlog.get_logger("correlate"))

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.settings.taxii_port}"

    def start(self) -> None:
        self.process = SERVERS.Process(target=serve_taxii, args=(self.settings,), daemon=True)
        self.process.start()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.settings.taxii_port)) == 0:
                    return
            time.sleep(0.05)
        raise TimeoutError("the TAXII server did not start")

    def stop(self, *, kill: bool = False) -> None:
        if self.process is not None:
            (self.process.kill if kill else self.process.terminate)()
            self.process.join(15)
            if self.process.is_alive():
                self.process.kill()
                self.process.join()
            self.process = None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with self.engine.begin() as conn:
            return [tuple(row) for row in conn.execute(text(query))]


def serve_taxii(settings: EsmcSettings) -> None:
    """What a process of the server runs."""
    taxii_serve(settings, engine(settings.database_url, "taxii"), SystemClock())


@pytest.fixture
def centre(esmc_embedded: str, tmp_path: Path) -> Iterator[Centre]:
    folder = tmp_path / "esmc"
    folder.mkdir()
    authority = create_authority("Federation of the tests")
    (folder / "ca.pem").write_bytes(authority.pem)
    write_secret(folder / "tls.pem", issue_server(authority, "127.0.0.1"))
    public = create_key(folder / "signing.pem")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = EsmcSettings(
        database_url=esmc_embedded,
        data=folder,
        simulated=True,
        taxii_port=port,
        taxii_ca_file=folder / "ca.pem",
        taxii_certificate_file=folder / "tls.pem",
        signing_key_file=folder / "signing.pem",
        campaign_members=2,
    )
    made = Centre(settings, engine(esmc_embedded, "test"), authority, public, folder)
    made.start()
    yield made
    made.stop(kill=True)  # the database goes next: nothing is worth a graceful end
    made.engine.dispose()


Enrolled = Callable[[str], SmcSettings]


@pytest.fixture
def member(centre: Centre, tmp_path: Path) -> Enrolled:
    """Settings of an operator's centre with its keys, enrolled in Europe; the database is still to be chosen."""

    def make(code: str) -> SmcSettings:
        folder = tmp_path / code
        folder.mkdir()
        (folder / "esmc.pub").write_text(centre.public_key)
        write_secret(folder / "tls.pem", issue_client(centre.authority, member_uri(code)))
        write_secret(folder / "pseudonym.key", secrets.token_bytes(32))
        public = create_key(folder / "signing.pem")
        with centre.engine.begin() as conn:
            enrol(conn, code, f"Operator {code}", "DE", "DE-BY", public, datetime.now(UTC), simulated=True)
        return SmcSettings(
            site=code,
            country="DE",
            area="DE-BY",
            database_url="",
            redis_url="",
            data=folder,
            simulated=True,
            taxii_url=f"{centre.url}/federation/",
            taxii_ca_file=centre.folder / "ca.pem",
            taxii_certificate_file=folder / "tls.pem",
            signing_key_file=folder / "signing.pem",
            peer_key_file=folder / "esmc.pub",
            pseudonym_key_file=folder / "pseudonym.key",
            poll_s=0.2,
        )

    return make


@pytest.fixture
def operator(member: Enrolled, smc_embedded: str) -> Iterator[StageContext]:
    """One operator's centre, ready to federate."""
    settings = replace(member("DSO-0001"), database_url=smc_embedded)
    made = engine(smc_embedded, "test")
    yield StageContext(settings, made, MemoryBus(), SystemClock(), structlog.get_logger("federate"))
    made.dispose()


@pytest.fixture
def smc_second(postgres_embedded: Postgres) -> Iterator[str]:
    """URL of another operator's fresh database."""
    name = f"second_{secrets.token_hex(6)}"
    url = postgres_embedded.create_database(name)
    migrate(url, "smc")
    yield url
    postgres_embedded.drop_database(name)
