"""Run one stage of a centre: settings → engine, bus, log → the stage, until SIGTERM or SIGINT."""

from __future__ import annotations

import importlib
import signal
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from host.database import downgrade, engine, migrate
from host.log import configure, logger
from host.settings import load
from model.errors import SettingsError, SetupError
from model.time import SystemClock

if TYPE_CHECKING:
    from esmc.context import EsmcContext
    from smc.context import StageContext

# Which module runs which stage; `stages` runs those of TOGETHER as threads of one process.
SMC_MODULES = {
    "intake": "smc.gateway.intake",
    "store": "smc.persist",
    "detect": "smc.detect",
    "triage": "smc.triage",
    "decide": "smc.decide",
    "act": "smc.act",
    "federate": "smc.federate",
    "keep": "smc.keep",
}
TOGETHER = ("triage", "decide", "act", "federate", "keep")


def migrate_centre(centre: str, environment: Mapping[str, str], back_to: str = "") -> int:
    """Bring DATABASE_URL to the newest schema of `centre`, or back to an older revision."""
    url = environment.get("DATABASE_URL", "")
    if not url:
        raise SettingsError("setting", "DATABASE_URL", "the URL of a database", "set DATABASE_URL and start again")
    if back_to:
        downgrade(url, centre, back_to)
    else:
        migrate(url, centre)
    print(f"migrate: the {centre} schema is present" + (f" as of {back_to}" if back_to else ""))
    return 0


def run_smc(stage: str, environment: Mapping[str, str]) -> int:
    """One stage of an operator's centre in this process."""
    context = smc_context(stage, environment)
    stop = stop_on_signal()
    if stage == "desk":
        return _serve_smc_desk(context)
    _serve_metrics(context.settings.metrics_port)
    if stage != "stages":
        _runner(stage)(context, stop)
        return 0
    return _run_together({name: _runner(name) for name in TOGETHER}, context, stop)


def run_esmc(stage: str, environment: Mapping[str, str]) -> int:
    """One part of the pan-European centre in this process."""
    context = esmc_context(stage, environment)
    if stage == "taxii":
        from esmc.serve import taxii_serve

        taxii_serve(context.settings, context.engine, context.clock)
    elif stage == "correlate":
        from esmc.correlate import run

        run(context, stop_on_signal())
    else:
        from esmc.views.app import desk_app
        from web.serve import serve

        serve(desk_app(context), context.settings.listen_host, context.settings.listen_port)
    return 0


def smc_context(stage: str, environment: Mapping[str, str]) -> StageContext:
    """Everything a stage of the operator's centre needs."""
    from smc.bus import RedisBus
    from smc.context import StageContext
    from smc.settings import SmcSettings

    settings = load(SmcSettings, "SMC", environment)
    configure(f"smc.{stage}", settings.site)
    return StageContext(
        settings,
        engine(settings.database_url, f"smc.{stage}"),
        RedisBus(settings.redis_url, prefix=settings.site),
        SystemClock(),
        logger(),
    )


def esmc_context(stage: str, environment: Mapping[str, str]) -> EsmcContext:
    """Everything a part of the pan-European centre needs."""
    from esmc.context import EsmcContext
    from esmc.settings import EsmcSettings

    settings = load(EsmcSettings, "ESMC", environment)
    configure(f"esmc.{stage}", "ESMC")
    return EsmcContext(settings, engine(settings.database_url, f"esmc.{stage}"), SystemClock(), logger())


def stop_on_signal() -> threading.Event:
    """An event that SIGTERM and SIGINT set, so that a stage ends between two messages."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _runner(stage: str) -> Callable[[StageContext, threading.Event], None]:
    run: Callable[[StageContext, threading.Event], None] = importlib.import_module(SMC_MODULES[stage]).run
    return run


def _run_together(
    runners: Mapping[str, Callable[[StageContext, threading.Event], None]],
    context: StageContext,
    stop: threading.Event,
) -> int:
    """Run stages as threads. The first that fails ends the process, so that the supervisor starts all again."""
    failures: list[BaseException] = []

    def guarded(name: str, run: Callable[[StageContext, threading.Event], None]) -> None:
        try:
            run(context, stop)
        except BaseException as error:
            context.log.exception("stages.stage_failed", stage=name)
            failures.append(error)
            stop.set()

    threads = [threading.Thread(target=guarded, args=item, name=item[0]) for item in runners.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return 0


def _serve_smc_desk(context: StageContext) -> int:
    from smc.views.app import desk_app
    from web.serve import serve

    serve(desk_app(context), context.settings.listen_host, context.settings.listen_port)
    return 0


def _serve_metrics(port: int) -> None:
    if not port:
        return
    from prometheus_client import start_http_server

    try:
        start_http_server(port, addr="127.0.0.1")
    except OSError as error:
        raise SetupError("SMC_METRICS_PORT", port, "a free loopback port", f"choose another port ({error})") from error
