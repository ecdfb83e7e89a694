"""Telling Europe: campaigns become early alerts on the shelf of advice. Counts only; no member is named."""

from __future__ import annotations

import hashlib
from datetime import datetime

from prometheus_client import Counter
from sqlalchemy import Connection

from esmc.context import EsmcContext
from esmc.store import correlation as store
from esmc.store import taxii
from esmc.store.correlation import Campaign
from esmc.store.taxii import Item
from model.attack_ics import BY_ID
from model.ids import stable_id
from model.stix import ESMC, canonical
from model.stix_alert import Alert, alert_objects
from model.stix_case import PHRASES
from model.time import iso_utc, utc_words

LEAST_MEMBERS = 3  # no pan-European cell below; relaxed for simulated members only
LEAST_MEMBERS_SIMULATED = 2
_ALERTS = Counter("advise_alerts_total", "Versions of early alerts published")


def advise(conn: Connection, context: EsmcContext, now: datetime) -> int:
    """Publish an alert, or its next version, for every campaign whose story for others has changed."""
    told = store.alerts(conn)
    count = 0
    for campaign in store.campaigns(conn):
        before = told.get(campaign.campaign_id)
        if not may_tell(campaign) or (before is not None and not _differs(before, campaign)):
            continue
        alert = alert_of(campaign, before.created if before else now, now)
        _publish(conn, alert, campaign, now)
        context.log.warning("advise.published", campaign=campaign.number, members=alert.members, version=iso_utc(now))
        count += 1
    return count


def may_tell(campaign: Campaign) -> bool:
    """Whether enough members are in it that none can be singled out."""
    return campaign.members >= (LEAST_MEMBERS_SIMULATED if campaign.simulated else LEAST_MEMBERS)


def alert_of(campaign: Campaign, created: datetime, now: datetime) -> Alert:
    """The alert of a campaign as it stands."""
    technique = BY_ID.get(campaign.technique)
    named = f"ATT&CK for ICS {technique.technique_id} {technique.name}" if technique else "no ATT&CK technique fits"
    phrase = PHRASES[campaign.kind]
    text = (
        f"{campaign.members} operators see {phrase} ({named}), first {utc_words(campaign.first_seen)}, last "
        f"{utc_words(campaign.last_seen)}. Together {100 * campaign.probability:.1f} % that this is no chance. "
        "Look for the same at your own devices and tell us what you find. This is advice, not a command."
    )
    return Alert(
        alert_id=stable_id("report", ESMC, campaign.campaign_id),
        title=f"Campaign {campaign.number}: {phrase}",
        text=text,
        kind=campaign.kind,
        severity=campaign.severity,
        technique=campaign.technique,
        members=campaign.members,
        first_seen=campaign.first_seen,
        last_seen=campaign.last_seen,
        created=created,
        published=now,
        simulated=campaign.simulated,
    )


def _differs(before: Alert, campaign: Campaign) -> bool:
    return (before.members, before.severity) != (campaign.members, campaign.severity)


def _publish(conn: Connection, alert: Alert, campaign: Campaign, now: datetime) -> None:
    items = []
    for wire_object in alert_objects(alert):
        version = datetime.fromisoformat(str(wire_object.get("modified", wire_object["created"])))
        body = canonical(wire_object)
        digest = hashlib.sha256(body).digest()
        items.append(Item(str(wire_object["id"]), version, str(wire_object["type"]), digest, body))
    taxii.add(conn, taxii.ADVICE.collection, items, ESMC, now)
    store.put_alert(conn, alert, campaign.campaign_id, f"report--{alert.alert_id}")
    _ALERTS.inc()
