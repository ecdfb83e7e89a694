"""The one door: every request of every path passes here first, and what no rule names is refused."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote

import flask
import orjson
from sqlalchemy import Connection, Engine
from werkzeug.wrappers import Response

from model.errors import NotPermitted
from trust import store
from trust.roles import Action, allows
from trust.sessions import Lifetime, Session

MAX_BODY = 1 << 20
MAX_DEPTH = 40
UPDATE = "/_dash-update-component"
SUITES = re.compile(r"/_dash-component-suites/[A-Za-z0-9_]+(?:/[A-Za-z0-9_@-][A-Za-z0-9_.@-]*)+\Z")
SIGN_IN, SIGN_OUT, PASSWORD, HEALTH = "/sign-in", "/sign-out", "/password", "/health"
LIVE, VERSIONS = "/live", "/live/versions"
CSRF_HEADER = "X-CSRFToken"


class FrameSettings(Protocol):
    """What the frame needs of a centre's settings; SmcSettings and EsmcSettings both fit."""

    @property
    def session_idle_s(self) -> float: ...

    @property
    def session_max_s(self) -> float: ...

    @property
    def secure_cookies(self) -> bool: ...

    @property
    def simulated(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Rule:
    """What a path asks for: `action` None means that nobody need be signed in."""

    methods: frozenset[str]
    action: Action | None


GET = frozenset({"GET", "HEAD"})
POST = frozenset({"POST"})
OWN = Rule(GET, Action.OWN_SESSION)
FIXED: Mapping[str, Rule] = {
    SIGN_IN: Rule(GET | POST, None),
    HEALTH: Rule(GET, None),
    "/_favicon.ico": Rule(GET, None),
    SIGN_OUT: Rule(POST, Action.OWN_SESSION),
    PASSWORD: Rule(GET | POST, Action.OWN_SESSION),
    LIVE: OWN,
    VERSIONS: OWN,
    "/_dash-layout": OWN,
    "/_dash-dependencies": OWN,
    UPDATE: Rule(POST, Action.OWN_SESSION),  # each callback checks its own right again
}


class Gate:
    """Finds the rule of a path and the session of a cookie; answers instead of the application when either says no."""

    def __init__(self, code: str, settings: FrameSettings, engine: Engine, assets: Path) -> None:
        self.secure = settings.secure_cookies
        self.cookie = f"{'__Host-' if self.secure else ''}grid-{code}"  # cookies know no port: the name tells centres
        self.csrf_cookie = f"{self.cookie}-csrf"
        self.form_cookie = f"{self.cookie}-form"
        self.lifetime = Lifetime(timedelta(seconds=settings.session_idle_s), timedelta(seconds=settings.session_max_s))
        self.engine = engine
        self.rules: dict[str, Rule] = dict(FIXED)
        self.callbacks: Mapping[str, Action] = {}  # right of every callback, by Dash's id
        for file in sorted(assets.rglob("*")):
            if file.is_file():
                self.rules[f"/assets/{file.relative_to(assets).as_posix()}"] = Rule(GET, None)

    def add_page(self, path: str, action: Action) -> None:
        """A page's path and its right."""
        if path in self.rules:
            raise ValueError(f"two pages or routes at {path}")
        self.rules[path] = Rule(GET, action)

    def rule(self, path: str) -> Rule | None:
        """The rule of exactly this path: no prefix, no case folding, no cleaning up."""
        if SUITES.match(path) and "/." not in path:
            return OWN
        return self.rules.get(path)

    def check(self) -> Response | None:
        """For Flask's before_request: None lets the request through."""
        flask.g.session = None
        path = flask.request.path
        rule = None if _tricky(flask.request.environ, path) else self.rule(path)
        if rule is not None and rule.action is None and path != SIGN_IN:
            return _method(rule)
        flask.g.session = self.session()
        if rule is not None and rule.action is None:
            return _method(rule)
        return self._refusal(rule, path) or (self._bad_post(path) if flask.request.method == "POST" else None)

    def session(self) -> Session | None:
        """The living session of this request's cookie. A tick is no person: it does not keep a session awake."""
        token = flask.request.cookies.get(self.cookie, "")
        if not token or len(token) > 128:
            return None
        with self._statements() as conn:
            return store.lookup(conn, token, self.lifetime, touch=not _passive())

    def _statements(self) -> Connection:
        """A connection on which every statement stands alone; every request asks, and a transaction costs more."""
        return self.engine.connect().execution_options(isolation_level="AUTOCOMMIT")

    def alive(self, token: str) -> bool:
        """Whether the session of a token still lives; asked by an open stream, which keeps nothing awake."""
        with self._statements() as conn:
            return store.lookup(conn, token, self.lifetime, touch=False) is not None

    def _refusal(self, rule: Rule | None, path: str) -> Response | None:
        session = flask.g.session
        if session is None:
            return _sign_in_first(path if rule is not None else "/")
        if rule is None:
            return _refused(404, "There is nothing at this address.")
        if rule.action is None or allows(session, rule.action):
            return _method(rule)
        if session.must_change:
            return flask.redirect(PASSWORD, 303)
        return _refused(403, "Your role may not see this.")

    def _bad_post(self, path: str) -> Response | None:
        site = flask.request.headers.get("Sec-Fetch-Site", "same-origin")
        if site not in {"same-origin", "none"}:
            return _refused(403, "Requests from other sites are refused.")
        if path == UPDATE:
            if flask.request.mimetype != "application/json":
                return _refused(415, "A callback is sent as application/json.")
            if flask.request.headers.get(CSRF_HEADER, "") != flask.g.session.csrf:
                return _refused(403, "The page is older than your sign-in: load it again.")
            return self._bad_update()
        if flask.request.form.get("csrf", "") != flask.g.session.csrf:
            return _refused(403, "The page is older than your sign-in: load it again.")
        return None

    def _bad_update(self) -> Response | None:
        action = self.callbacks.get(_update_output(flask.request.get_data(cache=True)))
        if action is None:
            return _refused(400, "This is no callback.")
        return None if allows(flask.g.session, action) else _refused(403, "Your role may not do this.")


def not_permitted(error: NotPermitted) -> Response:
    """Flask's error handler: a right was missing inside a callback or command."""
    return _refused(401 if flask.g.get("session") is None else 403, str(error))


def wants_html() -> bool:
    """Whether a person's browser asks for a document."""
    return flask.request.method in {"GET", "HEAD"} and "text/html" in flask.request.headers.get("Accept", "")


def local_path(text: str, known: Mapping[str, Rule]) -> str:
    """`next` of the sign-in page, if it leads to a page of ours, else "/"."""
    path = text.partition("?")[0]
    rule = known.get(path)
    leads = rule is not None and rule.methods == GET and not path.startswith(("/assets/", "/_", LIVE, PASSWORD))
    return text if leads and text.isprintable() and "\\" not in text else "/"


def _method(rule: Rule) -> Response | None:
    if flask.request.method in rule.methods:
        return None
    response = _refused(405, "This address does not take that method.")
    response.headers["Allow"] = ", ".join(sorted(rule.methods))
    return response


def _sign_in_first(path: str) -> Response:
    if not wants_html():
        return _refused(401, "Sign in first.")
    asked = flask.request.query_string.decode("ascii", "replace")
    wanted = path if not asked else f"{path}?{asked}"
    return flask.redirect(SIGN_IN if wanted == "/" else f"{SIGN_IN}?next={quote(wanted, safe='')}", 303)


def _refused(code: int, text: str) -> Response:
    if wants_html():
        return flask.make_response(flask.render_template("refused.html", code=code, text=text), code)
    return flask.make_response({"error": text}, code)


def _tricky(environ: Mapping[str, object], path: str) -> bool:
    """Whether the path was sent in another spelling than the one it is known by: encoded, doubled, dotted."""
    raw = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or path).partition("?")[0]
    return raw != path or "//" in path or any(part in {".", ".."} for part in path.split("/"))


def _passive() -> bool:
    """Whether no person stands behind the request: streams, version polls, and callbacks that only a tick set off."""
    if flask.request.path in {LIVE, VERSIONS}:
        return True
    if flask.request.path != UPDATE or (flask.request.content_length or 0) > MAX_BODY:
        return False
    try:
        body = orjson.loads(flask.request.get_data(cache=True))
    except orjson.JSONDecodeError:
        return True
    changed = body.get("changedPropIds") if isinstance(body, dict) else None
    return isinstance(changed, list) and bool(changed) and all(str(prop).startswith("tick-") for prop in changed)


def _update_output(data: bytes) -> str:
    """Id of the callback that a body asks for, "" if the body is no callback's."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(body, dict) or not isinstance(body.get("output"), str) or _depth_over(body, MAX_DEPTH):
        return ""
    lists = (body.get("inputs"), body.get("changedPropIds", []), body.get("state", []))
    sound = all(isinstance(part, list) for part in lists) and isinstance(body.get("outputs"), dict | list)
    sound = sound and all(isinstance(changed, str) for changed in lists[1])
    return str(body["output"]) if sound else ""


def _depth_over(value: object, most: int) -> bool:
    level = [value]
    for _ in range(most):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True
