"""Sign-in as a browser does it: forms, cookies, headers, redirects, limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, text

from tests.web.conftest import HTML, PASSWORD, submit
from tests.web.sample import Settings, sample
from trust import accounts, store
from trust.roles import Role
from web.frame import Frame

SignIn = Callable[[str], FlaskClient]


def test_a_person_signs_in_and_out(frame: Frame) -> None:
    client = frame.server.test_client()
    assert client.get("/", headers=HTML).headers["Location"] == "/sign-in"
    assert submit(client, "operator", PASSWORD).headers["Location"] == "/"
    page = client.get("/", headers=HTML)
    assert page.status_code == 200
    assert 'id="react-entry-point"' in page.text
    shell = client.get("/_dash-layout").text
    assert "SIMULATED" in shell
    assert '"label":"Incidents"' in shell
    assert '"label":"Accounts"' not in shell  # the rail shows what the role may see
    token = client.get_cookie(frame.gate.csrf_cookie)
    assert token is not None
    session = client.get_cookie(frame.gate.cookie)
    assert session is not None
    assert client.post("/sign-out", data={"csrf": token.value}).headers["Location"] == "/sign-in"
    client.set_cookie(frame.gate.cookie, session.value)  # the old cookie, kept by a thief
    assert client.get("/live/versions").status_code == 401


def test_the_next_page_keeps_all_its_filters(frame: Frame) -> None:
    client = frame.server.test_client()
    asked = client.get("/list?sev=critical,high&status=new&q=a%26b", headers=HTML).headers["Location"]
    assert asked == "/sign-in?next=%2Flist%3Fsev%3Dcritical%2Chigh%26status%3Dnew%26q%3Da%2526b"
    answer = submit(client, "operator", PASSWORD, "/list?sev=critical,high&status=new&q=a%26b")
    assert answer.headers["Location"] == "/list?sev=critical,high&status=new&q=a%26b"


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example",
        "\\\\evil.example",
        "javascript:alert(1)",
        "/nothing",
        "/sign-out",
        "/_dash-layout",
        "/live",
        "/assets/frame.css",
        "/list?a=\r\nSet-Cookie: x=1",
        "/list/../",
        "",
    ],
)
def test_the_next_page_is_never_somebody_elses(frame: Frame, wanted: str) -> None:
    assert submit(frame.server.test_client(), "operator", PASSWORD, wanted).headers["Location"] == "/"


def test_cookies_over_tls_are_exact(engine: Engine) -> None:
    frame = sample(engine, replace(Settings(), secure_cookies=True))
    client = frame.server.test_client()
    answer = submit(_over_tls(client), "operator", PASSWORD)
    cookies = {c.partition("=")[0]: c.partition(";")[2].strip() for c in answer.headers.getlist("Set-Cookie")}
    assert cookies["__Host-grid-SAMPLE"] == "Secure; HttpOnly; Path=/; SameSite=Strict"
    assert cookies["__Host-grid-SAMPLE-csrf"] == "Secure; Path=/; SameSite=Strict"
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def _over_tls(client: FlaskClient) -> FlaskClient:
    client.environ_base = client.environ_base | {"wsgi.url_scheme": "https"}
    client.environ_base["HTTP_HOST"] = "localhost"
    return client


def test_two_centres_on_one_host_do_not_sign_each_other_out(engine: Engine) -> None:
    assert sample(engine).gate.cookie == "grid-SAMPLE"  # the code is in the name: cookies know no port


HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}


@pytest.mark.parametrize("path", ["/", "/sign-in", "/nothing", "/assets/frame.css", "/_dash-layout", "/health"])
@pytest.mark.parametrize("role", ["", "operator"])
def test_headers_are_on_every_answer_errors_too(frame: Frame, sign_in: SignIn, path: str, role: str) -> None:
    client = sign_in(role) if role else frame.server.test_client()
    answer = client.get(path, headers=HTML)
    assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == policy["font-src"] == policy["worker-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    script = policy["script-src"].split()
    assert script[0] == "'self'"
    assert all(source.startswith("'sha256-") for source in script[1:])
    assert "unsafe" not in policy["script-src"]


def test_wrong_answers_say_nothing_and_the_sixth_has_to_wait(frame: Frame) -> None:
    client = frame.server.test_client()
    told = {submit(client, name, "wrong horse battery").text for name in ("operator", "operator")}
    unknown = submit(client, "nobody", "wrong horse battery")
    assert unknown.status_code == 401
    assert all("Name or password is wrong." in page for page in [*told, unknown.text])
    for _ in range(3):
        submit(client, "operator", "wrong horse battery")
    refused = submit(client, "operator", PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["Retry-After"]) > 0


def test_a_forged_form_is_refused(frame: Frame) -> None:
    client = frame.server.test_client()
    fields = {"name": "operator", "password": PASSWORD, "csrf": "0" * 64}
    assert client.post("/sign-in", data=fields).status_code == 403
    client.get("/sign-in", headers=HTML)
    assert client.post("/sign-in", data=fields).status_code == 403
    assert client.get("/live/versions").status_code == 401


def test_forwarded_addresses_are_not_believed(frame: Frame, engine: Engine) -> None:
    client = frame.server.test_client()
    client.environ_base["HTTP_X_FORWARDED_FOR"] = "203.0.113.9"
    submit(client, "operator", "wrong horse battery")
    with engine.begin() as conn:
        assert conn.execute(text("SELECT address FROM sign_in_attempts")).scalar_one() == "127.0.0.1"


def test_the_session_is_new_after_sign_in_and_the_old_one_ends(frame: Frame, sign_in: SignIn) -> None:
    client = sign_in("operator")
    first = client.get_cookie(frame.gate.cookie)
    assert first is not None
    client.set_cookie(frame.gate.cookie, "fixed-by-an-attacker")
    submit(client, "operator", PASSWORD)
    second = client.get_cookie(frame.gate.cookie)
    assert second is not None
    assert second.value not in {first.value, "fixed-by-an-attacker"}


def test_markup_in_a_name_stays_text(frame: Frame) -> None:
    answer = submit(frame.server.test_client(), '"><script>alert(1)</script>', "wrong horse battery")
    assert "<script" not in answer.text
    assert "&lt;script&gt;" in answer.text


def test_who_must_change_the_password_gets_nowhere_before(frame: Frame, engine: Engine) -> None:
    with engine.begin() as conn:
        accounts.create(conn, "new", PASSWORD, Role.OPERATOR, "test", must_change=True)
    client = frame.server.test_client()
    assert submit(client, "new", PASSWORD, "/list").headers["Location"] == "/password"
    assert client.get("/list", headers=HTML).headers["Location"] == "/password"
    token = client.get_cookie(frame.gate.csrf_cookie)
    assert token is not None
    fields = {"csrf": token.value, "old": PASSWORD, "new": "another horse battery", "again": "another horse battery"}
    for wrong in ({"old": "x"}, {"new": "short", "again": "short"}, {"again": "different horse battery"}):
        assert client.post("/password", data=fields | wrong).status_code == 400
    assert client.post("/password", data=fields).headers["Location"] == "/"
    assert client.get("/list", headers=HTML).status_code == 200


def test_ticks_do_not_keep_a_session_awake(frame: Frame, engine: Engine, sign_in: SignIn) -> None:
    client = sign_in("operator")
    token = client.get_cookie(frame.gate.csrf_cookie)
    assert token is not None

    def seen() -> object:
        with engine.begin() as conn:
            return conn.execute(text("SELECT last_seen FROM sessions")).scalar_one()

    def send(changed: list[str]) -> None:
        sent = {
            "output": "ticked.children",
            "outputs": {"id": "ticked", "property": "children"},
            "inputs": [
                {"id": "tick-incidents", "property": "data", "value": 1},
                {"id": "url", "property": "search", "value": ""},
            ],
            "changedPropIds": changed,
            "state": [],
        }
        answer = client.post("/_dash-update-component", json=sent, headers={"X-CSRFToken": token.value})
        assert answer.status_code == 200

    with engine.begin() as conn:
        conn.execute(text("UPDATE sessions SET last_seen = last_seen - interval '5 minutes'"))
    before = seen()
    client.get("/live/versions")
    send(["tick-incidents.data"])
    assert seen() == before
    send(["tick-incidents.data", "url.search"])
    assert seen() != before


def test_a_session_that_idled_away_is_gone(frame: Frame, engine: Engine, sign_in: SignIn) -> None:
    client = sign_in("operator")
    with engine.begin() as conn:
        conn.execute(text("UPDATE sessions SET last_seen = last_seen - interval '16 minutes'"))
    assert client.get("/list", headers=HTML).headers["Location"] == "/sign-in?next=%2Flist"


def test_no_secret_is_in_the_audit_chain(engine: Engine, sign_in: SignIn) -> None:
    sign_in("operator")
    with engine.begin() as conn:
        dump = str(list(store.audit_records(conn)))
    assert "signed-in" in dump
    assert PASSWORD not in dump
