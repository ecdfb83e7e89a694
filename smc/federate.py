"""Stage federate: changed incidents leave through the outbox, European advice comes in through the inbox.

A tick freezes what changed, sends what is due in order of its numbers, and polls for advice. Everything it knows is in
the database, so it may be killed anywhere: an envelope is sent until the centre says that it is complete, and the
centre takes duplicates as the success they are. Messages on the bus only shorten the wait.
"""

from __future__ import annotations

import json
import secrets
import threading
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec
from prometheus_client import Gauge
from sqlalchemy import Connection

from model.attack_ics import BY_STIX_ID
from model.errors import DecodeError, NotTrusted, PeerError
from model.federation import ACKNOWLEDGEMENTS, ADVICE, INCIDENTS, OUTBOX_EXPECTED_HEADER
from model.finding import Finding, FindingKind
from model.stix import ESMC
from model.time import to_datetime
from smc.advising import acknowledgement, advice_of, concerns, finding_of, read_reports
from smc.bus import BusDown, BusFull, publish_when_free
from smc.context import StageContext
from smc.peer import Peer, Reply, Unreachable, failure_text
from smc.playbooks import playbook
from smc.publisher import Stopped
from smc.sharing import LEAST_SEVERITY, QUIET, SHARED_KINDS, Sharer, share
from smc.stage import AWAY_S, Heart, consume, patiently
from smc.store import advice as inbox
from smc.store import decisions, devices, findings, incidents, outbox, quarantine
from smc.store.outbox import Parcel
from trust.pseudonyms import load_key
from wire.stix import Report, parse_envelope

STAGE, TOPIC = "federate", "incidents"
TICK_S = 0.5
FIRST_RETRY_S, LONGEST_RETRY_S = 1.0, 300.0
COLLECTION = {"incident": INCIDENTS, "ack": ACKNOWLEDGEMENTS}
REFUSED_FOR_GOOD = (400, 404, 413, 415, 422)
PAGE = "200"

_WAITING = Gauge("federate_waiting", "Envelopes that have not arrived")


def run(context: StageContext, stop: threading.Event) -> None:
    """The stage, until told to stop. Without `taxii_url` there is no federation: incidents stay at home."""
    if not context.settings.taxii_url:
        context.log.info("federate.off", reason="SMC_TAXII_URL is not set")
        consume(context, stop, TOPIC, STAGE, lambda _: {"kept_at_home": 1})  # or the topic would fill up
        return
    federation = Federation(context)
    try:
        while not stop.is_set():
            _round(context, stop, federation)
    except (Stopped, BusFull) as error:  # told to end while it waited; the database knows where to go on
        context.log.info("federate.stopped_while_waiting", reason=str(error))
    federation.close()


def _round(context: StageContext, stop: threading.Event, federation: Federation) -> None:
    try:
        heard = context.bus.receive(TOPIC, STAGE, STAGE, 100, TICK_S)
        patiently(context, stop, STAGE, partial(federation.tick, stop))
        context.bus.acknowledge(TOPIC, STAGE, [delivery.entry for delivery in heard])
    except BusDown as error:
        context.log.warning("federate.bus_away", reason=str(error), wait_s=AWAY_S)
        stop.wait(AWAY_S)


