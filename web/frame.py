"""Build the frame: `create(...)` gives a Flask server with every page, its rights, its headers and its live stream."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dash
import flask
import plotly
import structlog
from dash import Input, Output, State, no_update
from dash.exceptions import DependencyException
from dash.fingerprint import build_fingerprint
from flask_compress import Compress
from sqlalchemy import Engine
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from model.errors import Conflict, NotPermitted, OperatorError
from trust.roles import Action
from web import gate as gates
from web import parts, shell
from web.gate import FrameSettings, Gate
from web.live import Feed, Versions
from web.registry import URL, NoRule, Page, PageModule, Registry, may, params_of
from web.signin import SignIn
from web.suites import SuiteCache
from web.theme import scheme

log = structlog.get_logger()
ROOT = Path(__file__).parent
ASSETS = ROOT.parent / "assets"
PLOTLY_JS = "package_data/plotly.min.js"
INDEX = """<!DOCTYPE html>
<html lang="en" data-mantine-color-scheme="{scheme}">
<head>{{%metas%}}<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{%title%}}</title><link rel="icon" href="/assets/favicon.svg" type="image/svg+xml">{{%css%}}</head>
<body>{{%app_entry%}}<footer>{{%config%}}{{%scripts%}}{{%renderer%}}</footer></body>
</html>"""


@dataclass(frozen=True)
class Frame:
    """The finished application. `server` is the WSGI application; `dash`, `registry`, `gate` are for tests."""

    server: flask.Flask
    dash: dash.Dash
    registry: Registry
    gate: Gate


def create(
    title: str,
    code: str,
    pages: Sequence[PageModule],
    engine: Engine,
    settings: FrameSettings,
    queries: Any,
    *,
    topics: tuple[str, ...] = (),
    versions: Callable[[], Versions] | None = None,
    mark: str = "",
) -> Frame:
    """Assemble a centre's desk.

    `code` names the centre in its cookies (letters, digits, hyphen); `pages` are page modules in the order of the
    rail (one must be at "/"); `queries` is handed to every layout; `versions` gives a whole number by topic, another
    with every change (asked once a second while anybody looks); `mark` stands in the header for good, default
    "SIMULATED" when the settings say so. Raises NoRule if a route or callback has no right.
    """
    if os.environ.get("DASH_MCP_ENABLED"):
        raise OperatorError("DASH_MCP_ENABLED", os.environ["DASH_MCP_ENABLED"], "not set", "unset it and start again")
    said = mark or ("SIMULATED" if settings.simulated else "")
    gate = Gate(code, settings, engine, ASSETS)
    server = _server(engine, gate)
    feed = Feed(versions or dict, topics)
    application = _dash(server, title, gate)
    registry = Registry(application)
    gate.callbacks = registry.rights
    for module in pages:
        gate.add_page(module.PAGE.path, module.PAGE.action)
    SignIn(gate, title, said).register(server)
    _live_routes(server, gate, feed)
    nouns = [module.PAGE for module in pages]
    application.layout = lambda: shell.shell(title, said, nouns, topics, shell.signed_in())
    _router(registry, pages, queries)
    for module in pages:
        module.register(registry, queries)
    _check_rules(server, gate, registry)
    _harden(server, application, gate)
    return Frame(server, application, registry, gate)


def _server(engine: Engine, gate: Gate) -> flask.Flask:
    server = flask.Flask("web", root_path=str(ROOT), static_folder=None, template_folder="templates")
    server.url_map.merge_slashes = False
    server.config["MAX_CONTENT_LENGTH"] = gates.MAX_BODY
    server.config["COMPRESS_ALGORITHM"] = ["br", "gzip"]
    server.config["COMPRESS_BR_LEVEL"] = 4
    server.config["COMPRESS_STREAMS"] = False  # an event stream must not wait in a compressor
    server.extensions["engine"] = engine
    server.before_request(gate.check)
    suites = SuiteCache()
    server.before_request(suites.before)
    server.after_request(suites.after)  # runs after the compressor, which registers later
    server.register_error_handler(NotPermitted, gates.not_permitted)
    server.register_error_handler(DependencyException, lambda _: ({"error": "There is no such script."}, 404))
    server.register_error_handler(Exception, _failed)
    server.add_url_rule(gates.HEALTH, "health", lambda: flask.Response("ok\n", mimetype="text/plain"))
    Compress(server)
    return server


def _dash(server: flask.Flask, title: str, gate: Gate) -> dash.Dash:
    javascript = Path(plotly.__file__).parent / PLOTLY_JS
    stamped = build_fingerprint(PLOTLY_JS, plotly.__version__, int(javascript.stat().st_mtime))
    return _Application(
        server=server,
        title=title,
        update_title=None,
        assets_folder=str(ASSETS),
        assets_ignore=r".*worker.*",
        external_scripts=[f"/_dash-component-suites/plotly/{stamped}"],
        suppress_callback_exceptions=True,
        on_error=_tell,
        csrf_token_name=gate.csrf_cookie,
        csrf_header_name=gates.CSRF_HEADER,
        serve_locally=True,
        enable_mcp=False,
    )


class _Application(dash.Dash):  # type: ignore[misc]
    """Dash with the colour scheme in its first bytes, so that no page flashes."""

    def interpolate_index(self, **parts_of_page: Any) -> str:
        self.index_string = INDEX.format(scheme="dark")
        made = str(super().interpolate_index(**parts_of_page))
        return made.replace('color-scheme="dark"', f'color-scheme="{scheme()}"', 1)


def _router(registry: Registry, pages: Sequence[PageModule], queries: Any) -> None:
    by_path = {module.PAGE.path: module for module in pages}

    @registry.callback(
        Action.OWN_SESSION,
        Output(shell.CONTENT, "children"),
        Output(shell.SHOWN, "data"),
        Input(URL, "pathname"),
        Input(URL, "search"),
        State(shell.SHOWN, "data"),
    )
    def show(path: str, search: str | None, shown: str | None) -> Any:
        module = by_path.get(path or "/")
        if module is None:
            return parts.empty("There is nothing at this address", parts.link("Back to the start", "/")), path
        if shown == path and module.PAGE.keeps_state:
            return no_update, no_update
        return _page(module, params_of(search), queries), path

    namespace = "frame"
    registry.clientside(
        Action.OWN_SESSION, namespace, "theme", Output(shell.THEME, "value"), Input(shell.THEME, "n_clicks")
    )
    registry.clientside(
        Action.OWN_SESSION, namespace, "zone", Output(shell.ZONE, "value"), Input(shell.ZONE, "n_clicks")
    )
    registry.clientside(
        Action.OWN_SESSION,
        namespace,
        "rail",
        Output(shell.SHELL, "navbar"),
        Input(shell.RAIL_OPEN, "opened"),
        State(shell.SHELL, "navbar"),
    )
    registry.clientside(
        Action.OWN_SESSION,
        namespace,
        "closeRail",
        Output(shell.RAIL_OPEN, "opened"),
        Input(URL, "pathname"),
        prevent_initial_call=True,
    )


def _page(module: PageModule, params: dict[str, str], queries: Any) -> Any:
    page: Page = module.PAGE
    if not may(page.action):
        return parts.forbidden()
    try:
        return module.layout(params, queries)
    except NotPermitted:
        return parts.forbidden()
    except Exception as error:  # noqa: BLE001  shown with its id and logged: an error never looks like "no data"
        return parts.error(_report(error, page.path))


def _report(error: BaseException, where: str) -> str:
    error_id = uuid.uuid4().hex[:12]
    log.error("desk.page_failed", error_id=error_id, where=where, exc_info=error)
    return error_id


def _tell(error: Exception) -> None:
    """Dash's on_error: a callback failed. What the person can mend is said, the rest gets an id."""
    if isinstance(error, NotPermitted | HTTPException):
        raise error
    if isinstance(error, Conflict | OperatorError):
        text = str(error)
    else:
        text = f"That did not work. The log has it as {_report(error, 'callback')}."
    note = {"action": "show", "message": text, "color": "var(--critical)", "title": "Not done"}
    dash.set_props(shell.NOTES, {"sendNotifications": [note]})


