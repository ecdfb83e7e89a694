"""Pages and callbacks with their rights: nothing is reachable that was not registered here."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl

import dash
import flask

from model.errors import NotPermitted
from trust.roles import Action, allows, require
from trust.sessions import Session
from web.live import tick

URL = "url"  # id of the dcc.Location of the frame
MAX_PARAMETERS = 64

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Page:
    """One entry of the rail and one path. `icon` names a file of assets/icons without its ending."""

    path: str
    title: str
    icon: str
    action: Action
    section: str = ""
    in_rail: bool = True
    keeps_state: bool = False  # the page answers changes of the query itself


class PageModule(Protocol):
    """A module that is a page (see web.__doc__)."""

    PAGE: Page

    def layout(self, params: Mapping[str, str], queries: Any) -> Any:
        """Components of the page."""

    def register(self, app: Registry, queries: Any) -> None:
        """Register the callbacks of the page."""


class NoRule(RuntimeError):
    """A route or callback exists without a right: the start is refused."""


def session() -> Session:
    """Who is signed in, inside a request. NotPermitted if nobody is."""
    found = flask.g.get("session")
    if not isinstance(found, Session):
        raise NotPermitted("nobody is signed in")
    return found


def may(action: Action) -> bool:
    """Whether the person of this request has the right; for showing or hiding a button, never instead of `require`."""
    return allows(flask.g.get("session"), action)


def params_of(search: str | None) -> dict[str, str]:
    """Query parameters of "?a=1&b=2"; the last of equal names counts, at most 64."""
    return dict(parse_qsl((search or "").removeprefix("?"), keep_blank_values=True)[:MAX_PARAMETERS])


@dataclass
class Registry:
    """Where pages register callbacks. Keys of `rights` are Dash's own callback ids (its `output` string)."""

    app: dash.Dash
    rights: dict[str, Action] = field(default_factory=dict)

    def callback(self, action: Action, *dependencies: Any, **options: Any) -> Callable[[F], F]:
        """Like `dash.callback`, with the right it needs; the right is checked again on every call."""

        def decorate(function: F) -> F:
            @functools.wraps(function)
            def guarded(*arguments: Any, **keywords: Any) -> Any:
                flask.g.callback_ran = True  # from here on a failure is ours, not a malformed request
                require(flask.g.get("session"), action)
                return function(*arguments, **keywords)

            before = set(self.app.callback_map)
            self.app.callback(*dependencies, **options)(guarded)
            self._note(before, action)
            return function

        return decorate

    def clientside(self, action: Action, namespace: str, function: str, *dependencies: Any, **options: Any) -> None:
        """A callback in the browser: `window.dash_clientside[namespace][function]` of an asset, never inline text."""
        before = set(self.app.callback_map)
        self.app.clientside_callback(dash.ClientsideFunction(namespace, function), *dependencies, **options)
        self._note(before, action)

    def follow(self, action: Action, part: str, topics: Sequence[str], body: Callable[[], Any]) -> None:
        """Make a part of a page anew whenever one of the topics changes; `body` gives its children."""

        @self.callback(
            action,
            dash.Output(part, "children"),
            *(dash.Input(tick(topic), "data") for topic in topics),
            prevent_initial_call=True,
        )
        def refresh(*_versions: int) -> Any:
            return body()

    def _note(self, before: set[str], action: Action) -> None:
        for key in set(self.app.callback_map) - before:
            self.rights[key] = action

    def check(self) -> None:
        """Refuse the start if any callback was registered past this registry, here or by `dash.callback`."""
        known = set(self.app.callback_map) | {c["output"] for c in dash._callback.GLOBAL_CALLBACK_LIST}
        stray = sorted(known - set(self.rights))
        if stray:
            raise NoRule(f"callbacks without a right: {', '.join(stray)}; register them with Registry.callback")
