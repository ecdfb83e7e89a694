"""One answer for everybody who asks the same: made once, given to all, never older than the question.

Desks ask for the same list at the same moment, whenever something has changed. `Newest` reads the version of the data
once for all who are waiting for it; `Answers` makes the answer to a question about that version once and keeps a few.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

V = TypeVar("V")


class Newest(Generic[V]):
    """A value that is read for all who wait for it. Whoever asks gets the outcome of a read that began afterwards."""

    def __init__(self, read: Callable[[], V]) -> None:
        self._read = read
        self._joining = threading.Lock()
        self._reading = threading.Lock()  # one read at a time; meanwhile the next group gathers
        self._group: Future[V] | None = None  # those who wait for the next read to begin

    def get(self) -> V:
        """The value, or the error of the read for everybody in the group."""
        with self._joining:
            first = self._group is None
            group = self._group = self._group or Future()
        if first:
            with self._reading:
                with self._joining:
                    self._group = None  # whoever comes now came after the beginning
                _fulfil(group, self._read)
        return group.result()


class Answers(Generic[V]):
    """Answers by question, the `most` last made ones. A question holds everything that its answer depends on."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._made: OrderedDict[Hashable, Future[V]] = OrderedDict()

    def get(self, question: Hashable, make: Callable[[], V]) -> V:
        """The answer that is there or on its way, else what `make` gives; an error is given to all and not kept."""
        with self._lock:
            known = self._made.get(question)
            answer = known or self._made.setdefault(question, Future())
            if len(self._made) > self._most:
                self._made.popitem(last=False)
        if known is None:
            _fulfil(answer, make)
            if answer.exception() is not None:
                self._forget(question, answer)
        return answer.result()

    def _forget(self, question: Hashable, answer: Future[V]) -> None:
        with self._lock:
            if self._made.get(question) is answer:
                del self._made[question]


def _fulfil(promise: Future[V], make: Callable[[], V]) -> None:
    try:
        promise.set_result(make())
    except BaseException as error:  # noqa: BLE001  whatever it is, all who wait get it, the maker with them
        promise.set_exception(error)