def _failed(error: Exception) -> Response:
    if isinstance(error, HTTPException):
        code = error.code or 500
        return flask.make_response({"error": error.name}, code)
    if flask.request.path == gates.UPDATE and not flask.g.get("callback_ran", False):
        log.warning("desk.bad_callback_body", error=repr(error)[:200])
        return flask.make_response({"error": "This is no callback."}, 400)
    error_id = _report(error, flask.request.path)
    if gates.wants_html():
        return flask.make_response(
            flask.render_template(
                "refused.html", code=500, text=f"Something failed here. The log has it as {error_id}."
            ),
            500,
        )
    return flask.make_response({"error": "internal", "id": error_id}, 500)


def _live_routes(server: flask.Flask, gate: Gate, feed: Feed) -> None:
    def versions() -> Response:
        response = flask.jsonify(feed.current())
        response.headers["Cache-Control"] = "no-store"
        return response

    def stream() -> Response:
        token = flask.request.cookies.get(gate.cookie, "")
        events = feed.stream(lambda: gate.alive(token))
        if events is None:
            return flask.make_response({"error": "too many streams, ask for versions instead"}, 503)
        response = flask.Response(events, mimetype="text/event-stream")
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        return response

    server.add_url_rule(gates.VERSIONS, "versions", versions)
    server.add_url_rule(gates.LIVE, "live", stream)


def _check_rules(server: flask.Flask, gate: Gate, registry: Registry) -> None:
    registry.check()
    patterns = {"/", "/<path:path>", "/assets/<path:filename>", "/_reload-hash"}  # refused path by path by the gate
    suites = "/_dash-component-suites/"
    stray = [
        rule.rule
        for rule in server.url_map.iter_rules()
        if rule.rule not in gate.rules and rule.rule not in patterns and not rule.rule.startswith(suites)
    ]
    if stray:
        raise NoRule(f"routes without a rule: {', '.join(sorted(stray))}; add them to web.gate.FIXED")


def _harden(server: flask.Flask, application: dash.Dash, gate: Gate) -> None:
    policy = "; ".join(
        [
            "default-src 'none'",
            "script-src 'self' " + " ".join(application.csp_hashes()),
            "style-src 'self' 'unsafe-inline'",
            "img-src 'self' data: blob:",
            "font-src 'self'",
            "connect-src 'self'",
            "worker-src 'self'",
            "manifest-src 'self'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ]
    )

    def headers(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = policy
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["Cross-Origin-Opener-Policy"] = "same-origin"
        response.headers["Cross-Origin-Resource-Policy"] = "same-origin"
        response.headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=()"
        if gate.secure:
            response.headers["Strict-Transport-Security"] = "max-age=31536000"
        if not flask.request.path.startswith(("/assets/", "/_dash-component-suites/")):
            response.headers["Cache-Control"] = "no-store"
        return response

    server.after_request(headers)
