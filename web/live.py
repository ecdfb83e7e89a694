"""Live updates: pages learn that something changed, never what; they fetch it themselves.

`tick(topic)` is the id of a store in the frame whose `data` is the topic's newest version, a whole number. The
browser holds one event stream for all its tabs (assets/live.js in a SharedWorker); the stream carries versions only.
When it is down the versions are asked for every few seconds, and the frame shows since when they are stale.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import structlog

log = structlog.get_logger()

Versions = Mapping[str, int]
PREFIX = "tick-"
CHECK_S = 1.0  # how often the store is asked for versions, once for all browsers
IDLE_S = 30.0  # without a listener for so long the asking stops
HEARTBEAT_S = 15.0


def tick(topic: str) -> str:
    """Id of the store that changes with the topic: `Input(tick("incidents"), "data")`."""
    return PREFIX + topic


class Feed:
    """The newest versions, asked for by one thread while anybody listens; starts nothing before the first listener."""

    def __init__(self, ask: Callable[[], Versions], topics: tuple[str, ...], most_streams: int = 32) -> None:
        self.topics = topics
        self._ask = ask
        self._most_streams = most_streams
        self._changed = threading.Condition()
        self._versions: dict[str, int] = {}
        self._asked_s = 0.0
        self._wanted_s = 0.0
        self._streams = 0
        self._thread: threading.Thread | None = None

    def current(self) -> dict[str, int]:
        """Versions by topic, at most CHECK_S old."""
        with self._changed:
            self._want()
            if self._asked_s + 2 * CHECK_S < time.monotonic():
                self._changed.wait(2 * CHECK_S)
            return dict(self._versions)

    def stream(self, alive: Callable[[], bool]) -> Iterator[str] | None:
        """Server-sent events of changed versions until `alive` says no; None when too many streams are open."""
        with self._changed:
            if self._streams >= self._most_streams:
                return None
            self._streams += 1
        return self._events(alive)

    def _events(self, alive: Callable[[], bool]) -> Iterator[str]:
        told: dict[str, int] = {}
        beaten_s = time.monotonic()
        try:
            yield "retry: 3000\n\n"
            while True:
                news = self._await_news(told)
                told.update(news)
                if news:
                    yield f"event: versions\ndata: {json.dumps(news)}\n\n"
                if time.monotonic() - beaten_s >= HEARTBEAT_S:
                    beaten_s = time.monotonic()
                    if not alive():
                        yield "event: signed-out\ndata: {}\n\n"
                        return
                    yield "event: beat\ndata: {}\n\n"
        finally:
            with self._changed:
                self._streams -= 1

    def _await_news(self, told: Versions) -> dict[str, int]:
        with self._changed:
            self._want()
            self._changed.wait_for(lambda: self._news(told), timeout=CHECK_S)
            return self._news(told)

    def _news(self, told: Versions) -> dict[str, int]:
        return {topic: version for topic, version in self._versions.items() if told.get(topic) != version}

    def _want(self) -> None:
        self._wanted_s = time.monotonic()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="live-versions", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            started_s = time.monotonic()
            try:
                versions = {topic: int(version) for topic, version in self._ask().items() if topic in self.topics}
            except Exception as error:  # noqa: BLE001  whatever it is: told in the log, the badge shows "stale since"
                log.warning("live.versions_failed", error=str(error))
                versions = None
            with self._changed:
                if versions is not None:
                    self._versions, self._asked_s = versions, time.monotonic()
                    self._changed.notify_all()
                if time.monotonic() - self._wanted_s > IDLE_S:
                    self._thread = None
                    return
            time.sleep(max(0.0, CHECK_S - (time.monotonic() - started_s)))
