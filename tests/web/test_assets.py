"""Nothing leaves the machine: no asset, no page, no figure names another host; every part has its licence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import dash_ag_grid as dag
import pytest
from flask.testing import FlaskClient

from tests.web.conftest import HTML
from web import parts
from web.frame import ASSETS, create

OURS = sorted(path for path in ASSETS.rglob("*") if path.suffix in {".js", ".css", ".svg", ".html"})
NAMESPACES = {"http://www.w3.org/2000/svg"}
URL_TEXT = re.compile(r"(?:https?:)?//[a-zA-Z0-9][\w.-]*\.[a-z]{2,}[^\s\"')<]*")


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_asset_names_another_host(path: Path) -> None:
    assert set(URL_TEXT.findall(path.read_text("utf-8"))) <= NAMESPACES


def test_no_page_names_another_host(sign_in: Callable[[str], FlaskClient]) -> None:
    client = sign_in("operator")
    for path in ("/", "/_dash-layout", "/_dash-dependencies"):
        assert set(URL_TEXT.findall(client.get(path, headers=HTML).text)) == set(), path


def test_every_script_of_the_page_is_ours_and_there(sign_in: Callable[[str], FlaskClient]) -> None:
    client = sign_in("operator")
    page = client.get("/", headers=HTML).text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any("package_data/plotly" in source for source in sources)
    assert page.index("package_data/plotly") < page.index("a_plotly.js")
    for source in sources:
        assert source.startswith("/"), source
        assert client.get(source).status_code == 200, source


def test_first_load_is_within_its_budget(sign_in: Callable[[str], FlaskClient]) -> None:
    client = sign_in("operator")
    page = client.get("/", headers=HTML).text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    sizes = {s: len(client.get(s, headers={"Accept-Encoding": "br"}).data) for s in sources}
    again = {s: len(client.get(s, headers={"Accept-Encoding": "br"}).data) for s in sources}
    assert sizes == again  # the kept answer is the same
    assert sum(sizes.values()) <= 3 * 1024 * 1024, sizes


def test_kept_scripts_are_only_for_people_signed_in(sign_in: Callable[[str], FlaskClient]) -> None:
    client = sign_in("operator")
    page = client.get("/", headers=HTML).text
    script = next(s for s in re.findall(r'src="([^"]+)"', page) if "_dash-component-suites" in s)
    assert client.get(script, headers={"Accept-Encoding": "br"}).status_code == 200
    assert client.application.test_client().get(script, headers={"Accept-Encoding": "br"}).status_code == 401


def test_debug_mcp_and_enterprise_are_off(monkeypatch: pytest.MonkeyPatch, frame) -> None:  # type: ignore[no-untyped-def]
    assert not frame.server.debug
    assert not frame.dash._dev_tools.ui
    assert not frame.dash._enable_mcp
    monkeypatch.setenv("DASH_MCP_ENABLED", "true")
    with pytest.raises(Exception, match="DASH_MCP_ENABLED"):
        create("x", "x", [], frame.server.extensions["engine"], frame.gate, None)  # type: ignore[arg-type]
    sources = [p.read_text("utf-8") for room in ("web", "smc/views", "esmc/views") for p in Path(room).rglob("*.py")]
    assert "enableEnterpriseModules" in dag.AgGrid().available_properties
    assert not any("enableEnterpriseModules" in source for source in sources)


def test_every_icon_that_parts_use_is_there() -> None:
    names = [*parts.SEVERITY_ICONS.values(), *parts.PROVENANCE_ICONS.values(), *parts.STEP_ICONS.values()]
    for name in names:
        assert (ASSETS / "icons" / f"{name}.svg").is_file(), name


def test_licences_travel_along() -> None:
    for name in ("icons", "fonts/inter", "fonts/jetbrains-mono", "europe"):
        found = list(ASSETS.glob(f"{name}*LICENSE.txt")) + list((ASSETS / name).glob("LICENSE.txt"))
        assert found, name
        assert found[0].stat().st_size > 500


def test_the_map_has_its_countries() -> None:
    shapes = json.loads((ASSETS / "europe.geojson").read_bytes())["features"]
    assert {"DE", "FR", "CY", "UA", "XK", "TR"} <= {shape["id"] for shape in shapes}
