"""Writing an append's blocks: many at once, within a budget of memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from make_documents import make_document
from waiting import wait_until

from aggrade.append_writing import IN_HAND, Block, Budget, blocks_in, write_blocks
from aggrade.commit import CommitPlan, Region


def commit_of(documents, **bounds):
    """Return a commit along `row` that writes these bounds of some arrays."""
    regions = tuple(Region(variable=name, bounds=box) for name, box in bounds.items())
    return CommitPlan(kind="append", store="here", dim="row", documents=documents, regions=regions)


class TestBlocks:
    """How regions are cut."""

    @given(first=st.integers(0, 7), rows=st.integers(1, 9), unit=st.integers(1, 4))
    def test_every_value_has_its_place_once(self, first, rows, unit):
        """Put where they say, the blocks are the new rows, whatever the chunks."""
        documents = {"x": make_document((first + rows, 3), (unit, 2), dims=("row", "column"))}
        values = np.arange(rows * 3.0).reshape(rows, 3)
        commit = commit_of(documents, x=((first, first + rows), (0, 3)))
        found = np.full((first + rows, 3), -1.0)
        for block in blocks_in(commit, {"x": xr.Variable(("row", "column"), values)}):
            assert (found[block.where] == -1).all()
            found[block.where] = block.values.values
        np.testing.assert_array_equal(found[first:], values)
        assert (found[:first] == -1).all()

    def test_scalars(self):
        """An array without dimensions is one block."""
        documents = {"x": make_document((), (), dims=())}
        (block,) = blocks_in(commit_of(documents, x=()), {"x": xr.Variable((), 2.5)})
        assert (block.where, block.values.item(), block.size) == ((), 2.5, 8)

    def test_nothing_is_computed(self):
        """Lazy values stay lazy until they are written."""
        import dask.array

        def explode(_):
            raise AssertionError

        lazy = dask.array.zeros((2, 3), chunks=1).map_blocks(explode, dtype="f8", meta=np.empty((0, 0)))
        documents = {"x": make_document((2, 3), (1, 3), dims=("row", "column"))}
        commit = commit_of(documents, x=((0, 2), (0, 3)))
        (block,) = blocks_in(commit, {"x": xr.Variable(("row", "column"), lazy)})
        assert block.size == 48


class TestBudget:
    """A number of bytes that threads share."""

    @given(sizes=st.lists(st.integers(0, 12), min_size=1, max_size=12))
    def test_no_more_is_taken_than_there_is(self, sizes):
        """Whatever threads ask for, what they hold together stays within the budget, and all get theirs."""
        budget, held, seen, lock = Budget(10), [0], [], threading.Lock()

        def take(size):
            with budget.taking(size):
                with lock:
                    held[0] += min(size, 10)
                    seen.append(held[0])
                with lock:
                    held[0] -= min(size, 10)

        threads = [threading.Thread(target=take, args=(size,)) for size in sizes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(seen) == len(sizes)
        assert max(seen) <= 10

    def test_who_finds_nothing_free_waits(self):
        """A second large one begins when the first has ended."""
        budget, began, order = Budget(10), threading.Event(), []

        def second():
            began.set()
            with budget.taking(6):
                order.append("second")

        thread = threading.Thread(target=second)
        with budget.taking(6):
            thread.start()
            assert began.wait(30)
            order.append("first")
        thread.join(30)
        assert order == ["first", "second"]

    def test_an_error_gives_back_what_was_held(self):
        """The next one gets it."""
        budget = Budget(10)
        with pytest.raises(ValueError, match="mine"), budget.taking(10):
            raise ValueError("mine")
        with budget.taking(10):
            pass


class Recorder:
    """A writer that notes how much is in hand when each block is written, and waits for company."""

    def __init__(self, company=1):
        self.company, self.now, self.most, self.names = company, 0, 0, []
        self.lock = threading.Lock()

    def write(self, name, _, values):
        """Note what is in hand."""
        with self.lock:
            self.names.append(name)
            self.now += values.nbytes
            self.most = max(self.most, self.now)
        wait_until(lambda: len(self.names) >= self.company, "company")
        with self.lock:
            self.now -= values.nbytes
        return [name]


def block(name, size):
    """Return a block of so many bytes, which takes none."""
    return Block(name, (slice(0, size),), xr.Variable(("row",), np.broadcast_to(np.uint8(0), (size,))))


def test_small_blocks_are_written_at_once():
    """Forty small blocks and a large one are all under way together."""
    writer = Recorder(company=41)
    written = write_blocks(writer, iter([block("large", 1 << 20), *(block(f"{i}", 10) for i in range(40))]))
    assert sorted(written) == sorted(["large", *map(str, range(40))])
    assert writer.names[-1] == "large" or writer.most >= 1 << 20


def test_large_blocks_stay_within_the_budget():
    """However many there are, no more than the budget is in hand."""
    writer = Recorder()
    write_blocks(writer, iter([block(f"{i}", IN_HAND // 3) for i in range(9)]))
    assert len(writer.names) == 9
    assert writer.most <= IN_HAND


def test_a_block_beyond_the_budget_goes_alone():
    """What is larger than all there is, such as one huge shard, is written nevertheless."""
    writer = Recorder()
    write_blocks(writer, iter([block("huge", 2 * IN_HAND), block("other", IN_HAND)]))
    assert writer.most <= 2 * IN_HAND
    assert sorted(writer.names) == ["huge", "other"]
