"""Requests that are sent together."""

from __future__ import annotations

import threading

import pytest
from memory_storage import Hooks, MemoryStorage, World

from aggrade.errors import Problem, Unavailable
from aggrade.storage.together import read_together, together


def test_results_come_in_the_order_of_the_calls():
    """Whatever ends first."""
    second_is_done = threading.Event()

    def first():
        assert second_is_done.wait(30)
        return 1

    def second():
        second_is_done.set()
        return 2

    assert together(first, second) == [1, 2]


def test_nothing_to_do():
    """No call gives no result."""
    assert together() == []
    assert read_together(MemoryStorage(World()), []) == {}


def test_all_have_ended_when_one_fails():
    """The error of the first that failed is raised, after the others have done their work."""
    ended = []

    def fail():
        raise Unavailable(Problem("here", "no reply", "a reply", "retry", "unavailable"))

    with pytest.raises(Unavailable):
        together(fail, lambda: ended.append("other"))
    assert ended == ["other"]


def test_objects_are_read_at_once():
    """No read waits for another's answer; what isn't there is None, and what is named twice is read once."""
    names = ("a", "b", "c")
    meeting = threading.Barrier(len(names), timeout=30)

    class Meet(Hooks):
        def before(self, kind, key):  # noqa: ARG002
            if kind == "GET":
                meeting.wait()

    world = World()
    for name in names[:2]:
        MemoryStorage(world).write(name, name.encode())
    found = read_together(MemoryStorage(world, hooks=Meet()), [*names, "a"])
    assert {key: stored and stored.data for key, stored in found.items()} == {"a": b"a", "b": b"b", "c": None}
