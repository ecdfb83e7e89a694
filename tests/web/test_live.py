"""Versions reach every browser once, streams end with the session, too many are turned away."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine

from tests.web.conftest import signed_in
from tests.web.sample import sample
from web import live
from web.live import Feed


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "CHECK_S", 0.02)
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.1)
    monkeypatch.setattr(live, "IDLE_S", 0.3)


def told(events: Iterator[str], count: int) -> list[dict[str, int]]:
    found = []
    for event in events:
        if event.startswith("event: versions"):
            found.append(json.loads(event.partition("data: ")[2]))
        if len(found) == count:
            break
    return found


def test_a_stream_tells_what_changed_and_nothing_else() -> None:
    versions = {"incidents": 1, "kpi": 1, "unknown": 7}
    feed = Feed(lambda: versions, ("incidents", "kpi"))
    events = feed.stream(lambda: True)
    assert events is not None
    assert told(events, 1) == [{"incidents": 1, "kpi": 1}]
    versions = {"incidents": 2, "kpi": 1}
    assert told(events, 1) == [{"incidents": 2}]
    assert feed.current() == versions


def test_many_listeners_cost_one_question_at_a_time() -> None:
    asked = []
    feed = Feed(lambda: asked.append(1) or {"incidents": len(asked)}, ("incidents",))  # type: ignore[func-returns-value]
    threads = [threading.Thread(target=lambda: told(feed.stream(lambda: True) or iter(()), 3)) for _ in range(10)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(asked) <= (time.monotonic() - started) / live.CHECK_S + 3


def test_a_stream_ends_when_the_session_does() -> None:
    feed = Feed(lambda: {"incidents": 1}, ("incidents",))
    events = feed.stream(lambda: False)
    assert events is not None
    assert list(events)[-1].startswith("event: signed-out")


def test_too_many_streams_are_turned_away_and_places_come_free() -> None:
    feed = Feed(lambda: {"incidents": 1}, ("incidents",), most_streams=2)
    first, second = feed.stream(lambda: True), feed.stream(lambda: True)
    assert first is not None
    assert second is not None
    next(first)
    assert feed.stream(lambda: True) is None
    first.close()  # type: ignore[attr-defined]
    assert feed.stream(lambda: True) is not None


def test_a_failing_store_keeps_the_last_versions_and_recovers() -> None:
    state = {"fail": False, "version": 1}

    def ask() -> dict[str, int]:
        if state["fail"]:
            raise ConnectionError("the store is away")
        return {"incidents": int(state["version"])}

    feed = Feed(ask, ("incidents",))
    events = feed.stream(lambda: True)
    assert events is not None
    assert told(events, 1) == [{"incidents": 1}]
    state |= {"fail": True}
    time.sleep(0.1)
    state |= {"fail": False, "version": 2}
    assert told(events, 1) == [{"incidents": 2}]


def test_nobody_listens_nobody_asks() -> None:
    asked = []
    feed = Feed(lambda: asked.append(1) or {}, ())  # type: ignore[func-returns-value]
    assert feed._thread is None
    feed.current()
    time.sleep(0.6)
    assert feed._thread is None
    before = len(asked)
    time.sleep(0.1)
    assert len(asked) == before


def test_the_routes_serve_versions_and_the_stream(engine: Engine, sign_in: Callable[[str], FlaskClient]) -> None:
    client = signed_in(sample(engine, versions=lambda: {"incidents": 42}), "operator")
    assert client.get("/live/versions").json == {"incidents": 42}
    answer = client.get("/live", buffered=False)
    assert answer.mimetype == "text/event-stream"
    assert "Content-Encoding" not in answer.headers
    text = ""
    for chunk in answer.response:
        text += chunk.decode() if isinstance(chunk, bytes) else chunk
        if "42" in text:
            break
    answer.close()
    assert 'event: versions\ndata: {"incidents": 42}' in text
