"""The order of an epoch is a permutation, shared evenly, whose groups keep to the bound."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.window_order import Sharing, order_epoch, taken_in_turn

quick = settings(deadline=None, max_examples=60)
SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def orders(sizes, **given):
    """Return the order of each rank."""
    common = {"batch_size": 4, "shuffle": True, "seed": 0, "drop_last": False, "world_size": 1, "group": 8}
    units = np.cumsum([0, *sizes])
    world = given.get("world_size", 1)
    return [order_epoch(units, Sharing(**common | given | {"rank": rank}), 2) for rank in range(world)]


@quick
@given(SIZES, st.integers(1, 6), st.integers(1, 20), st.booleans())
def test_the_ranks_share_all_windows(sizes, world, group, shuffle):
    """Each window is read by one rank; shares differ by at most one; only world - 1 units are read by two."""
    shares = orders(sizes, world_size=world, group=group, shuffle=shuffle)
    read = [[int(i) for g in range(len(one.groups)) for i in one.rows(g)] for one in shares]
    assert sorted(itertools.chain(*read)) == list(range(sum(sizes)))
    assert max(map(len, read)) - min(map(len, read)) <= 1
    assert sum(len(group) for one in shares for group in one.groups) <= len(sizes) + world - 1


@quick
@given(SIZES, st.integers(1, 20))
def test_groups_hold_whole_units_within_the_bound(sizes, group):
    """No group has more windows than the bound unless it is one unit; each unit lies in one group."""
    (one,) = orders(sizes, group=group)
    for pieces in one.groups:
        assert len(pieces) == 1 or sum(stop - first for first, stop in pieces) <= group
    lengths = [stop - first for pieces in one.groups for first, stop in pieces]
    assert sorted(lengths) == sorted(sizes)


@quick
@given(SIZES)
def test_windows_of_a_group_are_permuted(sizes):
    """Within a group each place comes once; without shuffling in order."""
    for shuffle in (True, False):
        (one,) = orders(sizes, shuffle=shuffle)
        for group, pieces in enumerate(one.groups):
            count = sum(stop - first for first, stop in pieces)
            assert sorted(one.within(group)) == list(range(count))
            assert shuffle or list(one.within(group)) == list(range(count))


def test_shuffling_mixes_units():
    """Of 50 units of 4 windows, neighbours seldom stay neighbours, and another epoch has another order."""
    units = np.arange(0, 204, 4)
    sharing = Sharing(4, True, 0, False, 0, 1, 40)
    first, second = (
        np.concatenate([one.rows(g)[one.within(g)] for g in range(len(one.groups))])
        for one in (order_epoch(units, sharing, epoch) for epoch in (0, 1))
    )
    assert (np.diff(first) == 1).mean() < 0.2
    assert (first == second).mean() < 0.2


@quick
@given(st.lists(st.integers(0, 5), min_size=1, max_size=5), st.integers(0, 30))
def test_queues_are_emptied_in_turn(lengths, count):
    """What was taken is what a walk over a table of rounds takes."""
    walk = [queue for turn in range(max(lengths) or 0) for queue, n in enumerate(lengths) if turn < n]
    taken, following = taken_in_turn(lengths, count)
    assert taken == [walk[:count].count(queue) for queue in range(len(lengths))]
    if count < len(walk):
        ahead = [queue % len(lengths) for queue in range(following, following + len(lengths))]
        assert next(queue for queue in ahead if taken[queue] < lengths[queue]) == walk[count]
