"""Meters over MQTT: SenML packs on smc/<site>/<unit>/meter at QoS 1, acknowledged only after the commit.

The broker authenticates a device and lets it write its own subtree only; here the unit of the topic must be the unit
of the device that the pack names. The session is persistent, so that the broker keeps what comes while we are away.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from typing import Any

from gmqtt import Client
from gmqtt.mqtt.constants import MQTTv311
from sqlalchemy.exc import OperationalError

from model.block import Block, Origin
from model.device import Device, DeviceKind, Enrolment
from model.errors import DecodeError, NotTrusted, PeerError, SettingsError, SetupError, UnknownDevice
from smc.context import StageContext
from smc.gateway.batcher import RETRY_S, Batcher, Item, Refused, Stopped
from smc.gateway.registry import Registry
from wire.meter import decode_meter_pack

LINK = "mqtt"
RECONNECT_S = 2
ACCEPTED = 0  # reason code of PUBACK
_TOPIC = re.compile(r"smc/([A-Za-z0-9-]{1,64})/([A-Za-z0-9._-]{1,64})/meter\Z")


def parse_broker(text: str) -> tuple[str, int]:
    """Host and port of `host:port`. Raises SettingsError."""
    host, _, port = text.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise SettingsError("SMC_MQTT", text, "host:port", "write it like 127.0.0.1:1883")
    return host.strip("[]"), int(port)


def unit_of(topic: str, site: str) -> str:
    """The unit a topic belongs to. Raises DecodeError for a topic of another form, NotTrusted for another site."""
    match = _TOPIC.match(topic)
    if match is None:
        raise DecodeError("topic", "MQTT topic", topic[:200], "smc/<site>/<unit>/meter")
    if match[1] != site:
        raise NotTrusted("identity", "site of the topic", match[1], site)
    return match[2]


def decode_reading(topic: str, payload: bytes, site: str, registry: Registry, received_ns: int, broker: str) -> Block:
    """The block of one message. Raises PeerError: not decodable, not enrolled, or somebody else's subtree."""
    unit = unit_of(topic, site)
    pack = decode_meter_pack(payload, received_ns)
    device = registry.find(pack.device)
    if device is None or device.kind is not DeviceKind.METER:
        raise UnknownDevice("unknown_device", "meter of the pack", pack.device, "one that is enrolled here")
    _require_identity(device, unit)
    return pack.block(device.index, received_ns, Origin(LINK, broker, device.provenance))


def _require_identity(device: Device, unit: str) -> None:
    if device.unit != unit:
        raise NotTrusted("identity", f"unit of {device.name}", device.unit, f"{unit}, as the topic says")
    if device.enrolment is not Enrolment.COMMISSIONED:
        raise NotTrusted("enrolment", f"enrolment of {device.name}", device.enrolment, Enrolment.COMMISSIONED)


class MqttLink:
    """One subscription at one broker. `counts` are its own."""

    def __init__(self, context: StageContext, registry: Registry, batcher: Batcher) -> None:
        self.counts: Counter[str] = Counter()
        self.connected = False
        self._context = context
        self._registry = registry
        self._batcher = batcher
        self._broker = context.settings.mqtt
        self._connection = 0
        self._client = self._make_client()

    def _make_client(self) -> Any:
        settings = self._context.settings
        client = Client(f"smc-intake-{settings.site}", clean_session=False, optimistic_acknowledgement=False)
        client.set_config({"reconnect_retries": -1, "reconnect_delay": RECONNECT_S})
        if settings.mqtt_user:
            client.set_auth_credentials(settings.mqtt_user, self._password())
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        return client

    def _password(self) -> str:
        file = self._context.settings.mqtt_password_file
        try:
            return file.read_text().strip()
        except OSError as error:
            raise SetupError("SMC_MQTT_PASSWORD_FILE", str(file), "a readable file", str(error)) from error

    async def run(self) -> None:
        """Connect and stay connected until cancelled; the client reconnects by itself once it was connected."""
        host, port = parse_broker(self._broker)
        while True:
            try:
                await self._client.connect(host, port, version=MQTTv311, keepalive=30)
                break
            except OSError as error:
                self._context.log.warning("mqtt.not_connected", peer=self._broker, error=repr(error)[:200])
                await asyncio.sleep(RECONNECT_S)
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Leave the broker; it keeps our session."""
        if self.connected:
            await self._client.disconnect()

    def _on_connect(self, client: Any, _flags: int, _code: int, _properties: Any) -> None:
        self.connected = True
        self._connection += 1
        self.counts["connects"] += 1
        client.subscribe(f"smc/{self._context.settings.site}/+/meter", qos=1)
        self._context.log.info("mqtt.connected", peer=self._broker)

    def _on_disconnect(self, _client: Any, _packet: Any, _error: Any = None) -> None:
        self.connected = False
        self._context.log.warning("mqtt.disconnected", peer=self._broker)

    async def _on_message(self, _client: Any, topic: Any, payload: bytes, _qos: int, _properties: Any) -> int:
        """Returns, and so acknowledges, only when the message is committed: as readings or in quarantine.

        An answer on a later connection could acknowledge another message with the same number, so none is given:
        the broker sends the message again, and the store knows it already.
        """
        connection = self._connection
        item = await self._item(str(topic), payload, self._context.clock.now_ns())
        self.counts["messages"] += 1
        self.counts["messages_refused"] += isinstance(item, Refused)
        try:
            await (await self._batcher.put(item))
        except Stopped as error:
            raise asyncio.CancelledError from error
        if connection != self._connection:
            raise asyncio.CancelledError
        self.counts["acknowledged"] += 1
        return ACCEPTED

    async def _item(self, topic: str, payload: bytes, received_ns: int) -> Item:
        try:
            return self._decode(topic, payload, received_ns)
        except UnknownDevice as error:
            if self._registry.fresh:
                return Refused(LINK, topic[:200], error, payload, received_ns)
        except PeerError as error:
            return Refused(LINK, topic[:200], error, payload, received_ns)
        await self._refresh()  # perhaps enrolled a moment ago
        return await self._item(topic, payload, received_ns)

    async def _refresh(self) -> None:
        """Read the devices again, waiting for a database that is away: no verdict without it."""
        while True:
            try:
                await asyncio.to_thread(self._registry.refresh)
            except OperationalError as error:
                self._context.log.warning("mqtt.database_away", error=str(error.orig)[:200])
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _decode(self, topic: str, payload: bytes, received_ns: int) -> Block:
        site = self._context.settings.site
        return decode_reading(topic, payload, site, self._registry, received_ns, self._broker)
