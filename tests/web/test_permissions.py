"""Every route × role × trick of the path; every callback × role; every malformed body. Deny by default."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import dash
import pytest
from dash import Input, Output, html
from flask.testing import FlaskClient
from sqlalchemy import Engine
from werkzeug.test import TestResponse

from host.database import migrate
from host.postgres import Postgres
from model.ids import new_id
from tests.web.conftest import HTML, peopled, signed_in
from tests.web.sample import PAGES, Settings, nothing, sample
from trust.roles import PERMISSIONS, Action, Role
from web import Page
from web.frame import Frame, create
from web.gate import CSRF_HEADER, FIXED
from web.registry import NoRule

SignIn = Callable[[str], FlaskClient]
PUBLIC = {"/sign-in", "/health", "/_favicon.ico"}  # reviewed: everything else asks who is there; and the assets below
PUBLIC_KINDS = {".css", ".js", ".svg", ".woff2", ".txt", ".geojson", ".md"}
STREAM = "/live"  # does not end by itself: tests/web/test_live.py
OPEN_PATHS = sorted((set(FIXED) | {m.PAGE.path for m in PAGES}) - {STREAM})


@pytest.fixture(scope="module")
def engine(postgres_embedded: Postgres) -> Iterator[Engine]:
    """One database for the whole walk: nothing here changes what another test sees."""
    name = f"test_{new_id().hex}"
    url = postgres_embedded.create_database(name)
    migrate(url, "smc")
    yield from peopled(url)
    postgres_embedded.drop_database(name)


@pytest.fixture(scope="module")
def frame(engine: Engine) -> Frame:
    return sample(engine)


@pytest.fixture(scope="module")
def sign_in(frame: Frame) -> SignIn:
    return cache(lambda role: signed_in(frame, role))


def tricks(path: str) -> list[str]:
    """The same path spelled so that a careless check lets it through."""
    name = path.lstrip("/")
    made = [
        "/" + path,
        "/./" + name,
        "/x/../" + name,
        path.upper(),
        "/%2f" + name,
        "/%2e/" + name,
        path + "/",
        path + "//",
        path + "/.",
        path + ";x=1",
        path + "%00",
        path + "%20",
        "/%5c" + name,
        "/assets/.." + path,
        "/assets/%2e%2e" + path,
        "/_dash-component-suites/.." + path,
        "/sign-in/.." + path,
    ]
    return [trick for trick in made if trick != path]


def raw(client: FlaskClient, target: str, headers: dict[str, str] | None = None) -> TestResponse:
    """GET a request target as it stands, as a server hands it on: decoded in PATH_INFO, raw beside it."""
    return client.get("/", headers=headers, environ_overrides={"PATH_INFO": unquote(target), "RAW_URI": target})


def test_only_the_reviewed_paths_are_public(frame: Frame) -> None:
    public = {path for path, rule in frame.gate.rules.items() if rule.action is None}
    assets = {path for path in public if path.startswith("/assets/")}
    assert public - assets == PUBLIC
    assert {"." + path.rpartition(".")[2] for path in assets} <= PUBLIC_KINDS


@pytest.mark.parametrize("path", OPEN_PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_a_stranger_gets_nothing(frame: Frame, path: str, method: str) -> None:
    answer = frame.server.test_client().open(path, method=method)
    if path in PUBLIC:
        assert answer.status_code in {200, 403, 405}  # 403: the form without its token
    else:
        assert answer.status_code == 401


@pytest.mark.parametrize("path", OPEN_PATHS)
def test_a_stranger_gets_nothing_by_tricks_either(frame: Frame, path: str) -> None:
    client = frame.server.test_client()
    for trick in tricks(path):
        assert raw(client, trick).status_code == 401, trick
        assert raw(client, trick, HTML).status_code == 303, trick


@pytest.mark.parametrize("role", Role)
def test_every_page_opens_for_the_roles_of_the_table_and_no_other(sign_in: SignIn, role: Role) -> None:
    client = sign_in(role.value)
    for module in PAGES:
        granted = module.PAGE.action in PERMISSIONS[role]
        assert client.get(module.PAGE.path, headers=HTML).status_code == (200 if granted else 403), module.PAGE.path
        for trick in tricks(module.PAGE.path):
            assert raw(client, trick, HTML).status_code == 404, trick


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_pages_and_data_take_no_other_method(sign_in: SignIn, method: str) -> None:
    client = sign_in("operator")
    for path in ("/", "/list", "/_dash-layout", "/_dash-dependencies", "/live/versions", "/assets/frame.css"):
        assert client.open(path, method=method).status_code == 405, path


def test_unknown_paths_answer_404_to_people_and_401_to_strangers(frame: Frame, sign_in: SignIn) -> None:
    client = sign_in("operator")
    for path in ("/nothing", "/_reload-hash", "/_alive", "/_mcp", "/mcp", "/assets/none.css", "/assets/", "/static/x"):
        assert client.get(path).status_code == 404, path
        assert frame.server.test_client().get(path).status_code == 401, path
    for path in ("/_dash-component-suites/os/environ", "/_dash-component-suites/dash/../../etc/passwd"):
        assert client.get(path).status_code == 404, path
        assert frame.server.test_client().get(path).status_code == 401, path


def body(output: str, inputs: list[dict[str, Any]], outputs: Any = None) -> dict[str, Any]:
    """What the browser sends for one callback."""
    shown = outputs or {"id": output.rpartition(".")[0], "property": output.rpartition(".")[2]}
    return {"output": output, "outputs": shown, "inputs": inputs, "changedPropIds": ["queue.selectedRows"], "state": []}


PICK = body("picked.children", [{"id": "queue", "property": "selectedRows", "value": [{"case": "a"}]}])


def csrf(frame: Frame, client: FlaskClient) -> dict[str, str]:
    cookie = client.get_cookie(frame.gate.csrf_cookie)
    assert cookie is not None
    return {CSRF_HEADER: cookie.value}


@pytest.mark.parametrize("role", Role)
def test_every_callback_answers_the_roles_of_the_table_and_no_other(frame: Frame, sign_in: SignIn, role: Role) -> None:
    client = sign_in(role.value)
    answer = client.post("/_dash-update-component", json=PICK, headers=csrf(frame, client))
    if Action.TRIAGE_INCIDENT in PERMISSIONS[role]:
        assert answer.status_code == 200
        assert answer.json["response"]["picked"]["children"] == "['a']"
    else:
        assert answer.status_code == 403


def test_every_callback_of_the_frame_has_a_right_and_asks_for_it_again(engine: Engine) -> None:
    frame = sample(engine)
    assert set(frame.dash.callback_map) <= set(frame.registry.rights)
    frame.gate.callbacks = dict.fromkeys(frame.registry.rights, Action.OWN_SESSION)  # the door taken off its hinges
    client = signed_in(frame, "admin")
    answer = client.post("/_dash-update-component", json=PICK, headers=csrf(frame, client))
    assert answer.status_code == 403


def test_the_page_inside_the_frame_is_refused_too(frame: Frame, sign_in: SignIn) -> None:
    client = sign_in("operator")
    outputs = [{"id": "frame-content", "property": "children"}, {"id": "frame-shown", "property": "data"}]
    sent = {
        "output": "..frame-content.children...frame-shown.data..",
        "outputs": outputs,
        "inputs": [
            {"id": "url", "property": "pathname", "value": "/accounts"},
            {"id": "url", "property": "search", "value": ""},
        ],
        "changedPropIds": ["url.pathname"],
        "state": [{"id": "frame-shown", "property": "data", "value": None}],
    }
    answer = client.post("/_dash-update-component", json=sent, headers=csrf(frame, client))
    assert answer.status_code == 200
    assert "Your role may not see this" in answer.text
    as_admin = sign_in("admin")
    failed = as_admin.post("/_dash-update-component", json=sent, headers=csrf(frame, as_admin))
    assert "This could not be shown" in failed.text
    assert "a page that fails" not in failed.text
    assert "Traceback" not in failed.text


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"0",
        b'"x"',
        b"{}",
        b"[" * 100_000,
        b'{"output":' + b"[" * 5_000,
        json.dumps({"output": "picked.children"}).encode(),
        json.dumps(PICK | {"output": None}).encode(),
        json.dumps(PICK | {"output": "nothing.children"}).encode(),
        json.dumps(PICK | {"inputs": None}).encode(),
        json.dumps(PICK | {"inputs": [None]}).encode(),
        json.dumps(PICK | {"inputs": ["x", 1]}).encode(),
        json.dumps(PICK | {"inputs": [[[]]]}).encode(),
        json.dumps(PICK | {"state": {"a": 1}}).encode(),
        json.dumps(PICK | {"outputs": 1}).encode(),
        json.dumps(PICK | {"outputs": [None]}).encode(),
        json.dumps(PICK | {"changedPropIds": 1}).encode(),
        json.dumps(PICK | {"changedPropIds": [None]}).encode(),
        json.dumps(PICK).encode().replace(b'"a"', b"NaN"),
        json.dumps(PICK).encode().replace(b'"a"', b"[" * 60 + b"]" * 60),
        b"\xff\xfe\x00",
        b"\x00" * 1000,
    ],
    ids=lambda data: repr(data[:60]),
)
def test_malformed_bodies_answer_400_without_trace(frame: Frame, sign_in: SignIn, data: bytes) -> None:
    client = sign_in("operator")
    headers = csrf(frame, client) | {"Content-Type": "application/json"}
    answer = client.post("/_dash-update-component", data=data, headers=headers)
    assert answer.status_code == 400
    for leak in ("Traceback", "File ", "dash.py", "Error:"):
        assert leak not in answer.text


def test_bodies_of_another_kind_or_size_are_refused(frame: Frame, sign_in: SignIn) -> None:
    client = sign_in("operator")
    token = csrf(frame, client)
    path = "/_dash-update-component"
    assert client.post(path, data=json.dumps(PICK), headers=token).status_code == 415
    assert client.post(path, data={"output": "x"}, headers=token).status_code == 415
    big = json.dumps(PICK | {"inputs": ["x" * (2 << 20)]})
    assert client.post(path, data=big, headers=token, content_type="application/json").status_code == 413


@pytest.mark.parametrize("token", [None, "", "x", "a" * 43])
def test_a_foreign_page_cannot_post(frame: Frame, sign_in: SignIn, token: str | None) -> None:
    client = sign_in("operator")
    headers = {} if token is None else {CSRF_HEADER: token}
    assert client.post("/_dash-update-component", json=PICK, headers=headers).status_code == 403
    assert client.post("/sign-out", data={} if token is None else {"csrf": token}).status_code == 403
    for site in ("cross-site", "same-site"):
        good = csrf(frame, client) | {"Sec-Fetch-Site": site}
        assert client.post("/_dash-update-component", json=PICK, headers=good).status_code == 403
    assert client.get("/live/versions").status_code == 200  # still signed in


def test_a_callback_past_the_registry_stops_the_start(engine: Engine) -> None:
    def stray(app: Any, _queries: Any) -> None:
        app.app.callback(Output("a", "children"), Input("b", "children"))(lambda b: b)

    with pytest.raises(NoRule, match=r"a\.children"):
        _with(engine, stray)


def test_a_global_callback_stops_the_start_too(engine: Engine) -> None:
    def stray(_app: Any, _queries: Any) -> None:
        dash.callback(Output("globally", "children"), Input("b", "children"))(lambda b: b)

    try:
        with pytest.raises(NoRule, match="globally"):
            _with(engine, stray)
    finally:
        dash._callback.GLOBAL_CALLBACK_LIST.clear()
        dash._callback.GLOBAL_CALLBACK_MAP.clear()


def test_a_route_without_a_rule_stops_the_start(engine: Engine) -> None:
    def stray(app: Any, _queries: Any) -> None:
        app.app.server.add_url_rule("/secret", "secret", lambda: "secret")

    with pytest.raises(NoRule, match="/secret"):
        _with(engine, stray)


def test_a_route_added_later_is_refused_all_the_same(engine: Engine) -> None:
    frame = sample(engine)
    frame.server.add_url_rule("/later", "later", lambda: "secret")
    assert frame.server.test_client().get("/later").status_code == 401
    assert signed_in(frame, "operator").get("/later").status_code == 404


def test_two_pages_at_one_path_stop_the_start(engine: Engine) -> None:
    with pytest.raises(ValueError, match="two pages"):
        _with(engine, nothing, path="/sign-in")


def _with(engine: Engine, register: Callable[[Any, Any], None], path: str = "/") -> Frame:
    page = SimpleNamespace(
        PAGE=Page(path, "Page", "map", Action.SEE_OVERVIEW), layout=lambda *_: html.Div(), register=register
    )
    return create("Stray", "STRAY", [page], engine, Settings(), None)


def test_every_dash_route_has_a_rule_in_the_walk(frame: Frame) -> None:
    """The walk above is generated from the rules; this proves that it covers what Flask would answer."""
    answered = {rule.rule for rule in frame.server.url_map.iter_rules() if "<" not in rule.rule}
    walked = set(itertools.chain(OPEN_PATHS, [STREAM], ["/_reload-hash"]))
    assert answered <= walked
