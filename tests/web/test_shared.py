"""What is shared is made once, never older than the question, and an error is nobody's answer for long."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from web.shared import Answers, Newest

PATIENCE_S = 10


class Store:
    """Something to read from, that holds every read until it is let go."""

    def __init__(self) -> None:
        self.value, self.reads = 0, 0
        self.begun, self.go_on = threading.Semaphore(0), threading.Semaphore(0)

    def read(self) -> int:
        self.reads += 1
        found = self.value
        self.begun.release()
        assert self.go_on.acquire(timeout=PATIENCE_S)
        return found


def test_who_asks_after_a_read_began_gets_the_next_one() -> None:
    store = Store()
    newest = Newest(store.read)
    with ThreadPoolExecutor(20) as pool:
        early = pool.submit(newest.get)
        assert store.begun.acquire(timeout=PATIENCE_S)
        store.value = 1  # committed while the first read is on its way
        late = [pool.submit(newest.get) for _ in range(19)]
        wait_until(lambda: newest._group is not None)
        store.go_on.release()
        assert early.result(PATIENCE_S) == 0
        assert store.begun.acquire(timeout=PATIENCE_S)
        store.go_on.release()
        store.go_on.release()  # for those who joined no group before the second read began
        assert {answer.result(PATIENCE_S) for answer in late} == {1}
    assert store.reads <= 3


def test_a_failed_read_fails_for_those_who_waited_and_for_nobody_else() -> None:
    outcomes: list[Callable[[], int]] = [lambda: 1 // 0, lambda: 7]
    newest = Newest(lambda: outcomes.pop(0)())
    with pytest.raises(ZeroDivisionError):
        newest.get()
    assert newest.get() == 7


def test_one_makes_the_answer_and_all_who_ask_the_same_get_it() -> None:
    store, answers = Store(), Answers[int](most=8)
    with ThreadPoolExecutor(10) as pool:
        first = pool.submit(answers.get, "a", store.read)
        assert store.begun.acquire(timeout=PATIENCE_S)
        others = [pool.submit(answers.get, "a", store.read) for _ in range(9)]
        assert answers.get("b", lambda: 5) == 5, "another question waits for nobody"
        store.go_on.release()
        assert [first.result(PATIENCE_S), *(o.result(PATIENCE_S) for o in others)] == [0] * 10
    assert store.reads == 1
    assert answers.get("a", store.read) == 0, "kept"


def test_only_so_many_answers_are_kept() -> None:
    made: list[int] = []
    answers = Answers[int](most=2)

    def make(number: int) -> int:
        made.append(number)
        return number

    for number in (1, 2, 1, 3, 2, 1):
        assert answers.get(number, lambda n=number: make(n)) == number  # type: ignore[misc]
    assert made == [1, 2, 3, 1], "1 was the oldest when 3 came"


def test_an_error_is_no_answer() -> None:
    answers = Answers[int](most=2)
    with pytest.raises(ZeroDivisionError):
        answers.get("a", lambda: 1 // 0)
    assert answers.get("a", lambda: 4) == 4


def wait_until(holds: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(PATIENCE_S * 100):
        if holds():
            return
        waiting.wait(0.01)
    raise AssertionError("waited in vain")
