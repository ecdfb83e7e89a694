"""What every bus promises to the stages, and the errors and numbers that go with it.

Topics read by groups (one group per stage; `receive`, `acknowledge`):

- At least once: a message is handed out again until its group has acknowledged it. Acknowledge after the commit.
- Order: within a topic and group, one consumer gets messages in the order of publication.
- A thread's first `receive` gives what this consumer's name had received and not acknowledged before it died; then
  comes what is new. Names are fixed by the caller; nobody else takes over a name's work, however long it is silent.
- A message is deleted when every group of its topic has acknowledged it, never before.

Topics of a divided family (as `readings.0.8.3`; `read`, `discard`), with one owner at a time, agreed outside the bus:

- Reading changes nothing: the oldest messages are shown again and again until `discard`. So whoever gains a topic sees
  all that its last owner did not finish, in order, and one who has lost it can take nothing away by reading on.
- Discard after the commit. What is discarded is gone; what was discarded before is ignored.

All topics:

- No wall clock decides anything: neither who reads, nor what is deleted.
- Full is an answer: `publish` raises BusFull past the cap or at the server's `maxmemory` (policy noeviction). The
  publisher keeps its message and tries again; nothing is dropped or overwritten. Receiving and acknowledging go on.
- What is full at the front leaves memory further back: the first topics may fill a share of `maxmemory` only. A stage
  acknowledges after it has handed on, so in memory full to the brim nobody could hand on, and nobody would free any.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from model.errors import GridSmcError

# Groups that a topic waits for before it forgets: made by the first publisher, so that a stage that starts late
# finds everything. A group not named here gets what is still there when it first asks.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "blocks": ("detect",),
    "findings": ("triage",),
    "incidents": ("decide", "federate"),
    "decisions": ("act",),
}
# Of maxmemory, by family; topics not named may use all.
MEMORY_SHARES: Mapping[str, float] = {"readings": 0.5, "refused": 0.5, "blocks": 0.7, "findings": 0.85}
MAX_MESSAGES = 20_000
MAX_BYTES = 64 * 1024 * 1024  # estimated: unread messages times the size of the next one
MAX_WAIT_S = 20.0
OLDEST = "0"  # the place before every message of a topic
NEVER, ALWAYS = "never", "always"


class BusError(GridSmcError):
    """The bus cannot take or give a message now."""


class BusFull(BusError):
    """Too much is unread. Keep the message, stop taking in, try again."""


class BusDown(BusError):
    """No connection, or it broke: the message may or may not have arrived. Try again."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message as a consumer gets it; `entry` is what to acknowledge or discard."""

    entry: str
    body: bytes


class Bus(Protocol):
    """See the module's docstring for the promises. Safe for threads."""

    def publish(self, topic: str, body: bytes) -> str:
        """Append a message and return its entry id. Raises BusFull, BusDown."""

    def publish_all(self, messages: Mapping[str, bytes]) -> dict[str, bytes]:
        """Append one message to each topic, all in one go; returns those for which there was no room.

        Raises BusDown: each of them may or may not have arrived.
        """

    def receive(self, topic: str, group: str, consumer: str, count: int, wait_s: float) -> list[Delivery]:
        """Up to `count` messages, own unacknowledged first; none after `wait_s` (at most 20 s). Raises BusDown."""

    def acknowledge(self, topic: str, group: str, entries: Sequence[str]) -> None:
        """These are done: never hand them to this group again. Unknown entries are ignored. Raises BusDown."""

    def read(self, places: Mapping[str, str], count: int, wait_s: float) -> dict[str, list[Delivery]]:
        """Of each topic up to `count` messages after its place, an entry id or OLDEST; topics with none are left out.

        Waits up to `wait_s` (at most 20 s) until one of the topics has some. Raises BusDown.
        """

    def discard(self, topic: str, entries: Sequence[str]) -> None:
        """Delete these messages of a topic without groups. Unknown entries are ignored. Raises BusDown."""

    def discard_all(self, entries: Mapping[str, Sequence[str]]) -> None:
        """The same for several topics, all in one go. Raises BusDown: then some may be left."""

    def topics(self, family: str) -> list[str]:
        """Topics of a divided family that were ever published to, by name. Raises BusDown."""

    def length(self, topic: str) -> int:
        """Messages that some group has not acknowledged, or that the owner has not discarded. Raises BusDown."""

    def synced(self) -> str:
        """When a published message is on disk: "always" (before the answer), "everysec", "no", "never"; "" if the
        server does not tell. Raises BusDown."""


def publish_when_free(bus: Bus, topic: str, body: bytes, stop: threading.Event, retry_s: float = 0.1) -> str:
    """Publish, waiting while the bus is full. Raises BusFull only when told to stop meanwhile."""
    while True:
        try:
            return bus.publish(topic, body)
        except BusFull:
            if stop.wait(retry_s):
                raise


def family_of(topic: str) -> str:
    """`readings` of `readings.0.8.3`; a topic that is not divided is its own family."""
    return topic.partition(".")[0]


def require_room(topic: str, messages: int, body: bytes, max_messages: int, max_bytes: int) -> None:
    """Raise BusFull if a topic that holds so many messages cannot take this one as well."""
    if messages >= max_messages or messages * len(body) >= max_bytes:
        raise BusFull(f"topic {topic} holds {messages} unread messages, next has {len(body)} bytes")


class Sessions(threading.local):
    """Where each thread stands in its own pending list: an entry id to read after, or the mark for new ones."""

    def __init__(self) -> None:
        self.after: dict[tuple[str, str, str], str] = {}
