"""Federation: envelopes taken in and pages handed out by the real server, small shelf against large.

Mutual TLS, signatures both ways, strict reading and PostgreSQL are all in the figures. CPU is that of the server's
process tree; the database's own runs beside it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import multiprocessing
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import structlog
from sqlalchemy import Engine

from bench.table import Row, row
from esmc.members import enrol
from esmc.serve import taxii_serve
from esmc.settings import EsmcSettings
from esmc.store import taxii
from esmc.store.taxii import Item
from host.database import engine as engine_of
from host.database import migrate
from host.postgres import Postgres
from model.device import Provenance
from model.federation import ESMC_URI, MEDIA_TYPE, SIGNATURE_HEADER, member_uri
from model.finding import FindingKind, Severity
from model.incident import Status
from model.stix import canonical, encode_envelope
from model.stix_alert import Alert, alert_objects
from model.stix_case import Case, incident_objects
from model.time import SystemClock
from trust.certificates import create_authority, issue_client, issue_server
from trust.secret_files import write_secret
from trust.signing import Signer, create_key

AREA = "federation"
SMALL, LARGE, TINY = 10_000, 50_000, 1_000
MEMBERS, ENVELOPES, CASES = 4, 10, 10  # per round; three rounds stay below the limit of envelopes a minute
PAGE, PAGES, POLLS = 100, 100, 500
TARGET = "target of the design"


def run() -> list[Row]:
    """Start a database and a server of their own, measure, and give the rows."""
    with tempfile.TemporaryDirectory(prefix="grid-smc-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)
        (folder / "pg").mkdir(mode=0o711)
        with Postgres(folder / "pg") as postgres:
            url = postgres.create_database("federation")
            migrate(url, "esmc")
            engine = engine_of(url, "bench")
            with engine.begin() as conn:
                taxii.ensure_collections(conn)
            with _served(url, folder, engine) as (server, members):
                rows = _measure(engine, server, members)
            engine.dispose()
            return rows


@dataclass
class _Member:
    """One member's connection and signing key."""

    code: str
    connection: http.client.HTTPSConnection
    signer: Signer
    sent: int = 0

    def post(self, body: bytes) -> None:
        self.sent += 1
        token = self.signer.sign(body, ESMC_URI, datetime.now(UTC), self.sent, self.sent)
        headers = {"Content-Type": MEDIA_TYPE, SIGNATURE_HEADER: token}
        status, told = self.request("POST", "/federation/collections/incidents/objects/", body, headers)
        if status != 202 or told["failure_count"]:
            raise RuntimeError(f"post of an envelope answered {status}: {told}")

    def request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, dict[str, int]]:
        self.connection.request(method, path, body, {"Accept": MEDIA_TYPE} | headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read())


def _measure(engine: Engine, server: psutil.Process, members: list[_Member]) -> list[Row]:
    _fill(engine, taxii.INCIDENTS.collection, SMALL)
    _fill(engine, taxii.ADVICE.collection, TINY)
    _posts(server, members, "warm")
    post_small = _posts(server, members, "small")
    page_small, empty = _pages(engine, server, members[0]), _empty_polls(server, members[0])
    _fill(engine, taxii.INCIDENTS.collection, LARGE - SMALL)
    _fill(engine, taxii.ADVICE.collection, LARGE - TINY)
    for member in members:
        member.connection.close()  # idle for too long; opens again by itself
        member.request("GET", "/taxii2/", None, {})
    post_large = _posts(server, members, "large")
    page_large = _pages(engine, server, members[0])
    return [
        row(AREA, "objects posted over mTLS, signed, stored", post_small, "objects/CPU-s", TARGET, 5_000.0, ">= 1"),
        row(
            AREA, f"objects posted at {LARGE} stored", post_large, "objects/CPU-s", f"at {SMALL}", post_small, ">= 0.8"
        ),
        row(AREA, f"page of {PAGE} deep in {LARGE}", page_large, "ms CPU", f"in {TINY}", page_small, "<= 1.2"),
        row(AREA, "empty polls, answers signed", empty, "polls/CPU-s", TARGET, 1_000.0, ">= 1"),
    ]


def _posts(server: psutil.Process, members: list[_Member], name: str) -> float:
    """Objects stored per CPU-second of the server."""
    bodies = [(m, _envelope(m.code, f"{name}-{i}")) for i in range(ENVELOPES) for m in members]
    objects = sum(len(json.loads(body)["objects"]) for _, body in bodies)
    before = _cpu_s(server)
    for member, body in bodies:
        member.post(body)
    return objects / (_cpu_s(server) - before)


