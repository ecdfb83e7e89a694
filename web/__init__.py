"""The frame of every page: sign-in, navigation, permissions, live updates, parts, charts, theme. It knows no centre.

A **page** is a module with three names:

    PAGE = Page("/incidents", "Incidents", "alert-triangle", Action.SEE_INCIDENTS, "Watch")

    def layout(params: Mapping[str, str], queries: Q) -> Component: ...   # pure: data in, components out
    def register(app: Registry, queries: Q) -> None: ...                 # its callbacks, each with its right

`params` are the query parameters of the address: the URL is the only state of record. The frame calls `layout` again
whenever the path or the query changes, unless the page says `keeps_state=True`; then its own callback with
`Input(URL, "search")` answers changes of the query (use `params_of(search)`). `queries` is whatever the centre hands to
`create`. Every callback goes through `Registry.callback(action, Output(...), Input(...))`: the right is checked on
every call, and a callback or route registered past the registry stops the start. The signed-in person inside any
layout or callback: `session()`. Links: `parts.link(text, "/incident?id=…")`. Live: `Input(tick("incidents"), "data")`.
"""

from web.live import tick
from web.registry import URL, Page, Registry, params_of, session

__all__ = ["URL", "Page", "Registry", "params_of", "session", "tick"]
