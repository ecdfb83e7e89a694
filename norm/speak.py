"""The software NORMs of one site as a program: concentrator and meters speak until they are told to stop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import structlog

from model.errors import SetupError
from model.time import NS_PER_S, iso_utc, to_datetime
from norm.fleet import Fleet
from norm.inventory import inventory
from norm.pdc import Concentrator
from norm.publish import MeterPublisher
from norm.scenario import ground_truth, parse_scenarios

_STOP_POLL_S = 0.1
_REPORT_S = 30.0
_MAX_UNITS = 400  # of one stream: the configuration must fit a frame

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class NormOptions:
    """What `python app.py norm` can be told."""

    site: str
    units: int = 24
    seed: int = 1
    scenario: str = ""  # as norm.scenario.parse_scenarios reads it
    scenario_start_ns: int = 0  # 0: when the program starts; give the old one to continue after a restart
    pmu_host: str = "127.0.0.1"
    pmu_port: int = 0  # 0: chosen by the system, told in the state file
    frames_per_s: int = 10
    idcode: int = 1
    mqtt: str = ""  # host:port of the broker; empty: no meters
    mqtt_user: str = ""
    mqtt_password_file: Path | None = None
    meter_period_s: float = 2.0
    inventory_file: Path | None = None  # list of devices as JSON, written before anything listens
    truth_file: Path | None = None  # ground truth for the scorer
    state_file: Path | None = None  # address and counters as JSON, written when listening and at the end


def run(options: NormOptions, stop: threading.Event) -> None:
    """Speak until `stop` is set. Raises SetupError for options that cannot be met."""
    start_ns = options.scenario_start_ns or time.time_ns()
    _check(options)
    injections = parse_scenarios(options.scenario, start_ns, options.units)
    fleet = Fleet(options.seed, options.site, options.units, injections)
    if options.inventory_file is not None:
        _write(options.inventory_file, msgspec.json.format(msgspec.json.encode(inventory(fleet))))
    if options.truth_file is not None:
        _write(options.truth_file, ground_truth(fleet.site, fleet.seed, fleet.names, injections).encode())
    asyncio.run(_speak(options, fleet, start_ns, stop))


def _check(options: NormOptions) -> None:
    if not 1 <= options.units <= _MAX_UNITS:
        raise SetupError("number of units", options.units, f"1 to {_MAX_UNITS}", "start more sites for more units")
    if not 1 <= options.frames_per_s <= 100:
        raise SetupError("frames per second", options.frames_per_s, "1 to 100", "change it")
    host, _, port = options.mqtt.rpartition(":")
    if options.mqtt and not (host and port.isdigit()):
        raise SetupError("MQTT broker", options.mqtt, "host:port", "correct it")
    if not options.meter_period_s >= 1.0:
        raise SetupError("seconds between readings", options.meter_period_s, ">= 1", "change it")


async def _speak(options: NormOptions, fleet: Fleet, start_ns: int, stop: threading.Event) -> None:
    fleet.meter_samples(time.time_ns())  # sum the registers up before anybody waits for us
    concentrator = Concentrator(fleet, options.idcode, options.frames_per_s)
    publisher = MeterPublisher(fleet, options.meter_period_s) if options.mqtt else None
    port = await concentrator.listen(options.pmu_host, options.pmu_port)
    state = _State(options, start_ns, port, concentrator, publisher)
    state.write()
    log.info("norm.speaking", site=options.site, units=options.units, pmu_port=port, scenario=options.scenario)
    jobs: list[Coroutine[Any, Any, None]] = [concentrator.send_forever(), _report(state), _wait_for(stop)]
    if publisher is not None:
        jobs.append(_publish(publisher, options))
    tasks = [asyncio.ensure_future(job) for job in jobs]
    done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    await concentrator.close()
    if publisher is not None:
        await publisher.close()
    state.write()
    log.info("norm.stopped", site=options.site, **state.counters())
    for task in done:
        task.result()


async def _wait_for(stop: threading.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(_STOP_POLL_S)


async def _publish(publisher: MeterPublisher, options: NormOptions) -> None:
    host, _, port = options.mqtt.rpartition(":")
    password = _password(options.mqtt_password_file)
    sampling = asyncio.ensure_future(publisher.sample_forever())
    try:
        await publisher.connect(host, int(port), options.mqtt_user, password)
        await asyncio.gather(sampling, publisher.send_forever())
    finally:
        sampling.cancel()


def _password(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text().strip()
    except OSError as error:
        raise SetupError("MQTT password file", str(path), "a file that can be read", str(error)) from error


async def _report(state: _State) -> None:
    while True:
        await asyncio.sleep(_REPORT_S)
        log.info("norm.counters", site=state.options.site, **state.counters())


@dataclass(frozen=True, slots=True)
class _State:
    options: NormOptions
    start_ns: int
    port: int
    concentrator: Concentrator
    publisher: MeterPublisher | None

    def counters(self) -> dict[str, int]:
        """What was sent so far."""
        counts = {"frames_sent": self.concentrator.frames_sent}
        if self.publisher is not None:
            counts |= {
                "packs_sampled": self.publisher.sampled,
                "packs_acknowledged": self.publisher.acknowledged,
                "packs_unsent": self.publisher.unsent,
                "packs_dropped": self.publisher.dropped,
            }
        return counts

    def write(self) -> None:
        """Write the state file, if one was asked for."""
        if self.options.state_file is None:
            return
        state = {
            "site": self.options.site,
            "simulated": True,
            "pmu": f"{self.options.pmu_host}:{self.port}/{self.options.idcode}",
            "scenario_start": iso_utc(to_datetime(self.start_ns // NS_PER_S * NS_PER_S)),
            "scenario_start_ns": self.start_ns,
            **self.counters(),
        }
        _write(self.options.state_file, json.dumps(state, indent=2).encode())


def _write(path: Path, data: bytes) -> None:
    """Write a whole file or nothing: a reader never sees half of it."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        raise SetupError("file", str(path), "a place that can be written", str(error)) from error
