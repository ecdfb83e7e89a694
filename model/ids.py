"""Ids: what people open gets a random UUID, what may be computed or sent twice gets a stable UUIDv5."""

from __future__ import annotations

from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

PROJECT_URL = "https://grid-smc.example/stix/v1"
NAMESPACE = uuid5(NAMESPACE_URL, PROJECT_URL)  # 535dea42-3b49-5e37-b9b7-e538e762c061


def new_id() -> UUID:
    """A random id for what a person opens: incidents, accounts, sessions."""
    return uuid4()


def stable_id(kind: str, creator: str, *key: object) -> UUID:
    """The same id for the same `kind|creator|key...`, on every machine and every re-delivery.

    The creator is part of the name: otherwise two operators would make one id of two things.
    """
    return uuid5(NAMESPACE, "|".join([kind, creator, *map(str, key)]))
