"""What a piece of work costs: wall-clock time, CPU of this process and CPU of the servers it uses."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import psutil

ROUNDS = 5


@dataclass(frozen=True)
class Spent:
    """Seconds. `client_s` is CPU of this process, `server_s` that of the servers with all their children."""

    wall_s: float
    client_s: float
    server_s: float

    @property
    def cpu_s(self) -> float:
        """CPU of both sides."""
        return self.client_s + self.server_s


@dataclass(frozen=True)
class Contender:
    """One way to do the work. `prepare` runs before each round and is not measured."""

    work: Callable[[], object]
    prepare: Callable[[], object] = lambda: None


def spent(work: Callable[[], object], servers: Sequence[int] = ()) -> Spent:
    """Do the work and tell what it cost; `servers` are process ids."""
    server_s, client_s, wall_s = cpu_s(servers), time.process_time(), time.perf_counter()
    work()
    wall_s, client_s = time.perf_counter() - wall_s, time.process_time() - client_s
    return Spent(wall_s, client_s, cpu_s(servers) - server_s)


def in_turn(contenders: Mapping[str, Contender], servers: Sequence[int] = (), rounds: int = ROUNDS) -> dict[str, Spent]:
    """Medians of some rounds in which everybody works once, so that a busy moment of the machine hits all alike."""
    found: dict[str, list[Spent]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            contender.prepare()
            found[name].append(spent(contender.work, servers))
    return {name: median(costs) for name, costs in found.items()}


def median(costs: Sequence[Spent]) -> Spent:
    """Each figure's own median."""
    return Spent(*(statistics.median(getattr(cost, field.name) for cost in costs) for field in fields(Spent)))


def cpu_s(servers: Sequence[int]) -> float:
    """CPU seconds of processes and all their children so far, also of children that have ended."""
    total = 0.0
    for pid in servers:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:  # its parent counts it as ended the next time
                continue
            total += times.user + times.system + times.children_user + times.children_system
    return total
