"""A small grid in the store, for pages to show: two feeders, NORM twins, a spoofed clock, a tampered meter, a replay.

Everything here is simulated and says so, except one unit that is marked replayed. Only store functions and nouns.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import structlog
from sqlalchemy import Engine

from host.database import engine as engine_of
from model.advice import Advice
from model.block import METER_COLUMNS, Block, Origin, Schema, phasor_columns
from model.decision import Decision
from model.device import Channel, ChannelKind, Device, DeviceKind, Protocol, Provenance
from model.errors import DecodeError
from model.finding import Evidence, Finding, FindingKind, Severity
from model.ids import stable_id
from model.incident import Incident
from model.marking import Tlp
from model.time import SystemClock, to_datetime, to_ns
from smc import decide, triage
from smc.bus import RedisBus
from smc.context import StageContext
from smc.settings import SmcSettings
from smc.store import advice, decisions, devices, findings, health, outbox, quarantine
from smc.store.ingest import store_block
from trust.accounts import create
from trust.roles import Role

SITE = "DSO-0001"
PASSWORDS = {name: f"{name} opens the test desk" for name in ("anna", "omar", "otto", "axel", "adam")}
ROLES = {"anna": Role.ANALYST, "omar": Role.OPERATOR, "otto": Role.OPERATOR, "axel": Role.AUDITOR, "adam": Role.ADMIN}
CHANNELS = tuple(
    Channel(name, ChannelKind.VOLTAGE if name[0] == "V" else ChannelKind.CURRENT)
    for name in ("VA", "VB", "VC", "IA", "IB", "IC")
)
STAGES: dict[str, dict[str, float]] = {
    "intake": {"frames": 18_004, "readings": 720, "refused": 3},
    "detect": {"blocks": 412, "findings": 3},
    "triage": {"findings": 3, "incidents_opened": 3},
    "decide": {"proposed": 3},
    "act": {"dry_runs": 0},
    "federate": {"sent": 1},
}
UNITS = 4
PMU_SPAN, PMU_STEP_NS = timedelta(minutes=6), 100_000_000
METER_SPAN, METER_STEP_NS = timedelta(minutes=30), 10_000_000_000
TAMPERED, SPOOFED = 1, 2  # numbers of the units under attack
ATTACK = timedelta(minutes=4)  # how long ago both attacks began


def settings(database_url: str, redis_url: str, data: Path) -> SmcSettings:
    """A centre on the test servers, plain http on the loopback."""
    return SmcSettings(
        site=SITE,
        site_name="North",
        country="DE",
        area="DE-BY",
        database_url=database_url,
        redis_url=redis_url,
        data=data,
        simulated=True,
        secure_cookies=False,
        taxii_url="https://127.0.0.1:8443/federation/",
    )


def context(chosen: SmcSettings) -> StageContext:
    """What the desk and the stages get."""
    engine = engine_of(chosen.database_url, "desk", pool_size=8)
    return StageContext(chosen, engine, RedisBus(chosen.redis_url, chosen.site), SystemClock(), structlog.get_logger())


def add_accounts(engine: Engine) -> None:
    """One person per role, with the passwords of this file."""
    with engine.begin() as conn:
        for name, role in ROLES.items():
            create(conn, name, PASSWORDS[name], role, "test", must_change=False)


@dataclass(frozen=True, slots=True)
class Fleet:
    """The enrolled devices, by unit; `replayed` has no meter, `unseen` has never sent anything."""

    meters: tuple[Device, ...]
    pmus: tuple[Device, ...]
    replayed: Device
    unseen: Device


def enrol(engine: Engine) -> Fleet:
    """Enrol the fleet."""
    made = [_meter(n) for n in range(UNITS)] + [_pmu(n) for n in range(UNITS)]
    replayed = Device(
        0,
        "pmu:60:SUBSTATION A",
        DeviceKind.PMU,
        Protocol.C37_118,
        SITE,
        Provenance.REPLAYED,
        channels=CHANNELS,
        feeder="feeder-2",
        gateway="replay",
    )
    unseen = Device(
        0,
        "urn:dev:norm:norm-0099:meter",
        DeviceKind.METER,
        Protocol.SENML_MQTT,
        SITE,
        Provenance.SIMULATED,
        unit="norm-0099",
        feeder="feeder-3",
        gateway="gw-02",
    )
    with engine.begin() as conn:
        found = devices.enrol(conn, [*made, replayed, unseen])
    return Fleet(tuple(found[:UNITS]), tuple(found[UNITS : 2 * UNITS]), found[-2], found[-1])


def _meter(n: int) -> Device:
    return Device(
        0,
        f"urn:dev:norm:norm-{n + 1:04d}:meter",
        DeviceKind.METER,
        Protocol.SENML_MQTT,
        SITE,
        Provenance.SIMULATED,
        unit=f"norm-{n + 1:04d}",
        feeder=f"feeder-{n % 2 + 1}",
        gateway="gw-01",
        vendor="norm twin",
        firmware="1.4.2",
        zone="residential",
    )


def _pmu(n: int) -> Device:
    return Device(
        0,
        f"pmu:{61 + n}:PMU{n + 1}",
        DeviceKind.PMU,
        Protocol.C37_118,
        SITE,
        Provenance.SIMULATED,
        unit=f"norm-{n + 1:04d}",
        feeder=f"feeder-{n % 2 + 1}",
        gateway="pdc-01",
        vendor="norm twin",
        firmware="2.0.1",
        channels=CHANNELS,
    )


def power_w(n: int, time_ns: np.ndarray) -> np.ndarray:
    """True active power of unit `n` at these times."""
    minutes = time_ns / 60e9
    return 900 + 260 * n + 220 * np.sin(minutes / 3 + n) + 60 * np.sin(minutes * 2.1 + n)


@dataclass(frozen=True, slots=True)
class Window:
    """Telemetry of a time, with when the attacks began."""

    start: datetime
    end: datetime
    attacked: datetime

    def times_ns(self, step_ns: int) -> np.ndarray:
        """Multiples of the step in [start, end)."""
        return np.arange(-(-to_ns(self.start) // step_ns), -(-to_ns(self.end) // step_ns)) * step_ns


def add_telemetry(engine: Engine, fleet: Fleet, meters: Window, pmus: Window) -> None:
    """Meter readings and frames of these times."""
    with engine.begin() as conn:
        for n, device in enumerate(fleet.meters):
            store_block(conn, _readings(n, device, meters))
        for n, device in enumerate((*fleet.pmus, fleet.replayed)):
            store_block(conn, _frames(n, device, pmus))


@contextmanager
def going_on(desk: StageContext, fleet: Fleet, began: datetime) -> Iterator[None]:
    """Frames, readings and heartbeats keep coming in while the block runs, as they would from a living grid."""
    stop = threading.Event()
    thread = threading.Thread(target=_go_on, args=(desk, fleet, began, stop), name="world")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)


def _go_on(desk: StageContext, fleet: Fleet, began: datetime, stop: threading.Event) -> None:
    until = began
    while not stop.wait(2.0):
        window = Window(until, to_datetime(desk.clock.now_ns()), began - ATTACK)
        add_telemetry(desk.engine, fleet, window, window)
        until = window.end
        with desk.engine.begin() as conn:
            for stage in STAGES:
                health.beat(conn, stage, STAGES[stage])


def _readings(n: int, device: Device, window: Window) -> Block:
    time_ns = window.times_ns(METER_STEP_NS)
    true_w, noise = power_w(n, time_ns), np.random.default_rng(n)
    told_w = np.where((time_ns > to_ns(window.attacked)) & (n == TAMPERED), 0.55 * true_w, true_w)
    told_w = told_w * (1 + 0.002 * noise.standard_normal(len(time_ns)))
    volts = 230 + 1.2 * np.sin(time_ns / 6e11)[:, None] + 0.2 * noise.standard_normal((len(time_ns), 3))
    columns = {
        "energy_import_wh": time_ns / 3.6e12 * 0.9,
        "energy_export_wh": np.zeros(len(time_ns)),
        "power_w": told_w,
        "reactive_power_var": 0.2 * told_w,
        **{f"voltage_l{i + 1}_v": volts[:, i] for i in range(3)},
        **{f"current_l{i + 1}_a": told_w / 3 / volts[:, i] for i in range(3)},
        "frequency_hz": 50 + 0.01 * np.sin(time_ns / 3e10),
    }
    values = np.stack([columns[name] for name in METER_COLUMNS], axis=1)
    return _block(Schema.METER, METER_COLUMNS, device, time_ns, values, f"smc/{SITE}/{device.unit}/meter", "mqtt")


def _frames(n: int, device: Device, window: Window) -> Block:
    time_ns = window.times_ns(PMU_STEP_NS)
    noise = np.random.default_rng(100 + n)
    since_s = (time_ns - to_ns(window.attacked)) / 1e9
    attack_s = np.clip(since_s, 0, None)
    shared = 0.4 * np.sin(since_s / 40) + 2 * np.pi * 0.002 * since_s  # what the grid does to everybody
    drift = 0.0016 * attack_s if n == SPOOFED else 0.0
    angle = shared + drift + 0.05 * n + 0.0008 * noise.standard_normal(len(time_ns))
    amperes = power_w(n, time_ns) / 3 / 230.0
    values = [50 + 0.002 * np.cos(since_s / 40), 0.00005 * np.sin(since_s / 40)]
    for phase in range(3):
        turned = angle - phase * 2 * np.pi / 3
        values += [230 + 0.3 * noise.standard_normal(len(time_ns)), np.angle(np.exp(1j * turned))]
    for phase in range(3):
        values += [amperes, np.angle(np.exp(1j * (angle - phase * 2 * np.pi / 3)))]
    link = "replay" if device.provenance is Provenance.REPLAYED else "c37.118"
    columns = phasor_columns(6)
    return _block(Schema.PHASOR, columns, device, time_ns, np.stack(values, axis=1), "127.0.0.1:4712/61", link)


def _block(
    schema: Schema,
    columns: tuple[str, ...],
    device: Device,
    time_ns: np.ndarray,
    values: np.ndarray,
    peer: str,
    link: str,
) -> Block:
    rows = len(time_ns)
    return Block(
        schema,
        columns,
        Origin(link, peer, device.provenance),
        np.full(rows, device.index, np.int32),
        time_ns.astype(np.int64),
        time_ns.astype(np.int64) + 40_000_000,
        np.full(rows, 1_000, np.int64),
        np.arange(rows, dtype=np.int64),
        np.zeros(rows, np.uint32),
        values,
    )


def tampered(fleet: Fleet, now: datetime) -> Finding:
    """Meter against PMU of the tampered unit."""
    meter, pmu = fleet.meters[TAMPERED], fleet.pmus[TAMPERED]
    time_ns = np.array([to_ns(now - ATTACK / 2)])
    true_w = float(power_w(TAMPERED, time_ns)[0])
    return Finding(
        stable_id("finding", SITE, "tamper", meter.name, now.isoformat()),
        SITE,
        FindingKind.METER_TAMPER,
        "power-residual",
        "1",
        (meter.index, pmu.index),
        now - ATTACK,
        now - timedelta(seconds=20),
        Severity.HIGH,
        7.4,
        0.9991,
        f"Meter of {meter.unit} tells 45 % less than the PMU at the same terminals",
        "The meter registers a mean of 641 W while the phasors of the same terminals give 1.17 kW; both instruments"
        " agreed within 0.4 % until the step. Voltages agree, so the current path or the register is changed.",
        (
            Evidence("power_w", 0.55 * true_w, true_w, 0.97 * true_w, 1.03 * true_w, "W", 0.82),
            Evidence("current_l1_a", 0.93, 1.69, 1.62, 1.76, "A", 0.18),
        ),
        ("sealed register of the metrology",),
        (
            "register or current path manipulated",
            "broken current transformer",
            "load behind the PMU only, after rewiring",
        ),
        "T0856",
        Provenance.SIMULATED,
    )


def spoofed(fleet: Fleet, now: datetime) -> Finding:
    """Phasors of one unit turn against all neighbours."""
    pmu = fleet.pmus[SPOOFED]
    return Finding(
        stable_id("finding", SITE, "clock", pmu.name, now.isoformat()),
        SITE,
        FindingKind.CLOCK_ATTACK,
        "phase-drift",
        "1",
        (pmu.index,),
        now - ATTACK,
        now - timedelta(seconds=5),
        Severity.CRITICAL,
        11.8,
        0.9999,
        f"Clock of {pmu.name} drifts away from all neighbours",
        "The angles of this unit turn by 1.6 mrad/s against the median of 4 neighbours, 5.1 µs of clock each second,"
        " while its magnitudes and its frequency stay with them. A grid event would turn the neighbours too.",
        (
            Evidence("clock_drift_us", 1_222.0, 0.0, -40.0, 40.0, "µs", 0.9),
            Evidence("frequency_hz", 50.0003, 50.0001, 49.999, 50.001, "Hz", 0.1),
        ),
        ("time quality of the receiver (the unit sends none)",),
        ("satellite time spoofed", "receiver in hold-over without saying so", "leap second handled wrongly"),
        "",
        Provenance.SIMULATED,
    )


def idle(fleet: Fleet, now: datetime) -> Finding:
    """The replayed unit tells a frozen value."""
    return Finding(
        stable_id("finding", SITE, "quality", fleet.replayed.name, now.isoformat()),
        SITE,
        FindingKind.DATA_QUALITY,
        "freeze",
        "1",
        (fleet.replayed.index,),
        now - timedelta(minutes=2),
        now - timedelta(minutes=1),
        Severity.LOW,
        1.6,
        0.93,
        f"Frequency of {fleet.replayed.name} does not move",
        "The frequency holds one value for 60 s within 0.1 mHz; a grid's frequency moves by 5 to 40 mHz in that time.",
        (Evidence("frequency_hz", 50.0, 50.01, 49.96, 50.04, "Hz", 1.0),),
        (),
        ("unit idle or on test", "constant substituted by a concentrator"),
        "",
        Provenance.REPLAYED,
    )


def raise_finding(desk: StageContext, finding: Finding) -> Incident:
    """Store, group and propose, as the stages do; no message is sent."""
    with desk.engine.begin() as conn:
        findings.add(conn, [finding])
    incident, _ = triage.group(desk, finding)
    decide.propose(desk, incident.incident_id)
    return incident


def proposal_of(desk: StageContext, incident: Incident) -> Decision:
    """The decision that waits at an incident."""
    with desk.engine.connect() as conn:
        return decisions.of_incident(conn, incident.incident_id)[0]


def add_flow(engine: Engine, now: datetime, incident: Incident) -> None:
    """Stages that beat, messages refused, a parcel for Europe, and an alert from there."""
    with engine.begin() as conn:
        for stage, counted in STAGES.items():
            health.start(conn, stage)
            health.beat(conn, stage, counted)
        for n, error in enumerate(
            (
                DecodeError("crc", "CHK of a C37.118 frame", "0x1234", "0x29b1"),
                DecodeError("truncated", "length of a C37.118 frame", 14, ">= 16 bytes"),
                DecodeError("json", "SenML pack", "{broken", "a JSON array of records"),
            )
        ):
            data = bytes.fromhex("aa01002a003d4a2b1c00") + bytes(range(40 + n * 60)) + b"PMU1            "
            for _ in range(n + 1):
                quarantine.put(conn, "mqtt" if n == 2 else "c37.118", "127.0.0.1:4712", error, data, now)
        body = b'{"type":"bundle","id":"bundle--1f0c2f6e-9f57-4c25-8f0e-3f4a2c1b7d90","objects":[]}'
        outbox.enqueue(conn, "esmc", "incident", incident.incident_id, body, now)
        advice.add(conn, _alert(now), b"{}", "token")


def _alert(now: datetime) -> Advice:
    return Advice(
        stable_id("advice", "ESMC", "clock"),
        "Clock attacks on phasor units in two member grids",
        "Two members see phasor units whose angles turn against their neighbours by 1 to 2 mrad/s. Check the time"
        " source of units with the same receiver; compare angles, not time quality flags.",
        FindingKind.CLOCK_ATTACK,
        Severity.HIGH,
        "",
        2,
        now - timedelta(minutes=9),
        now - timedelta(minutes=2),
        Tlp.AMBER,
        now - timedelta(minutes=1),
    )


@dataclass(frozen=True, slots=True)
class World:
    """What `fill` made: the fleet, the moment, and the incidents: frozen (low), tampered (high), spoofed (critical)."""

    fleet: Fleet
    began: datetime
    incidents: tuple[Incident, ...]


def found_grid(desk: StageContext) -> tuple[Fleet, datetime]:
    """Accounts, fleet and telemetry up to now; nothing found yet."""
    now = to_datetime(desk.clock.now_ns())
    add_accounts(desk.engine)
    fleet = enrol(desk.engine)
    add_telemetry(
        desk.engine, fleet, Window(now - METER_SPAN, now, now - ATTACK), Window(now - PMU_SPAN, now, now - ATTACK)
    )
    return fleet, now


def fill(desk: StageContext) -> World:
    """The whole world: grid, three incidents, flow."""
    fleet, now = found_grid(desk)
    raised = tuple(raise_finding(desk, make(fleet, now)) for make in (idle, tampered, spoofed))
    add_flow(desk.engine, now, raised[-1])
    return World(fleet, now, raised)
