"""The bus between stages: topics of messages, read by consumer groups, one group per stage.

What both buses promise (one contract test runs over all of them):

- At least once: a message is handed out again until its group has acknowledged it. Acknowledge after the commit.
- Order: within a topic and group, one consumer gets messages in the order of publication.
- A thread's first `receive` gives what this consumer's name had received and not acknowledged before it died; then
  comes what is new. Names are fixed by the caller; nobody else takes over a name's work, however long it is silent.
- No wall clock decides anything: a message is deleted when every group of its topic has acknowledged it, never before.
- Full is an answer: `publish` raises BusFull past the cap or at the server's `maxmemory` (policy noeviction). The
  publisher keeps its message and tries again; nothing is dropped or overwritten. Receiving and acknowledging go on.
- What is full at the front leaves memory further back: the first topics may fill a share of `maxmemory` only. A stage
  acknowledges after it has handed on, so in memory full to the brim nobody could hand on, and nobody would free any.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from model.errors import GridSmcError

# Groups that a topic waits for before it forgets: made by the first publisher, so that a stage that starts late
# finds everything. A group not named here gets what is still there when it first asks.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "blocks": ("detect",),
    "findings": ("triage",),
    "incidents": ("decide", "federate"),
    "decisions": ("act",),
}
MEMORY_SHARES: Mapping[str, float] = {"blocks": 0.7, "findings": 0.85}  # of maxmemory; later topics may use all
MAX_MESSAGES = 20_000
MAX_BYTES = 64 * 1024 * 1024  # estimated: unread messages times the size of the next one
MAX_WAIT_S = 20.0
SOCKET_TIMEOUT_S = 30.0
NEW = ">"
BODY = b"b"


class BusError(GridSmcError):
    """The bus cannot take or give a message now."""


class BusFull(BusError):
    """Too much is unread. Keep the message, stop taking in, try again."""


class BusDown(BusError):
    """No connection, or it broke: the message may or may not have arrived. Try again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a consumer gets it; `entry` is what to acknowledge."""

    entry: str
    body: bytes


class Bus(Protocol):
    """See the module's docstring for the promises. Safe for threads."""

    def publish(self, topic: str, body: bytes) -> str:
        """Append a message and return its entry id. Raises BusFull, BusDown."""

    def receive(self, topic: str, group: str, consumer: str, count: int, wait_s: float) -> list[Delivery]:
        """Up to `count` messages, own unacknowledged first; none after `wait_s` (at most 20 s). Raises BusDown."""

    def acknowledge(self, topic: str, group: str, entries: Sequence[str]) -> None:
        """These are done: never hand them to this group again. Unknown entries are ignored. Raises BusDown."""

    def length(self, topic: str) -> int:
        """Messages that some group has not acknowledged. Raises BusDown."""


def publish_when_free(bus: Bus, topic: str, body: bytes, stop: threading.Event, retry_s: float = 0.1) -> str:
    """Publish, waiting while the bus is full. Raises BusFull only when told to stop meanwhile."""
    while True:
        try:
            return bus.publish(topic, body)
        except BusFull:
            if stop.wait(retry_s):
                raise


class _Sessions(threading.local):
    """Where each thread stands in its own pending list: an entry id to read after, or NEW."""

    def __init__(self) -> None:
        self.after: dict[tuple[str, str, str], str] = {}


