"""The centre away, killed, restored from a backup; clocks apart: nothing is lost, nothing is doubled."""

from __future__ import annotations

import os
import signal
import threading
import time

from sqlalchemy import text

from smc.federate import Federation
from smc.store import outbox
from tests.federation.cases import open_incident
from tests.federation.conftest import Centre
from tests.federation.test_path import states, until

STOP = threading.Event()


def test_what_is_frozen_while_the_centre_is_away_arrives_once(centre: Centre, operator) -> None:
    centre.stop()
    federation = Federation(operator)
    for key in ("1", "2", "3"):
        with operator.engine.begin() as conn:
            open_incident(conn, "DSO-0001", key=key)
        federation.tick(STOP)
    assert states(operator) == ["waiting"] * 3
    with operator.engine.begin() as conn:
        (line,) = outbox.lag(conn)
    assert line.waiting == 3
    assert "Connection refused" in line.last_error
    federation.close()

    centre.start()
    until(Federation(operator), lambda: states(operator) == ["complete"] * 3, ticks=120)
    assert centre.rows("SELECT count(*), count(DISTINCT id) FROM taxii_objects WHERE type = 'incident'") == [(3, 3)]
    assert centre.rows("SELECT outbox FROM members") == [(3,)]


def test_a_centre_killed_between_commit_and_answer_takes_the_retry_as_success(
    centre: Centre, operator, monkeypatch
) -> None:
    with operator.engine.begin() as conn:
        open_incident(conn, "DSO-0001")
    federation = Federation(operator)
    federation.freeze()
    lose_answers(federation, monkeypatch)
    federation.send()
    assert states(operator) == ["waiting"]
    assert centre.rows("SELECT count(*) FROM intake_raw") == [(1,)], "it had arrived"
    assert centre.process is not None
    assert centre.process.pid is not None
    os.kill(centre.process.pid, signal.SIGKILL)
    centre.process.join()
    wait_until_free(centre)
    centre.start()

    until(Federation(operator), lambda: states(operator) == ["complete"], ticks=120)
    assert centre.rows("SELECT count(*), count(DISTINCT (id, version)) FROM taxii_objects WHERE type = 'incident'") == [
        (1, 1)
    ]
    assert centre.rows("SELECT count(*) FROM intake_raw") == [(2,)]


def test_a_centre_restored_from_an_old_backup_gets_everything_again(centre: Centre, operator) -> None:
    federation = Federation(operator)
    for key in ("1", "2"):
        with operator.engine.begin() as conn:
            open_incident(conn, "DSO-0001", key=key)
    until(federation, lambda: states(operator) == ["complete"] * 2)
    with centre.engine.begin() as conn:
        conn.execute(text("TRUNCATE taxii_objects, intake_raw, taxii_status, seen_tokens"))
        conn.execute(text("UPDATE members SET outbox = 0, sequence = 0"))
    with operator.engine.begin() as conn:
        open_incident(conn, "DSO-0001", key="3")
    until(federation, lambda: states(operator) == ["complete"] * 3 and len(arrived(centre)) == 3, ticks=120)


def test_a_parcel_refused_for_good_does_not_stop_the_next(centre: Centre, operator) -> None:
    federation = Federation(operator)
    with operator.engine.begin() as conn:
        outbox.enqueue(conn, "ESMC", "incident", None, b"[]", federation._now())
        open_incident(conn, "DSO-0001")
    until(federation, lambda: states(operator) == ["complete", "failed"])
    with operator.engine.begin() as conn:
        assert "422" in next(p.last_error for p in outbox.recent(conn) if p.state == "failed")


def lose_answers(federation: Federation, monkeypatch) -> None:
    """The request goes out, its answer never comes back."""
    from smc.peer import Unreachable

    def lost(*args: object) -> None:
        raise Unreachable("answer lost")

    monkeypatch.setattr(federation._peer, "_verified", lost)


def arrived(centre: Centre) -> list[tuple[object, ...]]:
    return centre.rows("SELECT DISTINCT id FROM taxii_objects WHERE type = 'incident'")


def wait_until_free(centre: Centre) -> None:
    """Workers of a killed gunicorn notice within seconds that their parent is gone."""
    import socket

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", centre.settings.taxii_port)) != 0:
                return
        time.sleep(0.2)
    raise TimeoutError("the killed server still listens")
