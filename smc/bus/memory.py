"""The bus inside one process, until it ends; for tests and for stages run in one process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from smc.bus.promises import (
    GROUPS,
    MAX_BYTES,
    MAX_MESSAGES,
    MAX_WAIT_S,
    NEVER,
    OLDEST,
    BusFull,
    Delivery,
    Sessions,
    family_of,
    require_room,
)

_NEW = ">"


@dataclass
class _Group:
    delivered: int = 0
    pending: dict[int, str] = field(default_factory=dict)  # entry: consumer


@dataclass
class _Topic:
    published: int = 0
    messages: dict[int, bytes] = field(default_factory=dict)  # in the order of publication
    groups: dict[str, _Group] = field(default_factory=dict)

    def after(self, entry: int, count: int | None = None) -> list[int]:
        """Entries after this one."""
        return [number for number in self.messages if number > entry][:count]

    def deliveries(self, entries: Sequence[int]) -> list[Delivery]:
        """The messages of these entries."""
        return [Delivery(str(entry), self.messages[entry]) for entry in entries]


class MemoryBus:
    """The promises of the package without a server."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._topics: dict[str, _Topic] = {}
        self._sessions = Sessions()

    def publish(self, topic: str, body: bytes) -> str:
        with self._changed:
            state = self._topic(topic)
            require_room(topic, len(state.messages), body, self._max_messages, self._max_bytes)
            state.published += 1
            state.messages[state.published] = bytes(body)
            self._changed.notify_all()
            return str(state.published)

    def publish_all(self, messages: Mapping[str, bytes]) -> dict[str, bytes]:
        left = {}
        for topic, body in messages.items():
            try:
                self.publish(topic, body)
            except BusFull:
                left[topic] = body
        return left

    def receive(self, topic: str, group: str, consumer: str, count: int, wait_s: float) -> list[Delivery]:
        with self._changed:
            state = self._topic(topic)
            place = state.groups.setdefault(group, _Group())
            found = self._next_pending(state, place, (topic, group, consumer), count)
            if found:
                return found
            self._changed.wait_for(lambda: state.after(place.delivered), min(wait_s, MAX_WAIT_S))
            entries = state.after(place.delivered, count)
            for entry in entries:
                place.pending[entry] = consumer
                place.delivered = entry
            return state.deliveries(entries)

    def acknowledge(self, topic: str, group: str, entries: Sequence[str]) -> None:
        with self._changed:
            state = self._topic(topic)
            for entry in map(int, entries):
                state.groups[group].pending.pop(entry, None)
            for entry in [e for e in state.messages if all(_done(e, g) for g in state.groups.values())]:
                del state.messages[entry]

    def read(self, places: Mapping[str, str], count: int, wait_s: float) -> dict[str, list[Delivery]]:
        def waiting() -> dict[str, list[Delivery]]:
            found = {t: self._topic(t).deliveries(self._topic(t).after(int(p), count)) for t, p in places.items()}
            return {topic: deliveries for topic, deliveries in found.items() if deliveries}

        with self._changed:
            self._changed.wait_for(waiting, min(wait_s, MAX_WAIT_S))
            return waiting()

    def discard(self, topic: str, entries: Sequence[str]) -> None:
        with self._changed:
            for entry in entries:
                self._topic(topic).messages.pop(int(entry), None)

    def discard_all(self, entries: Mapping[str, Sequence[str]]) -> None:
        for topic, numbers in entries.items():
            self.discard(topic, numbers)

    def topics(self, family: str) -> list[str]:
        with self._changed:
            divided = (topic for topic in self._topics if topic != family and family_of(topic) == family)
            return sorted(topic for topic in divided if self._topics[topic].published)

    def length(self, topic: str) -> int:
        with self._changed:
            return len(self._topic(topic).messages)

    def synced(self) -> str:
        return NEVER

    def _topic(self, topic: str) -> _Topic:
        if topic not in self._topics:
            self._topics[topic] = _Topic(groups={group: _Group() for group in GROUPS.get(topic, ())})
        return self._topics[topic]

    def _next_pending(self, state: _Topic, place: _Group, session: tuple[str, str, str], count: int) -> list[Delivery]:
        after = self._sessions.after.get(session, OLDEST)
        if after == _NEW:
            return []
        mine = [e for e, consumer in place.pending.items() if consumer == session[2] and e > int(after)][:count]
        self._sessions.after[session] = str(mine[-1]) if mine else _NEW
        return state.deliveries(mine)


def _done(entry: int, group: _Group) -> bool:
    return entry <= group.delivered and entry not in group.pending
