"""The shell around every page: rail, header, content."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import dash_mantine_components as dmc
import flask
from dash import dcc, html

from trust.roles import allows
from trust.sessions import Session
from web.live import tick
from web.parts import icon
from web.registry import URL, Page
from web.theme import mantine, scheme

CONTENT, NOTES, RAIL_OPEN, SHELL = "frame-content", "frame-notes", "frame-rail-open", "frame-shell"
THEME, ZONE, STALE, SHOWN = "frame-theme", "frame-zone", "frame-stale", "frame-shown"
RAIL_PX, HEAD_PX = 216, 52


def shell(title: str, mark: str, pages: Sequence[Page], topics: Sequence[str], session: Session | None) -> Any:
    """The whole document for this person: only pages that the role may see are in the rail."""
    seen = [page for page in pages if page.in_rail and allows(session, page.action)]
    return dmc.MantineProvider(
        [
            dcc.Location(id=URL, refresh="callback-nav"),
            *(dcc.Store(id=tick(topic)) for topic in topics),
            dcc.Store(id=SHOWN),
            dmc.NotificationContainer(id=NOTES, position="bottom-right", limit=3, autoClose=8000),
            html.A("Skip to content", href=f"#{CONTENT}", className="skip"),
            dmc.AppShell(
                [
                    dmc.AppShellHeader(_header(title, mark, session)),
                    dmc.AppShellNavbar(_rail(seen), className="rail"),
                    dmc.AppShellMain(html.Div(id=CONTENT, tabIndex=-1, className="content")),
                ],
                id=SHELL,
                header={"height": HEAD_PX},
                navbar={"width": RAIL_PX, "breakpoint": "sm", "collapsed": {"mobile": True}},
                padding=0,
                transitionDuration=120,
            ),
        ],
        theme=mantine(),
        forceColorScheme=scheme(),
    )


def _header(title: str, mark: str, session: Session | None) -> html.Div:
    return html.Div(
        [
            dmc.Burger(id=RAIL_OPEN, size="sm", hiddenFrom="sm", opened=False, **{"aria-label": "Navigation"}),
            html.Div([html.Span(className="brand-mark"), html.Span(title, className="brand-name")], className="brand"),
            html.Span(mark, className="data-mark", title="These data are not a real grid's") if mark else None,
            html.Span("", id=STALE, className="stale", role="status"),
            html.Div(className="spacer"),
            html.Button("", id=ZONE, className="clock", title="Switch between UTC and local time", type="button"),
            html.Button(
                icon("sun" if scheme() == "dark" else "moon"),
                id=THEME,
                className="icon-button",
                title="Switch between dark and light",
                type="button",
                **{"aria-label": "Switch between dark and light"},
            ),
            _who(session) if session else None,
        ],
        className="header",
    )


def _who(session: Session) -> html.Div:
    return html.Div(
        [
            html.A(
                [html.Span(session.name, className="who-name"), html.Span(session.role.value, className="who-role")],
                href="/password",
                title="Change your password",
                className="who-text",
            ),
            html.Form(
                [
                    dcc.Input(type="hidden", name="csrf", value=session.csrf),
                    html.Button(
                        icon("logout"),
                        className="icon-button",
                        title="Sign out",
                        type="submit",
                        **{"aria-label": "Sign out"},
                    ),
                ],
                action="/sign-out",
                method="post",
            ),
        ],
        className="who",
    )


def _rail(pages: Sequence[Page]) -> html.Nav:
    parts: list[Any] = []
    for section, group in groupby(pages, key=lambda page: page.section):
        if section:
            parts.append(html.Div(section, className="rail-section"))
        parts += [_rail_link(page) for page in group]
    return html.Nav(parts, className="rail-links", **{"aria-label": "Pages"})


def _rail_link(page: Page) -> dmc.NavLink:
    return dmc.NavLink(
        label=page.title, href=page.path, leftSection=icon(page.icon), active="exact", className="rail-link"
    )


def signed_in() -> Session | None:
    """Session of this request, None outside of one (Dash validates the layout once before any request)."""
    found = flask.g.get("session") if flask.has_request_context() else None
    return found if isinstance(found, Session) else None