class RedisBus:
    """Redis streams (7.0 commands, so Redis and Valkey alike); keys are `prefix:topic`.

    The client never retries by itself: a repeated XADD would be a doubled message that nobody ordered.
    """

    def __init__(self, url: str, prefix: str, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._redis: Redis = Redis.from_url(
            url, retry=Retry(NoBackoff(), 0), socket_timeout=SOCKET_TIMEOUT_S, protocol=2
        )
        self._prefix = prefix
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._sessions = _Sessions()
        self._known: set[tuple[str, str]] = set()

    def publish(self, topic: str, body: bytes) -> str:
        with _translated():
            for group in GROUPS.get(topic, ()):
                self._ensure_group(topic, group)
            _require_room(topic, int(self._redis.xlen(self._key(topic))), body, self._max_messages, self._max_bytes)
            self._require_memory(topic)
            return _text(self._redis.xadd(self._key(topic), {BODY: body}))

    def receive(self, topic: str, group: str, consumer: str, count: int, wait_s: float) -> list[Delivery]:
        session = (topic, group, consumer)
        try:
            with _translated():
                self._ensure_group(topic, group)
                found = self._next_pending(session, count)
                return found or self._read(session, NEW, count, wait_s)
        except BusDown:
            # An answer may have been lost on the way: what it held is pending now and must be read again. After a
            # lost or emptied server the group may be gone too.
            self._sessions.after.pop(session, None)
            self._known.discard((topic, group))
            raise

    def acknowledge(self, topic: str, group: str, entries: Sequence[str]) -> None:
        if not entries:
            return
        key = self._key(topic)
        with _translated():
            # Outside MULTI: at maxmemory everything inside MULTI is refused, and nobody could free memory again.
            self._redis.xack(key, group, *entries)
            groups = self._redis.xinfo_groups(key)
            names = {_text(g["name"]) for g in groups}
            if names == {group} and names.issuperset(GROUPS.get(topic, ())):
                self._redis.xdel(key, *entries)
            elif names.issuperset(GROUPS.get(topic, ())):
                self._redis.xtrim(key, minid=self._lowest_unacknowledged(key, groups), approximate=False)

    def length(self, topic: str) -> int:
        with _translated():
            return int(self._redis.xlen(self._key(topic)))

    def close(self) -> None:
        """Give back all connections."""
        self._redis.close()

    def _key(self, topic: str) -> str:
        return f"{self._prefix}:{topic}"

    def _require_memory(self, topic: str) -> None:
        if topic not in MEMORY_SHARES:
            return
        memory = self._redis.info("memory")
        used, limit = int(memory["used_memory"]), MEMORY_SHARES[topic] * int(memory["maxmemory"])
        if 0 < limit <= used:  # maxmemory 0: no limit
            raise BusFull(f"topic {topic} may fill memory up to {limit:.0f} bytes, used are {used}")

    def _ensure_group(self, topic: str, group: str) -> None:
        """XGROUP CREATE is refused at maxmemory even for a group that exists, so look first."""
        if (topic, group) in self._known:
            return
        key = self._key(topic)
        if not (self._redis.exists(key) and group in {_text(g["name"]) for g in self._redis.xinfo_groups(key)}):
            try:
                self._redis.xgroup_create(key, group, id="0", mkstream=True)
            except exceptions.ResponseError as error:
                if not str(error).startswith("BUSYGROUP"):  # another process made it first
                    raise
        self._known.add((topic, group))

    def _next_pending(self, session: tuple[str, str, str], count: int) -> list[Delivery]:
        after = self._sessions.after.get(session, "0")
        if after == NEW:
            return []
        found = self._read(session, after, count, 0.0)
        self._sessions.after[session] = found[-1].entry if found else NEW
        return found

    def _read(self, session: tuple[str, str, str], after: str, count: int, wait_s: float) -> list[Delivery]:
        topic, group, consumer = session
        block_ms = round(min(wait_s, MAX_WAIT_S) * 1000) or None  # BLOCK 0 would wait for ever
        streams: Any = {self._key(topic): after}
        answer: Any = self._redis.xreadgroup(group, consumer, streams, count=count, block=block_ms)
        if not answer:
            return []
        return [Delivery(_text(entry), fields[BODY]) for entry, fields in answer[0][1] if fields]

    def _lowest_unacknowledged(self, key: str, groups: Sequence[Mapping[str, Any]]) -> str:
        lowest = []
        for group in groups:
            delivered = _text(group["last-delivered-id"])
            if group["pending"]:
                pending = self._redis.xpending(key, _text(group["name"]))
                delivered = _text(pending["min"]) if pending["min"] else delivered
                lowest.append(_parts(delivered))
            else:
                milliseconds, number = _parts(delivered)
                lowest.append((milliseconds, number + 1))
        milliseconds, number = min(lowest)
        return f"{milliseconds}-{number}"


def _require_room(topic: str, messages: int, body: bytes, max_messages: int, max_bytes: int) -> None:
    if messages >= max_messages or messages * len(body) >= max_bytes:
        raise BusFull(f"topic {topic} holds {messages} unread messages, next has {len(body)} bytes")


def _parts(entry: str) -> tuple[int, int]:
    milliseconds, number = entry.split("-")
    return int(milliseconds), int(number)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise BusFull(str(error)) from error
    except (exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise BusDown(str(error)) from error
    except exceptions.ResponseError as error:
        if str(error).startswith(("NOGROUP", "no such key")):  # the server lost its data: groups are made again
            raise BusDown(str(error)) from error
        raise


@dataclass
class _Group:
    delivered: int = 0
    pending: dict[int, str] = field(default_factory=dict)  # entry: consumer


@dataclass
class _Topic:
    published: int = 0
    messages: dict[int, bytes] = field(default_factory=dict)  # in the order of publication
    groups: dict[str, _Group] = field(default_factory=dict)


class MemoryBus:
    """The same promises inside one process, until it ends; for tests and for stages run in one process."""

    def __init__(self, max_messages: int = MAX_MESSAGES, max_bytes: int = MAX_BYTES) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._changed = threading.Condition()
        self._topics: dict[str, _Topic] = {}
        self._sessions = _Sessions()

    def publish(self, topic: str, body: bytes) -> str:
        with self._changed:
            state = self._topic(topic)
            _require_room(topic, len(state.messages), body, self._max_messages, self._max_bytes)
            state.published += 1
            state.messages[state.published] = bytes(body)
            self._changed.notify_all()
            return str(state.published)

    def receive(self, topic: str, group: str, consumer: str, count: int, wait_s: float) -> list[Delivery]:
        with self._changed:
            state = self._topic(topic)
            place = state.groups.setdefault(group, _Group())
            found = self._next_pending(state, place, (topic, group, consumer), count)
            if found:
                return found
            self._changed.wait_for(lambda: self._unread(state, place), min(wait_s, MAX_WAIT_S))
            entries = self._unread(state, place)[:count]
            for entry in entries:
                place.pending[entry] = consumer
                place.delivered = entry
            return [Delivery(str(entry), state.messages[entry]) for entry in entries]

    def acknowledge(self, topic: str, group: str, entries: Sequence[str]) -> None:
        with self._changed:
            state = self._topic(topic)
            for entry in map(int, entries):
                state.groups[group].pending.pop(entry, None)
            for entry in [e for e in state.messages if all(_done(e, g) for g in state.groups.values())]:
                del state.messages[entry]

    def length(self, topic: str) -> int:
        with self._changed:
            return len(self._topic(topic).messages)

    def _topic(self, topic: str) -> _Topic:
        if topic not in self._topics:
            self._topics[topic] = _Topic(groups={group: _Group() for group in GROUPS.get(topic, ())})
        return self._topics[topic]

    def _unread(self, state: _Topic, place: _Group) -> list[int]:
        return [entry for entry in state.messages if entry > place.delivered]

    def _next_pending(self, state: _Topic, place: _Group, session: tuple[str, str, str], count: int) -> list[Delivery]:
        after = self._sessions.after.get(session, "0")
        if after == NEW:
            return []
        mine = [e for e, consumer in place.pending.items() if consumer == session[2] and e > int(after)][:count]
        self._sessions.after[session] = str(mine[-1]) if mine else NEW
        return [Delivery(str(entry), state.messages[entry]) for entry in mine]


def _done(entry: int, group: _Group) -> bool:
    return entry <= group.delivered and entry not in group.pending