def _pages(engine: Engine, server: psutil.Process, member: _Member) -> float:
    """CPU milliseconds of a page from the middle of the shelf."""
    with engine.begin() as conn:
        middle = taxii.page(conn, taxii.Query(taxii.ADVICE.collection), taxii.count(conn, taxii.ADVICE.collection) // 2)
    after = middle[-1].date_added.isoformat(timespec="microseconds").replace("+00:00", "Z")
    path = f"/federation/collections/advice/objects/?limit={PAGE}&added_after={after}"
    before = _cpu_s(server)
    for _ in range(PAGES):
        member.request("GET", path, None, {})
    return 1_000 * (_cpu_s(server) - before) / PAGES


def _empty_polls(server: psutil.Process, member: _Member) -> float:
    """Polls that find nothing, per CPU-second of the server."""
    before = _cpu_s(server)
    for _ in range(POLLS):
        member.request("GET", "/federation/collections/advice/objects/?added_after=2100-01-01T00:00:00Z", None, {})
    return POLLS / (_cpu_s(server) - before)


def _cpu_s(server: psutil.Process) -> float:
    times = [p.cpu_times() for p in (server, *server.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def _envelope(code: str, name: str) -> bytes:
    at = datetime.now(UTC)
    case = Case(
        site=code, case=name, kind=FindingKind.METER_TAMPER, severity=Severity.HIGH, status=Status.NEW, created=at,
        modified=at, first_seen=at, last_seen=at, findings=7, technique="T0856", provenance=Provenance.SIMULATED,
        version=1, confidence=80, country="DE", area="DE-BY", meters=214, pmus=None, groups=("1218fa191b8c459fbcb6",),
        playbook=None,
    )  # fmt: skip
    return encode_envelope(o for i in range(CASES) for o in incident_objects(replace(case, case=f"{name}-{i}")))


def _fill(engine: Engine, shelf: UUID, count: int) -> None:
    """Put `count` early alerts on a shelf, straight into the store."""
    at = datetime(2026, 11, 1, tzinfo=UTC)
    alert = Alert(
        alert_id=uuid4(), title="Bench", text="Text of an alert.", kind=FindingKind.METER_TAMPER,
        severity=Severity.HIGH, technique="T0856", members=3, first_seen=at, last_seen=at, created=at,
        published=at, simulated=True,
    )  # fmt: skip
    for start in range(0, count, 1_000):
        items = []
        for i in range(start, min(start + 1_000, count)):
            report = alert_objects(replace(alert, alert_id=uuid4(), published=at + timedelta(seconds=i)))[-1]
            body = canonical(report)
            items.append(Item(str(report["id"]), at, "report", hashlib.sha256(body).digest(), body))
        with engine.begin() as conn:
            taxii.add(conn, shelf, items, "ESMC", datetime.now(UTC))


@contextmanager
def _served(url: str, folder: Path, engine: Engine) -> Iterator[tuple[psutil.Process, list[_Member]]]:
    authority = create_authority("Federation of the benchmark")
    (folder / "ca.pem").write_bytes(authority.pem)
    write_secret(folder / "tls.pem", issue_server(authority, "127.0.0.1"))
    create_key(folder / "signing.pem")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = EsmcSettings(
        database_url=url, taxii_port=port, taxii_ca_file=folder / "ca.pem", taxii_certificate_file=folder / "tls.pem",
        signing_key_file=folder / "signing.pem",
    )  # fmt: skip
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(settings,), daemon=True)
    process.start()
    try:
        members = []
        for i in range(1, MEMBERS + 1):
            code = f"DSO-{i:04d}"
            write_secret(folder / f"{code}.pem", issue_client(authority, member_uri(code)))
            public = create_key(folder / f"{code}.key")
            with engine.begin() as conn:
                enrol(conn, code, code, "DE", "DE-BY", public, datetime.now(UTC), simulated=True)
            signer = Signer.load(folder / f"{code}.key", member_uri(code))
            members.append(_Member(code, _connect(port, folder, code), signer))
        yield psutil.Process(process.pid), members
    finally:
        process.terminate()
        process.join(15)


def _serve(settings: EsmcSettings) -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    taxii_serve(settings, engine_of(settings.database_url, "taxii"), SystemClock())


def _connect(port: int, folder: Path, code: str) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / f"{code}.pem")
    until_s = time.monotonic() + 30
    while True:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        try:
            connection.connect()
            return connection
        except ConnectionRefusedError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.1)
