"""One contract for every bus: in memory, on Valkey and on Redis. The promises are in smc/bus/promises.py."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from unittest.mock import patch
from uuid import uuid4

import pytest
import redis

from smc.bus import GROUPS, OLDEST, Bus, BusDown, BusFull, Delivery, MemoryBus, RedisBus, publish_when_free

MakeBus = Callable[..., Bus]


def bodies(found: list[Delivery]) -> list[bytes]:
    return [d.body for d in found]


def publish_many(bus: Bus, messages: list[bytes], topic: str = "blocks") -> None:
    for body in messages:
        bus.publish(topic, body)


def in_new_thread(call: Callable[[], list[Delivery]]) -> list[Delivery]:
    """What a restarted stage sees: its first `receive` in a thread of its own."""
    found: list[Delivery] = []
    thread = threading.Thread(target=lambda: found.extend(call()))
    thread.start()
    thread.join(timeout=10)
    return found


class Contract:
    """Tests that every bus passes; `make_bus` builds clients of one bus, a second call is a second process."""

    def test_messages_arrive_in_order_and_only_once_when_acknowledged(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        sent = [bytes([i]) * 3 for i in range(50)]
        for body in sent:
            bus.publish("findings", body)
        first = bus.receive("findings", "triage", "triage-1", 20, 0)
        bus.acknowledge("findings", "triage", [d.entry for d in first])
        rest = bus.receive("findings", "triage", "triage-1", 100, 0)
        assert bodies(first + rest) == sent
        bus.acknowledge("findings", "triage", [d.entry for d in rest])
        assert bus.receive("findings", "triage", "triage-1", 100, 0) == []
        assert in_new_thread(lambda: make_bus().receive("findings", "triage", "triage-1", 100, 0)) == []

    def test_what_a_dead_consumer_had_comes_again_first_and_in_order(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        for i in range(10):
            bus.publish("findings", bytes([i]))
        taken = bus.receive("findings", "triage", "triage-1", 6, 0)
        bus.acknowledge("findings", "triage", [taken[0].entry])

        def restarted() -> list[Delivery]:
            again = make_bus()
            parts = [again.receive("findings", "triage", "triage-1", 3, 0) for _ in range(5)]
            return [d for part in parts for d in part]

        assert bodies(in_new_thread(restarted)) == [bytes([i]) for i in range(1, 10)]

    def test_another_consumer_never_takes_over_unacknowledged_work(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        bus.publish("findings", b"mine")
        assert bodies(bus.receive("findings", "triage", "triage-1", 10, 0)) == [b"mine"]
        assert in_new_thread(lambda: make_bus().receive("findings", "triage", "triage-2", 10, 0.05)) == []

    def test_every_group_gets_every_message_and_the_last_acknowledgement_deletes(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        for i in range(4):
            bus.publish("incidents", bytes([i]))
        decide = bus.receive("incidents", "decide", "decide-1", 10, 0)
        bus.acknowledge("incidents", "decide", [d.entry for d in decide])
        assert bus.length("incidents") == 4, "federate has seen nothing yet"
        federate = bus.receive("incidents", "federate", "federate-1", 10, 0)
        assert bodies(federate) == bodies(decide)
        bus.acknowledge("incidents", "federate", [federate[0].entry, federate[2].entry])
        assert 2 <= bus.length("incidents") <= 3, (
            "an entry before the first unacknowledged one is deleted, later ones may"
        )
        bus.acknowledge("incidents", "federate", [federate[1].entry, federate[3].entry])
        assert bus.length("incidents") == 0

    def test_a_stage_that_starts_late_misses_nothing(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        assert GROUPS["incidents"] == ("decide", "federate")
        bus.publish("incidents", b"early")
        first = bus.receive("incidents", "decide", "decide-1", 10, 0)
        bus.acknowledge("incidents", "decide", [d.entry for d in first])
        assert bodies(in_new_thread(lambda: make_bus().receive("incidents", "federate", "f-1", 10, 0))) == [b"early"]

    def test_an_acknowledged_entry_is_deleted_at_once_where_one_group_reads(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        for i in range(3):
            bus.publish("blocks", bytes([i]))
        found = bus.receive("blocks", "detect", "detect-1", 10, 0)
        bus.acknowledge("blocks", "detect", [found[1].entry])
        assert bus.length("blocks") == 2
        bus.acknowledge("blocks", "detect", [found[1].entry, found[0].entry, found[2].entry])
        assert bus.length("blocks") == 0

    def test_past_the_cap_publishing_is_refused_until_somebody_reads(self, make_bus: MakeBus) -> None:
        bus = make_bus(max_messages=5, max_bytes=1_000_000)
        for i in range(5):
            bus.publish("blocks", bytes([i]))
        with pytest.raises(BusFull, match="5 unread"):
            bus.publish("blocks", b"too many")
        found = bus.receive("blocks", "detect", "detect-1", 10, 0)
        assert bodies(found) == [bytes([i]) for i in range(5)], "nothing was dropped to make room"
        bus.acknowledge("blocks", "detect", [found[0].entry])
        bus.publish("blocks", b"room again")

    def test_the_cap_counts_bytes_too(self, make_bus: MakeBus) -> None:
        bus = make_bus(max_messages=1_000, max_bytes=3_000)
        for _ in range(3):
            bus.publish("blocks", bytes(1_000))
        with pytest.raises(BusFull, match="1000 bytes"):
            bus.publish("blocks", bytes(1_000))

    def test_many_topics_in_one_go_leave_out_only_what_has_no_room(self, make_bus: MakeBus) -> None:
        bus = make_bus(max_messages=2)
        publish_many(bus, [b"1", b"2"], "readings.3.1")
        messages = {f"readings.3.{partition}": b"%d" % partition for partition in range(3)}
        assert bus.publish_all(messages) == {"readings.3.1": b"1"}
        assert bus.publish_all({"readings.3.0": b"again", "blocks": b"b"}) == {}
        found = bus.read(dict.fromkeys(messages, OLDEST), 10, 0)
        assert {topic: bodies(part) for topic, part in found.items()} == {
            "readings.3.0": [b"0", b"again"],
            "readings.3.1": [b"1", b"2"],
            "readings.3.2": [b"2"],
        }
        assert bodies(bus.receive("blocks", "detect", "detect-1", 10, 0)) == [b"b"]

    def test_a_patient_publisher_waits_for_room_and_gives_up_only_when_stopped(self, make_bus: MakeBus) -> None:
        bus, stop = make_bus(max_messages=1), threading.Event()
        bus.publish("blocks", b"first")
        waiting = threading.Thread(target=lambda: publish_when_free(bus, "blocks", b"second", stop, retry_s=0.01))
        waiting.start()
        found = bus.receive("blocks", "detect", "detect-1", 10, 1)
        bus.acknowledge("blocks", "detect", [d.entry for d in found])
        waiting.join(timeout=5)
        assert bodies(bus.receive("blocks", "detect", "detect-1", 10, 1)) == [b"second"]
        stop.set()
        with pytest.raises(BusFull):
            publish_when_free(bus, "blocks", b"third", stop, retry_s=0.01)

    def test_an_empty_topic_is_waited_for_and_a_message_ends_the_wait(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        assert bus.receive("findings", "triage", "triage-1", 1, 0) == []
        began = time.monotonic()
        assert bus.receive("findings", "triage", "triage-1", 1, 0.2) == []
        assert 0.15 <= time.monotonic() - began < 5
        late = threading.Timer(0.1, lambda: make_bus().publish("findings", b"late"))
        late.start()
        assert bodies(bus.receive("findings", "triage", "triage-1", 1, 10)) == [b"late"]
        late.join()

    def test_threads_share_one_bus_without_losing_or_doubling(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        sent, got = [[b"%d-%d" % (n, i) for i in range(100)] for n in range(3)], []

        def consume() -> None:
            while len(got) < 300:
                found = bus.receive("findings", "triage", "triage-1", 10, 2)
                if not found:
                    return
                got.extend(bodies(found))
                bus.acknowledge("findings", "triage", [d.entry for d in found])

        threads = [threading.Thread(target=publish_many, args=(bus, own, "findings")) for own in sent]
        threads.append(threading.Thread(target=consume))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert sorted(got) == sorted(body for own in sent for body in own)
        for n, own in enumerate(sent):
            assert [body for body in got if body.startswith(b"%d-" % n)] == own, "each publisher's order is kept"

    def test_reading_a_divided_topic_changes_nothing_until_its_owner_discards(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        publish_many(bus, [bytes([i]) for i in range(5)], "readings.2.1")
        seen = bus.read({"readings.2.1": OLDEST}, 3, 0)["readings.2.1"]
        assert bodies(seen) == [bytes([i]) for i in range(3)]
        rest = bus.read({"readings.2.1": seen[-1].entry}, 10, 0)["readings.2.1"]
        assert bodies(rest) == [bytes([3]), bytes([4])]
        assert bus.length("readings.2.1") == 5
        next_owner = make_bus().read({"readings.2.1": OLDEST}, 10, 0)["readings.2.1"]
        assert next_owner == seen + rest, "what the last owner had in hand comes first, in order"
        bus.discard("readings.2.1", [d.entry for d in seen])
        assert make_bus().read({"readings.2.1": OLDEST}, 10, 0) == {"readings.2.1": rest}
        bus.discard("readings.2.1", [d.entry for d in seen + rest])
        assert bus.read({"readings.2.1": OLDEST}, 10, 0) == {}
        assert bus.length("readings.2.1") == 0

    def test_many_divided_topics_are_read_at_once_and_none_starves(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        publish_many(bus, [b"a%d" % i for i in range(50)], "readings.2.0")
        publish_many(bus, [b"b0"], "readings.2.1")
        found = bus.read({"readings.2.0": OLDEST, "readings.2.1": OLDEST, "readings.2.7": OLDEST}, 2, 0)
        assert {topic: bodies(part) for topic, part in found.items()} == {
            "readings.2.0": [b"a0", b"a1"],
            "readings.2.1": [b"b0"],
        }
        places = {topic: part[-1].entry for topic, part in found.items()}
        bus.publish("readings.2.1", b"b1")
        assert bodies(bus.read(places, 1, 0)["readings.2.1"]) == [b"b1"]

    def test_topics_are_cleared_in_one_go(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        topics = [f"readings.0.3.{partition}" for partition in range(3)]
        for topic in topics:
            publish_many(bus, [b"1", b"2"], topic)
        found = bus.read(dict.fromkeys(topics, OLDEST), 10, 0)
        done = {topics[0]: [d.entry for d in found[topics[0]]], topics[1]: [found[topics[1]][0].entry], topics[2]: []}
        for _ in range(2):  # what is gone is gone
            bus.discard_all(done)
            assert [bus.length(topic) for topic in topics] == [0, 1, 2]
        bus.discard_all({})

    def test_divided_topics_are_waited_for_together(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        late = threading.Timer(0.1, lambda: make_bus().publish("readings.2.1", b"late"))
        late.start()
        found = bus.read({"readings.2.0": OLDEST, "readings.2.1": OLDEST}, 1, 10)
        assert bodies(found["readings.2.1"]) == [b"late"]
        late.join()

    def test_the_topics_of_a_family_are_found_also_when_they_are_empty(self, make_bus: MakeBus) -> None:
        bus = make_bus()
        assert bus.topics("readings") == []
        assert bus.read({"readings.4.3": OLDEST}, 1, 0) == {}
        publish_many(bus, [b"1"], "readings.4.1")
        publish_many(bus, [b"2"], "readings.8.1")
        publish_many(bus, [b"3"], "readings-of-others.1")
        publish_many(bus, [b"4"], "blocks")
        (seen,) = bus.read({"readings.4.1": OLDEST}, 1, 0).values()
        bus.discard("readings.4.1", [seen[0].entry])
        assert make_bus().topics("readings") == ["readings.4.1", "readings.8.1"]

    def test_a_divided_topic_fills_up_and_makes_its_sender_wait(self, make_bus: MakeBus) -> None:
        bus = make_bus(max_messages=2)
        publish_many(bus, [b"1", b"2"], "readings.1.0")
        with pytest.raises(BusFull, match="2 unread"):
            bus.publish("readings.1.0", b"3")
        bus.publish("readings.1.1", b"another one has room")
        waiting = threading.Thread(target=lambda: publish_when_free(bus, "readings.1.0", b"3", threading.Event(), 0.01))
        waiting.start()
        (found,) = bus.read({"readings.1.0": OLDEST}, 10, 0).values()
        assert bodies(found) == [b"1", b"2"], "nothing was dropped to make room"
        bus.discard("readings.1.0", [found[0].entry])
        waiting.join(timeout=5)
        (found,) = bus.read({"readings.1.0": OLDEST}, 10, 0).values()
        assert bodies(found) == [b"2", b"3"]


class TestMemoryBus(Contract):
    @pytest.fixture
    def make_bus(self) -> MakeBus:
        """In memory a second process is the same object, asked by another thread."""
        made: list[MemoryBus] = []

        def make(**limits: int) -> Bus:
            made[:] = made or [MemoryBus(**limits)]
            return made[0]

        return make


class TestRedisBus(Contract):
    @pytest.fixture
    def make_bus(self, bus_url: str) -> Iterator[MakeBus]:
        prefix, clients = f"test-{uuid4()}", []

        def make(**limits: int) -> Bus:
            clients.append(RedisBus(bus_url, prefix, **limits))
            return clients[-1]

        yield make
        for client in clients:
            client.close()

    def test_at_maxmemory_publishing_is_refused_and_reading_frees_it(self, bus_url: str) -> None:
        server = redis.Redis.from_url(bus_url)
        before = server.config_get("maxmemory")["maxmemory"]
        bus, body = RedisBus(bus_url, f"test-{uuid4()}", max_bytes=1 << 40), bytes(100_000)
        used = int(server.info("memory")["used_memory"])
        try:
            server.config_set("maxmemory", used + 3_000_000)
            with pytest.raises(BusFull):
                publish_many(bus, [body] * 200)
            full = bus.length("blocks")
            assert 1 <= full < 200
            server.config_set("maxmemory", 1 << 20)  # also where the check before it saw room
            with patch.object(RedisBus, "_require_room"):
                assert bus.publish_all({"incidents": body}) == {"incidents": body}
            server.config_set("maxmemory", used + 3_000_000)
            found = []
            while part := bus.receive("blocks", "detect", "detect-1", 10, 0):
                found += part
                bus.acknowledge("blocks", "detect", [d.entry for d in part])
            assert len(found) == full, "a refused message is not half there"
            bus.publish("blocks", body)
        finally:
            server.config_set("maxmemory", before)
            bus.close()

    def test_what_is_full_at_the_front_leaves_memory_further_back(self, bus_url: str) -> None:
        """A stage acknowledges after handing on: could it not hand on, full would be for ever."""
        server = redis.Redis.from_url(bus_url)
        before = server.config_get("maxmemory")["maxmemory"]
        bus, body = RedisBus(bus_url, f"test-{uuid4()}", max_bytes=1 << 40), bytes(10_000)
        try:
            server.config_set("maxmemory", int(server.info("memory")["used_memory"]) * 4)
            for topic in ("blocks", "findings", "incidents"):
                with pytest.raises(BusFull):
                    publish_many(bus, [body] * 5_000, topic)
            assert bus.length("blocks") > bus.length("findings") > 0
            assert bus.length("incidents") > 0
        finally:
            server.config_set("maxmemory", before)
            bus.close()

    def test_readings_leave_memory_for_the_stages_behind_them(self, bus_url: str) -> None:
        server = redis.Redis.from_url(bus_url)
        before = server.config_get("maxmemory")["maxmemory"]
        bus, body = RedisBus(bus_url, f"test-{uuid4()}", max_bytes=1 << 40), bytes(10_000)
        try:
            server.config_set("maxmemory", int(server.info("memory")["used_memory"]) * 4)
            for partition in range(8):
                with pytest.raises(BusFull):
                    publish_many(bus, [body] * 5_000, f"readings.8.{partition}")
            assert bus.publish_all({"readings.8.9": body, "blocks": body}) == {"readings.8.9": body}
            publish_many(bus, [body] * 5, "blocks")
        finally:
            server.config_set("maxmemory", before)
            bus.close()

    def test_it_tells_when_a_message_is_on_disk(self, bus_url: str) -> None:
        server, bus = redis.Redis.from_url(bus_url), RedisBus(bus_url, "test")
        assert bus.synced() == "always"
        try:
            server.config_set("appendfsync", "everysec")
            assert bus.synced() == "everysec"
            server.config_set("appendfsync", "always")
            server.config_set("appendonly", "no")
            assert bus.synced() == "never"
        finally:
            server.config_set("appendfsync", "always")
            server.config_set("appendonly", "yes")
            bus.close()

    def test_a_server_that_does_not_tell_is_no_error(self, bus_url: str) -> None:
        server = redis.Redis.from_url(bus_url)
        server.acl_setuser("small", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-config"])
        path = bus_url.removeprefix("unix://")
        bus = RedisBus(f"unix://small:any@{path}", "test")
        try:
            assert bus.synced() == ""
        finally:
            bus.close()
            server.acl_deluser("small")

    def test_an_emptied_server_is_told_and_survived(self, bus_url: str) -> None:
        prefix = f"test-{uuid4()}"
        bus = RedisBus(bus_url, prefix)
        bus.publish("blocks", b"lost")
        found = bus.receive("blocks", "detect", "detect-1", 10, 0)
        redis.Redis.from_url(bus_url).delete(f"{prefix}:blocks")
        with pytest.raises(BusDown):
            bus.acknowledge("blocks", "detect", [d.entry for d in found])
        with pytest.raises(BusDown):
            bus.receive("blocks", "detect", "detect-1", 10, 0)
        RedisBus(bus_url, prefix).publish("blocks", b"next")
        assert bodies(bus.receive("blocks", "detect", "detect-1", 10, 1)) == [b"next"]


def test_no_server_is_one_clear_error() -> None:
    with pytest.raises(BusDown, match="nowhere"):
        RedisBus("unix:///nowhere.sock", "test").publish("blocks", b"")
