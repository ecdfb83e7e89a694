"""Stage correlate: members' cases become incidents, incidents of several members become campaigns, campaigns alerts.

It reads the shelves of the TAXII server in order of arrival from a cursor; a tick is one transaction, so it may be
killed anywhere and started again.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import orjson
from prometheus_client import Counter
from sqlalchemy import Connection

from analytics.campaign.pooling import stouffer
from esmc.advise import advise
from esmc.context import EsmcContext
from esmc.store import correlation as store
from esmc.store import health, taxii
from esmc.store.correlation import Campaign, EuropeanIncident
from esmc.store.taxii import Stored
from model.attack_ics import BY_STIX_ID
from model.device import Provenance
from model.finding import FindingKind, Severity
from model.ids import stable_id
from model.stix import ESMC
from model.stix_case import PHRASES
from model.time import to_datetime
from wire.stix import Incident, Note, Relationship, check, stamp

TICK_S = 1.0
BATCH = 2_000
KINDS = (FindingKind.METER_TAMPER, FindingKind.CLOCK_ATTACK)  # bad data alone is everyday life, not a campaign
_READ = Counter("correlate_objects_total", "Objects read", ["shelf"])
_CAMPAIGNS = Counter("correlate_campaigns_total", "Campaigns opened")


def run(context: EsmcContext, stop: threading.Event) -> None:
    """The stage, until told to stop."""
    counters = {"incidents": 0.0, "acknowledgements": 0.0, "campaigns": 0.0, "alerts": 0.0}
    while not stop.is_set():
        done = tick(context)
        counters = {name: counters[name] + done[name] for name in counters}
        with context.engine.begin() as conn:
            health.beat(conn, "correlate", counters)
        if not any(done.values()):
            stop.wait(TICK_S)


def tick(context: EsmcContext) -> dict[str, float]:
    """Read what is new, join it, tell it. Returns how much of each was done."""
    now = _milliseconds(to_datetime(context.clock.now_ns()))
    with context.engine.begin() as conn:
        incidents = read_incidents(conn, now)
        answers = read_acknowledgements(conn, now)
        opened = join(conn, context, now)
        published = advise(conn, context, now)
    return {"incidents": incidents, "acknowledgements": answers, "campaigns": opened, "alerts": published}


def read_incidents(conn: Connection, now: datetime) -> int:
    """Take new cases, newer versions and techniques off the shelf."""
    rows = _unread(conn, taxii.INCIDENTS.alias)
    count = 0
    for row in rows:
        typed = check(orjson.loads(row.body))[0]
        if isinstance(typed, Incident):
            count += store.put_incident(conn, incident_of(typed, row.member, now))
        elif isinstance(typed, Relationship) and typed.target_ref in BY_STIX_ID:
            store.put_technique(conn, typed.source_ref, BY_STIX_ID[typed.target_ref].technique_id)
    return count


def read_acknowledgements(conn: Connection, now: datetime) -> int:
    """Take the members' answers off the shelf."""
    count = 0
    for row in _unread(conn, taxii.ACKNOWLEDGEMENTS.alias):
        typed = check(orjson.loads(row.body))[0]
        if isinstance(typed, Note) and typed.x_smc_ack is not None:
            ack = typed.x_smc_ack
            version, stated = stamp(ack.version), stamp(ack.time)
            count += store.put_acknowledgement(conn, ack.id, row.member, ack.state, version, stated, now)
    return count


def incident_of(typed: Incident, member: str, now: datetime) -> EuropeanIncident:
    """The centre's view of a case as it came over the wire."""
    core = typed.extensions.core
    marks = [Provenance(label) for label in typed.labels if label in list(Provenance)]
    sensors = sum(core.impacted_entity_counts.values()) if core.impacted_entity_counts else None
    return EuropeanIncident(
        incident_ref=typed.id,
        member=member,
        case_name=typed.external_references[0].external_id if typed.external_references else typed.name[:40],
        title=typed.name,
        kind=FindingKind(typed.incident_type),
        technique="",
        severity=Severity(typed.x_smc_gravity),
        status=core.determination,
        confidence=typed.confidence,
        sensors=sensors,
        provenance=marks[0] if marks else Provenance.MEASURED,
        first_seen=stamp(typed.first_seen),
        last_seen=stamp(typed.last_seen),
        version=stamp(typed.modified),
        received=now,
    )