class Federation:
    """What the stage does, step by step; tests drive it with their own clock."""

    def __init__(self, context: StageContext) -> None:
        settings = context.settings
        self._context, self._log = context, context.log
        self._peer = Peer(settings, context.clock)
        self._sharer = Sharer(settings.site, settings.country, settings.area, load_key(settings.pseudonym_key_file))
        self._next_poll_s = 0.0
        self._untold = True  # advice may be stored of which the bus does not know, at first by an earlier process
        self._heart = Heart(context, STAGE)

    def close(self) -> None:
        """Give the connection back."""
        self._peer.close()

    def tick(self, stop: threading.Event) -> None:
        """Freeze, send, poll, and tell how it stands. Whatever breaks it off is made good by the next one."""
        self.republish(stop)
        self.freeze()
        self.send()
        if self._context.clock.monotonic_s() >= self._next_poll_s:
            self._next_poll_s = self._context.clock.monotonic_s() + self._context.settings.poll_s * _jitter()
            self.poll(stop)
        with self._context.engine.begin() as conn:
            waiting = sum(line.waiting for line in outbox.lag(conn))
        _WAITING.set(waiting)
        self._heart.beat()

    # ── out ──────────────────────────────────────────────────────────────────────────────────────────────────

    def freeze(self) -> None:
        """Write the envelope of every changed incident into the outbox, one transaction each."""
        now = self._now()
        with self._context.engine.begin() as conn:
            changed = outbox.unexported(conn, SHARED_KINDS, LEAST_SEVERITY, now - QUIET)
        for incident_id in changed:
            with self._context.engine.begin() as conn:
                self._freeze_one(conn, incident_id, now)

    def _freeze_one(self, conn: Connection, incident_id: UUID, now: datetime) -> None:
        incident = incidents.get(conn, incident_id)
        if incident is None:
            return
        involved = [d for d in devices.all_devices(conn) if d.index in incident.devices]
        proposed = decisions.of_incident(conn, incident_id)
        latest = max(proposed, key=lambda d: d.proposed, default=None)
        last = outbox.latest(conn, incident_id)
        body = share(
            self._sharer,
            incident,
            involved,
            findings.of_incident(conn, incident_id),
            playbook(latest.playbook_id) if latest else None,
            latest.proposed if latest else None,
            last.body if last else None,
        )
        outbox.enqueue(conn, ESMC, "incident", incident_id, body, now)
        self._heart.count({"frozen": 1})
        self._log.info("federate.frozen", incident=incident.case, version=incident.version, size_bytes=len(body))

    def send(self) -> None:
        """Send what is due, in order; the first that does not arrive ends the round."""
        with self._context.engine.begin() as conn:
            parcels = outbox.waiting(conn, ESMC)
        for parcel in parcels:
            if (parcel.next_attempt and parcel.next_attempt > self._now()) or not self._send_one(parcel):
                return

    def _send_one(self, parcel: Parcel) -> bool:
        try:
            if parcel.state == "sent":
                reply = self._peer.get(f"status/{parcel.last_error.removeprefix('status ')}/")
            else:
                with self._context.engine.begin() as conn:
                    seq = outbox.transmission(conn, parcel, self._now())
                path = f"collections/{COLLECTION[parcel.kind]}/objects/"
                reply = self._peer.post(path, parcel.body, seq, parcel.number)
            return self._settle(parcel, reply)
        except (Unreachable, PeerError) as error:
            return self._later(parcel, str(error), None)

    def _settle(self, parcel: Parcel, reply: Reply) -> bool:
        """Write down how a transmission went; True if the next parcel may go."""
        if reply.status in (200, 202):
            return self._taken(parcel, reply)
        if reply.status == 409 and OUTBOX_EXPECTED_HEADER.lower() in reply.headers:
            return self._resend(reply.headers[OUTBOX_EXPECTED_HEADER.lower()])
        text = f"{reply.status} {str(reply.json().get('description', reply.json().get('title', '')))[:200]}"
        if reply.status in REFUSED_FOR_GOOD:
            return self._failed(parcel, text)
        return self._later(parcel, text, reply.headers.get("retry-after"))

    def _taken(self, parcel: Parcel, reply: Reply) -> bool:
        status, now = reply.json(), self._now()
        if status.get("status") != "complete":
            with self._context.engine.begin() as conn:
                outbox.mark_sent(conn, parcel, str(status.get("id")), now + timedelta(seconds=FIRST_RETRY_S))
            return False
        if status.get("failure_count"):
            return self._failed(parcel, failure_text(status))
        with self._context.engine.begin() as conn:
            outbox.mark_complete(conn, parcel, now)
            if parcel.kind == "ack":
                inbox.acknowledged(conn, _acknowledged_advice(parcel.body), now)
        self._count("sent", parcel)
        return True

    def _failed(self, parcel: Parcel, text: str) -> bool:
        with self._context.engine.begin() as conn:
            outbox.mark_failed(conn, parcel, text, self._now())
        self._count("refused", parcel)
        self._log.error("federate.refused", number=parcel.number, kind=parcel.kind, error=text)
        return True

    def _resend(self, expected: str) -> bool:
        if not expected.isascii() or not expected.isdigit():
            raise DecodeError("outbox", OUTBOX_EXPECTED_HEADER, expected[:40], "a whole number")
        with self._context.engine.begin() as conn:
            count = outbox.resend_from(conn, ESMC, int(expected), self._now())
        self._log.warning("federate.resend", first=int(expected), parcels=count)
        return False

    def _later(self, parcel: Parcel, text: str, retry_after: str | None) -> bool:
        wait_s = min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0 ** min(parcel.attempts, 20)) * _jitter()
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit():
            wait_s = max(wait_s, min(float(retry_after), LONGEST_RETRY_S))
        state = outbox.mark_sent if parcel.state == "sent" else outbox.mark_retry
        told = parcel.last_error.removeprefix("status ") if parcel.state == "sent" else text
        with self._context.engine.begin() as conn:
            state(conn, parcel, told, self._now() + timedelta(seconds=wait_s))
        self._heart.count({"later": 1})
        self._log.warning("federate.later", number=parcel.number, wait_s=round(wait_s, 1), error=text)
        return False

    def _count(self, outcome: str, parcel: Parcel) -> None:
        self._heart.count({outcome: 1})
        self._log.info(f"federate.{outcome}", number=parcel.number, kind=parcel.kind, attempts=parcel.attempts + 1)

    # ── in ───────────────────────────────────────────────────────────────────────────────────────────────────

    def poll(self, stop: threading.Event) -> None:
        """Follow the pages of the advice to their end; what cannot be read is quarantined and named."""
        with self._context.engine.begin() as conn:
            position = inbox.position(conn, ESMC)
        try:
            self._follow(position, stop)
        except (Unreachable, PeerError) as error:
            with self._context.engine.begin() as conn:
                inbox.polled(conn, ESMC, inbox.position(conn, ESMC), self._now(), str(error))
            self._log.warning("federate.poll_failed", error=str(error))

    def _follow(self, position: str, stop: threading.Event) -> None:
        arguments = {"limit": PAGE} | ({"added_after": position} if position else {})
        seen: set[str] = set()
        while True:
            reply = self._peer.get(f"collections/{ADVICE}/objects/", arguments)
            if reply.status != 200:
                raise NotTrusted("answer", "answer to a poll", reply.status, 200)
            page = reply.json()
            position = reply.headers.get("x-taxii-date-added-last", position)
            self._take_in(reply, position, stop)
            token = page.get("next") if page.get("more") else None
            if not isinstance(token, str) or token in seen:
                return
            seen.add(token)
            arguments = arguments | {"next": token}

    def _take_in(self, reply: Reply, position: str, stop: threading.Event) -> None:
        fresh: list[Finding] = []
        with self._context.engine.begin() as conn:
            try:
                reports = read_reports(parse_envelope(reply.body)) if reply.json() else []
            except PeerError as error:
                quarantine.put(conn, "taxii", ESMC, error, reply.body, self._now())
                self._log.error("federate.advice_refused", error=str(error))
                reports = []
            for report in reports:
                fresh += self._take_report(conn, report, reply)
            inbox.polled(conn, ESMC, position, self._now())
            self._untold = self._untold or bool(fresh)
        for finding in fresh:
            self._publish(finding, stop)
        self._untold = False

    def _take_report(self, conn: Connection, report: Report, reply: Reply) -> list[Finding]:
        """Store one alert, answer it, and return the finding it makes here, if any."""
        now, settings = self._now(), self._context.settings
        stubs = [BY_STIX_ID[ref].technique_id for ref in report.object_refs if ref in BY_STIX_ID]
        advice = advice_of(report, stubs[0] if stubs else "", now)
        if not inbox.add(conn, advice, reply.body, reply.token):
            return []
        relevant = concerns(advice, [d.kind for d in devices.all_devices(conn)])
        state = "received" if relevant else "not-applicable"
        outbox.enqueue(conn, ESMC, "ack", None, acknowledgement(settings.site, advice, state, now), now)
        self._heart.count({"advice": 1})
        self._log.info("federate.advice", advice=str(advice.advice_id), members=advice.members, answer=state)
        if not relevant:
            return []
        return findings.add(conn, [finding_of(advice, settings.site, simulated="simulated" in report.labels)])

    def republish(self, stop: threading.Event) -> None:
        """Tell the bus again about advice that no incident holds yet, where telling it may have been broken off."""
        if not self._untold:
            return
        with self._context.engine.begin() as conn:
            loose = findings.without_incident(conn)
        for finding in loose:
            if finding.kind is FindingKind.EUROPEAN_ADVICE:
                self._publish(finding, stop)
        self._untold = False

    def _publish(self, finding: Finding, stop: threading.Event) -> None:
        publish_when_free(self._context.bus, "findings", msgspec.json.encode(finding), stop)

    def _now(self) -> datetime:
        return to_datetime(self._context.clock.now_ns())


def _acknowledged_advice(body: bytes) -> UUID:
    note = next(o for o in json.loads(body)["objects"] if o["type"] == "note")
    return UUID(str(note["x_smc_ack"]["id"]).removeprefix("report--"))


def _jitter() -> float:
    return 0.75 + secrets.randbelow(500) / 1000
