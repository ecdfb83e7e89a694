"""The bus on a server: one stream per topic, in Redis or Valkey."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from smc.bus.promises import (
    GROUPS,
    MAX_BYTES,
    MAX_MESSAGES,
    MAX_WAIT_S,
    MEMORY_SHARES,
    NEVER,
    OLDEST,
    BusDown,
    BusFull,
    Delivery,
    Sessions,
    family_of,
    require_room,
)

SOCKET_TIMEOUT_S = 30.0
NEW = ">"
BODY = b"b"


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
        self._sessions = Sessions()
        self._known: set[tuple[str, str]] = set()

    def publish(self, topic: str, body: bytes) -> str:
        with _translated():
            self._ensure_groups(topic)
            self._require_room(topic, body, int(self._redis.xlen(self._key(topic))), self._redis.info("memory"))
            return _text(self._redis.xadd(self._key(topic), {BODY: body}))

    def publish_all(self, messages: Mapping[str, bytes]) -> dict[str, bytes]:
        with _translated():
            room = self._with_room(messages)
            answers = self._in_one_go(
                lambda pipe: [pipe.xadd(self._key(topic), {BODY: messages[topic]}) for topic in room]
            )
            taken = {topic for topic, answer in zip(room, answers, strict=True) if _is_taken(answer)}
        return {topic: body for topic, body in messages.items() if topic not in taken}

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

    def read(self, places: Mapping[str, str], count: int, wait_s: float) -> dict[str, list[Delivery]]:
        keys: Any = {self._key(topic): place for topic, place in places.items()}
        with _translated():
            answer: Any = self._redis.xread(keys, count=count, block=_block_ms(wait_s))
        topics = {self._key(topic).encode(): topic for topic in places}
        return {topics[key]: _deliveries(entries) for key, entries in answer or ()}

    def discard(self, topic: str, entries: Sequence[str]) -> None:
        self.discard_all({topic: entries})

    def discard_all(self, entries: Mapping[str, Sequence[str]]) -> None:
        done = [(self._key(topic), numbers) for topic, numbers in entries.items() if numbers]
        with _translated():
            for answer in self._in_one_go(lambda pipe: [pipe.xdel(key, *numbers) for key, numbers in done]):
                _raised(answer)

    def topics(self, family: str) -> list[str]:
        start = self._key(f"{family}.")
        with _translated():
            keys = {_text(key) for key in self._redis.scan_iter(match=f"{start}*", count=1_000)}
        return sorted(key.removeprefix(f"{self._prefix}:") for key in keys)

    def length(self, topic: str) -> int:
        with _translated():
            return int(self._redis.xlen(self._key(topic)))

    def synced(self) -> str:
        try:
            with _translated():
                told = self._redis.config_get("appendonly", "appendfsync")
        except exceptions.ResponseError:  # CONFIG is forbidden to this user, or renamed away
            return ""
        return str(told["appendfsync"]) if told["appendonly"] == "yes" else NEVER

    def close(self) -> None:
        """Give back all connections."""
        self._redis.close()

    def _key(self, topic: str) -> str:
        return f"{self._prefix}:{topic}"

    def _with_room(self, messages: Mapping[str, bytes]) -> list[str]:
        """The topics of these messages that have room for them."""
        asked = self._in_one_go(lambda pipe: [pipe.info("memory"), *(pipe.xlen(self._key(t)) for t in messages)])
        memory, *lengths = (_raised(answer) for answer in asked)
        room = []
        for (topic, body), length in zip(messages.items(), lengths, strict=True):
            with suppress(BusFull), _translated():
                self._require_room(topic, body, int(length), memory)
                self._ensure_groups(topic)
                room.append(topic)
        return room

    def _in_one_go(self, ask: Callable[[Any], object]) -> list[Any]:
        """Commands in one round trip, each for itself: outside MULTI. Answers or errors in their order."""
        pipe = self._redis.pipeline(transaction=False)
        ask(pipe)
        return list(pipe.execute(raise_on_error=False))

    def _require_room(self, topic: str, body: bytes, length: int, memory: Mapping[str, Any]) -> None:
        require_room(topic, length, body, self._max_messages, self._max_bytes)
        share = MEMORY_SHARES.get(family_of(topic))
        if share is None:
            return
        used, limit = int(memory["used_memory"]), share * int(memory["maxmemory"])
        if 0 < limit <= used:  # maxmemory 0: no limit
            raise BusFull(f"topic {topic} may fill memory up to {limit:.0f} bytes, used are {used}")

    def _ensure_groups(self, topic: str) -> None:
        for group in GROUPS.get(topic, ()):
            self._ensure_group(topic, group)

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
        after = self._sessions.after.get(session, OLDEST)
        if after == NEW:
            return []
        found = self._read(session, after, count, 0.0)
        self._sessions.after[session] = found[-1].entry if found else NEW
        return found

    def _read(self, session: tuple[str, str, str], after: str, count: int, wait_s: float) -> list[Delivery]:
        topic, group, consumer = session
        streams: Any = {self._key(topic): after}
        answer: Any = self._redis.xreadgroup(group, consumer, streams, count=count, block=_block_ms(wait_s))
        return _deliveries(answer[0][1]) if answer else []

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


def _block_ms(wait_s: float) -> int | None:
    """BLOCK 0 would wait for ever, so no wait is no BLOCK."""
    return round(min(wait_s, MAX_WAIT_S) * 1000) or None


def _deliveries(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]]) -> list[Delivery]:
    return [Delivery(_text(entry), fields[BODY]) for entry, fields in entries if fields]


def _is_taken(answer: object) -> bool:
    return not isinstance(answer, exceptions.OutOfMemoryError) and bool(_raised(answer))


def _raised(answer: Any) -> Any:
    """The answer of one command of several; an error is raised."""
    if isinstance(answer, Exception):
        raise answer
    return answer


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
