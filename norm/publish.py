"""Meters on MQTT: one SenML pack per unit and period, QoS 1, kept and sent again until the broker has taken it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import structlog
from gmqtt import Client
from gmqtt.mqtt.constants import MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.storage import PersistentStorage

from model.errors import SetupError
from model.time import NS_PER_S
from norm.fleet import Fleet
from norm.pack import meter_packs

MAX_INFLIGHT = 64
MAX_WAITING = 50_000  # packs kept while the broker is away; then the oldest are dropped and counted
RETRY_S = 1.0
_POLL_S = 0.02

log = structlog.get_logger()


class Unacknowledged(PersistentStorage):  # type: ignore[misc]  # gmqtt publishes no types
    """gmqtt's store of messages in flight, which it sends again after a reconnect; counts those the broker took."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged = 0

    @property
    def count(self) -> int:
        """Messages in flight. (No __len__: gmqtt takes a store that is false for none.)"""
        return len(self._messages)

    def clear(self) -> None:
        """A connection without the old session: gmqtt would forget what was in flight; we keep and send it again."""

    def remove_message_by_mid(self, mid: int) -> None:
        """PUBACK of one message."""
        known = self.count
        super().remove_message_by_mid(mid)
        self.acknowledged += known - self.count


class MeterPublisher:
    """One connection for all meters of a site, as their gateway has it.

    `sampled` packs were made; each is acknowledged, in flight, waiting, or dropped.
    """

    def __init__(self, fleet: Fleet, period_s: float, now_ns: Callable[[], int] = time.time_ns) -> None:
        self.fleet = fleet
        self.period_ns = round(period_s * NS_PER_S)
        self.sampled = 0
        self.dropped = 0
        self._now_ns = now_ns
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._inflight = Unacknowledged()
        self._client: Any = Client(f"norm-{fleet.site}", persistent_storage=self._inflight)
        self._client.reconnect_delay = RETRY_S
        self._client.on_connect = self._connected
        self._resending: asyncio.Task[None] | None = None

    @property
    def acknowledged(self) -> int:
        """Messages the broker has acknowledged."""
        return self._inflight.acknowledged

    @property
    def unsent(self) -> int:
        """Messages waiting or in flight."""
        return len(self._waiting) + self._inflight.count

    async def connect(self, host: str, port: int, user: str = "", password: str = "") -> None:
        """Connect, trying again until the broker is there. Raises SetupError when it refuses us."""
        if user:
            self._client.set_auth_credentials(user, password)
        while True:
            try:
                await self._client.connect(host, port, version=MQTTv311)
            except OSError as error:
                log.info("publish.broker_away", broker=f"{host}:{port}", error=str(error), wait_s=RETRY_S)
                await asyncio.sleep(RETRY_S)
            except MQTTConnectError as error:
                raise SetupError("MQTT broker", f"{host}:{port}", "to accept us", str(error)) from error
            else:
                return

    async def close(self, wait_s: float = 2.0) -> None:
        """Give messages in flight a moment to be acknowledged, then hang up."""
        deadline = time.monotonic() + wait_s
        while self.unsent and time.monotonic() < deadline and self._client.is_connected:
            self._send_waiting()
            await asyncio.sleep(_POLL_S)
        self._client.stop_reconnect()
        await self._client.disconnect()

    async def sample_forever(self) -> None:
        """Read all meters on the grid of the period; periods of the past are not made up for."""
        moment_ns = (self._now_ns() // self.period_ns + 1) * self.period_ns
        while True:
            await asyncio.sleep(max(moment_ns - self._now_ns(), 0) / NS_PER_S)
            self._waiting.extend(meter_packs(self.fleet, moment_ns))
            self.sampled += len(self.fleet.names)
            while len(self._waiting) > MAX_WAITING:
                self._waiting.popleft()
                self.dropped += 1
            moment_ns = max(moment_ns + self.period_ns, self._now_ns() // self.period_ns * self.period_ns)

    async def send_forever(self) -> None:
        """Keep up to MAX_INFLIGHT messages in flight while the broker is there."""
        while True:
            if self._client.is_connected:
                self._send_waiting()
            await asyncio.sleep(_POLL_S)

    def _connected(self, client: Any, session_kept: int, _code: int, _properties: object) -> None:
        """gmqtt sends what is in flight again only when the broker kept the session; a restarted broker did not."""
        if not session_kept:
            self._resending = asyncio.ensure_future(client._resend_qos_messages())

    def _send_waiting(self) -> None:
        while self._waiting and self._inflight.count < MAX_INFLIGHT:
            topic, payload = self._waiting.popleft()
            self._client.publish(topic, payload, qos=1)