def join(conn: Connection, context: EsmcContext, now: datetime) -> int:
    """Put loose cases into campaigns that run, open new campaigns, bring changed ones up to date."""
    window = timedelta(seconds=context.settings.campaign_window_s)
    running = [c for c in store.campaigns(conn) if c.last_seen >= now - window]
    stories: dict[tuple[FindingKind, str, bool], list[EuropeanIncident]] = defaultdict(list)
    for incident in store.unassigned(conn, KINDS, now - window):
        stories[incident.kind, incident.technique, _simulated(incident)].append(incident)
    opened = 0
    for key, loose in stories.items():
        known = next((c for c in running if (c.kind, c.technique, c.simulated) == key), None)
        if known is not None:
            store.assign(conn, known.campaign_id, [i.incident_ref for i in loose], now)
        elif len({i.member for i in loose}) >= context.settings.campaign_members:
            opened += _open(conn, context, key, loose, now)
    for changed in store.changed_campaigns(conn):
        fresh = describe(changed, store.incidents_of(conn, changed.campaign_id), context, now)
        store.put_campaign(conn, fresh)
    return opened


def describe(
    campaign: Campaign, incidents: Sequence[EuropeanIncident], context: EsmcContext, now: datetime
) -> Campaign:
    """A campaign as its cases stand now, with the statistic and the reason in words. False alarms do not count."""
    valid = [i for i in incidents if i.status != "false-positive"]
    best: dict[str, float] = defaultdict(float)
    for incident in valid:
        best[incident.member] = max(best[incident.member], incident.confidence / 100)
    z, probability = stouffer(list(best.values()))
    counted = valid or incidents
    return replace(
        campaign,
        severity=max((i.severity for i in counted), key=lambda s: s.rank),
        members=len(best),
        incidents=len(valid),
        first_seen=min(i.first_seen for i in counted),
        last_seen=max(i.last_seen for i in counted),
        changed=now,
        statistic=z,
        probability=probability,
        reason=_reason(campaign, len(best), len(valid), z, probability, context),
    )


def _reason(
    campaign: Campaign, members: int, incidents: int, z: float, probability: float, context: EsmcContext
) -> str:
    hours = context.settings.campaign_window_s / 3600
    technique = campaign.technique or "no technique of ATT&CK for ICS fits"
    return (
        f"{members} members reported {incidents} incidents of one kind ({PHRASES[campaign.kind]}; {technique}) "
        f"within {hours:g} h of each other; at least {context.settings.campaign_members} members are needed. "
        f"Stouffer's Z over the highest confidence of each member is {z:.2f}: "
        f"together {100 * probability:.1f} % that this is no chance."
    )


def _open(
    conn: Connection,
    context: EsmcContext,
    key: tuple[FindingKind, str, bool],
    loose: Sequence[EuropeanIncident],
    now: datetime,
) -> int:
    kind, technique, simulated = key
    first = loose[0]
    blank = Campaign(
        campaign_id=stable_id("campaign", ESMC, kind, technique, first.incident_ref),
        number=0,
        kind=kind,
        technique=technique,
        severity=first.severity,
        simulated=simulated,
        members=0,
        incidents=0,
        first_seen=first.first_seen,
        last_seen=first.last_seen,
        opened=now,
        changed=now,
        statistic=0.0,
        probability=0.5,
        reason="",
    )
    campaign = describe(blank, loose, context, now)
    store.put_campaign(conn, campaign)
    store.assign(conn, campaign.campaign_id, [i.incident_ref for i in loose], now)
    _CAMPAIGNS.inc()
    context.log.warning(
        "correlate.campaign_opened", kind=str(kind), technique=technique, members=campaign.members, z=campaign.statistic
    )
    return 1


def _milliseconds(moment: datetime) -> datetime:
    """Cut as STIX prints it, so that a version read back equals the version written."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _simulated(incident: EuropeanIncident) -> bool:
    """Everything that is not measured: it never joins a story with what is."""
    return incident.provenance is not Provenance.MEASURED


def _unread(conn: Connection, alias: str) -> Iterable[Stored]:
    """New objects of a shelf; the cursor moves with the transaction."""
    shelf = next(c for c in taxii.COLLECTIONS if c.alias == alias)
    rows = taxii.since(conn, shelf.collection, store.cursor(conn, alias), BATCH)
    if rows:
        store.move_cursor(conn, alias, rows[-1].seq)
        _READ.labels(alias).inc(len(rows))
    return rows
