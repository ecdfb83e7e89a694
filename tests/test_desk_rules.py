"""Every route and callback of both desks has a rule; one without stops the desk, and with it this check.

No server is asked: a desk is judged when it is built.
"""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from dash import Input, Output

import esmc.views.app
import smc.views.app
from esmc.context import EsmcContext
from esmc.settings import EsmcSettings
from host.database import engine
from host.log import logger
from model.time import SystemClock
from smc.bus import MemoryBus
from smc.context import StageContext
from smc.settings import SmcSettings
from web.frame import Frame
from web.registry import NoRule

URL = "postgresql://grid@/none?host=/nowhere"


def smc_desk() -> Frame:
    settings = SmcSettings(site="DSO-0001", country="DE", area="DE-BY", database_url=URL, redis_url="unix:///nowhere")
    made = engine(settings.database_url, "rules")
    return smc.views.app.desk_frame(StageContext(settings, made, MemoryBus(), SystemClock(), logger()))


def esmc_desk() -> Frame:
    file = Path("nowhere")
    settings = EsmcSettings(database_url=URL, taxii_ca_file=file, taxii_certificate_file=file, signing_key_file=file)
    return esmc.views.app.desk_frame(EsmcContext(settings, engine(URL, "rules"), SystemClock(), logger()))


DESKS = [pytest.param(smc_desk, smc.views.app, id="smc"), pytest.param(esmc_desk, esmc.views.app, id="esmc")]


@pytest.mark.parametrize(("desk", "module"), DESKS)
def test_every_route_and_callback_has_a_rule(desk: Callable[[], Frame], module: ModuleType) -> None:
    assert len(module.PAGES) > 3
    assert len(list(desk().server.url_map.iter_rules())) > 5


def add_route(app: Any) -> None:
    app.app.server.add_url_rule("/stray", "stray", lambda: "stray")


def add_callback(app: Any) -> None:
    app.app.callback(Output("stray", "children"), Input("b", "children"))(lambda b: b)


@pytest.mark.parametrize("stray", [add_route, add_callback])
@pytest.mark.parametrize(("desk", "module"), DESKS)
def test_one_without_a_rule_stops_the_desk(
    desk: Callable[[], Frame], module: ModuleType, stray: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = module.PAGES

    def register(app: Any, queries: Any) -> None:
        first.register(app, queries)
        stray(app)

    weak = SimpleNamespace(**{**vars(first), "register": register})
    monkeypatch.setattr(module, "PAGES", (weak, *others))
    with pytest.raises(NoRule, match="stray"):
        desk()
