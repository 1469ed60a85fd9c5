"""The clock that a process measures leases with."""

from __future__ import annotations

import threading

from waiting import wait_until

from aggrade.clock import Clock, clock_of
from aggrade.storage.counting import Counted
from aggrade.storage.local import LocalStorage


class Stopped(Clock):
    """A clock that notes how long it was asked to wait."""

    def __init__(self):
        self.pauses = []

    def pause(self, shortest, longest=None):
        """See `Clock.pause`."""
        self.pauses.append((shortest, longest))


def test_now_never_goes_back():
    """Two readings are in order."""
    clock = Clock()
    assert clock.now() <= clock.now()


def test_pause_lasts_at_least_as_long():
    """A pause ends no earlier than it was asked to, be its length fixed or random."""
    clock = Clock()
    began = clock.now()
    clock.pause(0.01)
    clock.pause(0.01, 0.02)
    assert clock.now() - began >= 0.02


def test_back_off_grows_and_ends_growing():
    """Each wait may be twice the one before, up to sixteen times the first."""
    clock = Stopped()
    for attempt in (0, 1, 4, 9):
        clock.back_off(attempt)
    assert clock.pauses == [(0.0, 0.2), (0.0, 0.4), (0.0, 3.2), (0.0, 3.2)]


def test_repeats_until_it_is_done():
    """What is repeated is called in a thread of that name until there is no need any more."""
    calls, done = [], threading.Event()

    def action():
        calls.append(threading.current_thread().name)
        return True

    Clock().repeat(action, 0.001, done, "aggrade-test")
    wait_until(lambda: len(calls) > 3)
    done.set()
    wait_until(lambda: "aggrade-test" not in {thread.name for thread in threading.enumerate()})
    assert set(calls) == {"aggrade-test"}


def test_repeats_until_the_action_says_no():
    """What is repeated is not called again once it has said that it need not be."""
    left, done = [3], threading.Event()

    def action():
        left[0] -= 1
        return left[0] > 0

    Clock().repeat(action, 0.001, done, "aggrade-test-no")
    wait_until(lambda: "aggrade-test-no" not in {thread.name for thread in threading.enumerate()})
    assert left == [0]


def test_a_storage_may_bring_its_own(tmp_path):
    """The clock is the one of the storage below all wrappers, else the machine's."""
    storage = LocalStorage(str(tmp_path))
    assert type(clock_of(Counted(storage))) is Clock
    storage.clock = Stopped()
    assert clock_of(Counted(Counted(storage))) is storage.clock
