"""A small Europe in the store, for pages to show; `python -m tests.browser.europe URL FOLDER PORT` serves its desk."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import structlog

from esmc import correlate
from esmc.context import EsmcContext
from esmc.members import enrol
from esmc.settings import EsmcSettings
from esmc.store import correlation, intake, members, taxii
from esmc.store.correlation import EuropeanIncident
from esmc.views.app import desk_app
from host.database import engine
from model.device import Provenance
from model.finding import FindingKind, Severity
from model.stix_case import PHRASES, incident_ref
from model.time import SystemClock, to_datetime
from tests.browser.world import PASSWORDS
from trust.accounts import create
from trust.roles import Role
from web.serve import serve

PASSWORDS["erik"] = "erik opens the test desk"
KEY = "-----BEGIN PUBLIC KEY-----\n"  # pages never look into it
MEMBERS = (
    ("DSO-0001", "North", "DE", "DE-SH"),
    ("DSO-0002", "South", "DE", "DE-BY"),
    ("DSO-0003", "Delta", "NL", "NL-ZH"),
    ("DSO-0004", "Alpine", "AT", "AT-7"),
    ("DSO-0005", "Harbour", "IT", "IT-42"),
    ("DSO-0006", "West", "PT", "PT-11"),
)

CASES = (
    *(("DSO-0001", 42, "high"), ("DSO-0001", 12, "medium"), ("DSO-0002", 31, "high")),
    *(("DSO-0003", 25, "critical"), ("DSO-0004", 18, "medium"), ("DSO-0002", 6, "high")),
)


def context(url: str, folder: Path) -> EsmcContext:
    settings = EsmcSettings(
        database_url=url, data=folder, simulated=True, secure_cookies=False, campaign_members=2,
        taxii_ca_file=Path(), taxii_certificate_file=Path(), signing_key_file=Path(),
    )  # fmt: skip
    return EsmcContext(settings, engine(url, "europe"), SystemClock(), structlog.get_logger())


def fill(centre: EsmcContext) -> None:
    """Members, cases of two kinds, a campaign with its alert, answers, a silent member, a refusal."""
    now = to_datetime(centre.clock.now_ns())
    with centre.engine.begin() as conn:
        create(conn, "erik", PASSWORDS["erik"], Role.EUROPEAN, "test", must_change=False)
        taxii.ensure_collections(conn)
        for code, name, country, area in MEMBERS:
            enrol(conn, code, name, country, area, KEY, now, simulated=code != "DSO-0006")
            away = timedelta(hours=2) if code == "DSO-0005" else timedelta(seconds=2)
            members.seen(conn, code, now - away)
        members.failed(conn, "DSO-0003", "age of a signature is 412 s, expected within 360 s")
        intake.quarantine(conn, "DSO-0003", "stale", "age of a signature is 412 s", b"{}", now)
        for i, (code, minutes, severity) in enumerate(CASES):
            case = f"case-{i + 1:06d}"
            correlation.put_incident(
                conn,
                EuropeanIncident(
                    incident_ref=incident_ref(code, case), member=code, case_name=f"{code}/{case}",
                    title=f"{code}/{case}: {PHRASES[FindingKind.METER_TAMPER]}", kind=FindingKind.METER_TAMPER,
                    technique="T0856", severity=Severity(severity), status="suspected", confidence=78 + i,
                    sensors=None if i % 2 else 14 + i, provenance=Provenance.SIMULATED,
                    first_seen=now - timedelta(minutes=minutes + 4), last_seen=now - timedelta(minutes=minutes),
                    version=now, received=now,
                ),
            )  # fmt: skip
    correlate.tick(centre)
    with centre.engine.begin() as conn:
        (alert,) = correlation.alerts(conn).values()
        ref = f"report--{alert.alert_id}"
        for code, state in (("DSO-0001", "received"), ("DSO-0002", "acted"), ("DSO-0004", "not-applicable")):
            at = alert.published + timedelta(seconds=3)
            correlation.put_acknowledgement(conn, ref, code, state, alert.published, at, at)


def main(url: str, folder: str, port: str) -> None:
    serve(desk_app(context(url, Path(folder))), "127.0.0.1", int(port))


if __name__ == "__main__":
    main(*sys.argv[1:4])
