"""The layout that a new store gets: bounded objects, rows apart where they are large, together where they are small."""

from __future__ import annotations

import math

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from aggrade.append_layout import checked_sizes, default_layout
from aggrade.commit import describe
from aggrade.errors import BadInput

MB = 1 << 20
quick = settings(deadline=None, max_examples=100)


def variable(dims, shape, dtype="f4"):
    """Return a variable of any size that takes no memory."""
    return xr.Variable(dims, dask.array.zeros(shape, dtype=dtype, chunks=-1))


def layout_of(one, dim="session", grow=(), chunks=None, shards=None):
    """Return chunk and shard of one variable; a shard of its chunk's shape stands for none."""
    inner, outer = default_layout(xr.Dataset({"v": one}), dim, grow, chunks or {}, shards or {})
    return inner["v"], outer.get("v", inner["v"])


class TestDefault:
    """Without a wish."""

    def test_windows_of_a_usual_session(self):
        """Rows apart, each window a chunk of its own, shards of at most 64 MB."""
        one = variable(("session", "window", "channel", "sample"), (1, 700, 32, 500))
        assert layout_of(one, grow=("window",)) == ((1, 1, 32, 500), (1, 256, 32, 500))

    @quick
    @given(st.integers(4, 256), st.integers(16, 20_000))
    def test_a_window_is_read_with_little_else(self, channels, samples):
        """A chunk is one window; the index of its shard is at most an eighth of it, or 32 entries long."""
        one = variable(("session", "window", "channel", "sample"), (1, 40, channels, samples))
        size = 4 * channels * samples
        assume(256 < size <= 16 * MB)
        chunk, shard = layout_of(one, grow=("window",))
        assert chunk == (1, 1, channels, samples)
        assert 16 * shard[1] <= max(size / 8, 16 * 32)
        assert shard[1] * size <= 64 * MB
        assert shard[1] in {2**power for power in range(10)}

    def test_a_vector_for_each_window_is_read_in_bulk(self):
        """What has one number for each channel of a window is chosen by, whole: chunks of 16 kB in one shard."""
        one = variable(("session", "window", "channel"), (1, 700, 128))
        assert layout_of(one, grow=("window",)) == ((1, 32, 128), (1, 8192, 128))

    @pytest.mark.parametrize("channels", [(), (40,), (256,)])
    @pytest.mark.parametrize("first", [1, 5400, 20_000])
    def test_what_tells_of_windows_is_one_object(self, first, channels):
        """A session of hours makes no more of them than one of a minute, whichever came first."""
        dims = ("session", "window", "channel")[: 2 + len(channels)]
        _, shard = layout_of(variable(dims, (1, first, *channels)), grow=("window",))
        assert all(size <= unit for size, unit in zip((5400, *channels), shard[1:], strict=True))

    def test_small_values_share_objects(self):
        """A number per session shares its object with 4,095 others."""
        assert layout_of(variable(("session",), (1,))) == ((4096,), (4096,))

    @pytest.mark.parametrize(
        ("dtype", "windows", "expected"),
        [
            ("f4", 9, (32, 8192)),
            ("f4", 5400, (32, 8192)),
            ("f8", 9, (32, 4096)),
            ("u1", 20_000, (128, 8192)),
            ("c16", 9, (32, 2048)),
            ("U8", 9, (32, 1024)),
        ],
    )
    def test_small_values_of_windows_share_objects(self, dtype, windows, expected):
        """A number per window does so too, in whole objects of 1 MB, so that hours fit into one."""
        one = variable(("session", "window"), (1, windows), dtype)
        assert layout_of(one, grow=("window",)) == (expected, expected)

    def test_what_does_not_grow_is_one_chunk(self):
        """Channel names are read at once."""
        assert layout_of(variable(("channel",), (64,))) == ((64,), (64,))

    def test_labels_of_a_growing_dimension(self):
        """A coordinate along a dimension that may grow has room for a thousand labels."""
        assert layout_of(variable(("window",), (9,)), grow=("window",)) == ((1024,), (1024,))

    @pytest.mark.parametrize("windows", [0, 1, 3, 300])
    def test_a_short_first_session_decides_nothing(self, windows):
        """Windows of 40 kB get rows of their own whether the first session has many or none."""
        one = variable(("session", "window", "channel", "sample"), (1, windows, 20, 500))
        assert layout_of(one, grow=("window",)) == ((1, 1, 20, 500), (1, 256, 20, 500))

    def test_windows_larger_than_a_chunk(self):
        """Where one window is more than 16 MB, chunks are cut along the next dimension."""
        one = variable(("session", "window", "channel", "sample"), (1, 50, 64, 80_000))
        chunk, shard = layout_of(one, grow=("window",))
        assert chunk == (1, 1, 3, 80_000)
        assert shard == (1, 3, 64 + 2, 80_000)

    def test_a_row_that_does_not_grow_is_cut_too(self):
        """A picture of 400 MB isn't one chunk."""
        chunk, shard = layout_of(variable(("epoch", "y", "x"), (1, 10_000, 10_000)), dim="epoch")
        assert chunk == (1, 26, 10_000)
        assert shard[0] == 1
        assert math.prod(shard) * 4 <= 64 * MB

    @quick
    @given(st.data())
    def test_objects_are_bounded_whatever_the_shape(self, data):
        """Shared objects hold 1 MB at most, so do inner chunks that are no whole window, shards 64 MB and rounding."""
        dims = ["session", "window", "a", "b"][: data.draw(st.integers(1, 4))]
        sizes = [1, *(data.draw(st.sampled_from([0, 1, 2, 7, 64, 500, 20_000])) for _ in dims[1:])]
        dtype = data.draw(st.sampled_from(["u1", "f4", "f8", "c16"]))
        grow = data.draw(st.sampled_from([(), ("window",)]))
        one = variable(dims, sizes, dtype)
        chunk, shard = layout_of(one, grow=grow)
        itemsize = np.dtype(dtype).itemsize
        assert all(size >= 1 for size in chunk)
        assert all(outer % inner == 0 for inner, outer in zip(chunk, shard, strict=True))
        window = len(dims) == 4 and grow and chunk[1:] == (1, *(max(1, size) for size in sizes[2:]))
        assert math.prod(chunk) * itemsize <= (16 * MB if window else MB)
        assert math.prod(shard) * itemsize <= 2 * 64 * MB
        steps = bool(grow) and len(dims) > 1
        own = math.prod(max(1, size) for size in sizes[1 + steps :]) * itemsize
        assert (shard[0] == 1) == (own > (32 if steps else 64 << 10))

    @quick
    @given(st.sampled_from([(), ("window",)]), st.lists(st.integers(0, 40), min_size=1, max_size=3))
    def test_a_store_can_be_made_of_it(self, grow, sizes):
        """Zarr accepts chunks and shards of any dataset."""
        dims = ("session", "window", "channel")[: len(sizes)]
        dataset = xr.Dataset({"v": (dims, np.zeros(sizes, "f8")), "w": ((), 1)})
        inner, outer = default_layout(dataset, "session", grow, {}, {})
        assert set(describe(dataset, chunks=inner, shards=outer)) == {"v", "w"}


class TestAsked:
    """Wishes go before the default."""

    def one(self):
        """Return a session."""
        return variable(("session", "window", "channel", "sample"), (1, 700, 32, 500))

    def test_chunks_by_dimension(self):
        """What is named is as asked, the rest by default; the default's shards don't fit it and are left out."""
        assert layout_of(self.one(), grow=("window",), chunks={"window": 3}) == ((1, 3, 32, 500),) * 2

    def test_chunks_by_variable(self):
        """A tuple decides all dimensions."""
        assert layout_of(self.one(), chunks={"v": (1, 2, 16, 250)})[0] == (1, 2, 16, 250)

    def test_shards_by_dimension(self):
        """Shards that are asked for are made of the chunks that are there."""
        chunk, shard = layout_of(self.one(), grow=("window",), shards={"window": 64})
        assert (chunk, shard) == ((1, 1, 32, 500), (1, 64, 32, 500))

    def test_shards_by_variable(self):
        """A variable's own shard is taken."""
        asked = layout_of(self.one(), chunks={"v": (1, 2, 32, 500)}, shards={"v": (1, 20, 32, 500)})
        assert asked == ((1, 2, 32, 500), (1, 20, 32, 500))

    def test_asking_for_the_default_keeps_its_shards(self):
        """A chunk that is what it would be anyway changes nothing."""
        assert layout_of(self.one(), grow=("window",), chunks={"window": 1})[1] == (1, 256, 32, 500)

    def test_a_default_chunk_is_no_longer_than_the_shard(self):
        """A number per session shares its object with as many as are asked for: the shard is one chunk."""
        one = variable(("session",), (1,))
        assert layout_of(one, shards={"session": 64}) == ((64,), (64,))
        assert layout_of(one, shards={"session": 8192}) == ((4096,), (8192,))


class TestRefused:
    """Wishes that can't be granted: none is bent in silence."""

    @pytest.mark.parametrize(
        ("chunk", "shard", "near"),
        [(3, 7, "6 or 9"), (3, 2, "3"), (8, 100, "96 or 104"), (None, 5000, "4096 or 8192")],
    )
    def test_shards_that_chunks_do_not_divide(self, chunk, shard, near):
        """The sizes next to it that would do are named."""
        chunks = {"session": chunk} if chunk else {}
        with pytest.raises(BadInput, match=f"shards of 'v': found {shard} along 'session'.*: {near};"):
            layout_of(variable(("session",), (1,)), chunks=chunks, shards={"session": shard})

    @quick
    @given(st.integers(1, 5000), st.integers(1, 5000))
    def test_either_as_asked_or_refused(self, chunk, shard):
        """A shard is never another than the one asked for, nor a chunk."""
        asked = {"chunks": {"session": chunk}, "shards": {"session": shard}}
        if shard % chunk:
            with pytest.raises(BadInput) as caught:
                layout_of(variable(("session",), (1,)), **asked)
            near = caught.value.problems[0].expected.rpartition(": ")[2].split(" or ")
            assert all(int(size) % chunk == 0 and abs(int(size) - shard) < chunk for size in near)
        else:
            assert layout_of(variable(("session",), (1,)), **asked) == ((chunk,), (shard,))

    @pytest.mark.parametrize("what", ["chunks", "shards"])
    @pytest.mark.parametrize(
        ("asked", "there"),
        [
            ({"windw": 3}, "dimensions session, window"),
            ({"v": 3}, "dimensions session, window"),
            ({"w": (1, 1)}, "variables v"),
            ({"window": (1, 1)}, "variables v"),
        ],
    )
    def test_names_that_decide_nothing(self, what, asked, there):
        """A number needs a dimension, a tuple a variable; those that there are are named."""
        one = variable(("session", "window"), (1, 6))
        with pytest.raises(BadInput, match=f"expected one of the {there};") as caught:
            layout_of(one, **{what: asked})
        assert caught.value.problems[0].where == f"{what}[{next(iter(asked))!r}]"

    @pytest.mark.parametrize(
        ("dtype", "chunks", "shards"),
        [
            ("f4", {"session": 10**7}, {}),
            ("f4", {"session": 10**30}, {}),
            ("f4", {"v": (2**21 + 1, 64)}, {}),
            ("f4", {"session": 1}, {"session": 2**21 + 1}),
            ("O", {"session": 2**17 + 1}, {}),
        ],
    )
    def test_objects_that_no_memory_holds(self, dtype, chunks, shards):
        """The bound is named: 512 MiB for an object, and 64 bytes for a word."""
        with pytest.raises(BadInput, match=r"objects of \(\d+, 64\).*expected at most 536,870,912 bytes"):
            layout_of(variable(("session", "x"), (1, 64), dtype), chunks=chunks, shards=shards)

    def test_the_largest_object(self):
        """One that is just as large is taken, and so are large arrays that nobody asked to cut otherwise."""
        chunk, _ = layout_of(variable(("session", "x"), (1, 64)), chunks={"session": 2**21})
        assert chunk == (2**21, 64)
        assert layout_of(variable(("x",), (2**28,)))[0] == (2**28,)

    def test_all_at_once(self):
        """Every variable that is concerned is named."""
        one = xr.Dataset({"v": variable(("session", "x"), (1, 64)), "w": variable(("session",), (1,))})
        with pytest.raises(BadInput) as caught:
            default_layout(one, "session", (), {"session": 10**9, "y": 1}, {"x": 65})
        assert [problem.where for problem in caught.value.problems] == [
            "chunks['y']",
            "shards of 'v'",
            "chunks of 'v'",
            "chunks of 'w'",
        ]


class TestChecked:
    """Sizes as users give them."""

    dataset = xr.Dataset({"v": (("session", "window"), np.zeros((1, 2)))})

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            (None, {}),
            ({}, {}),
            ({"session": 3}, {"session": 3}),
            ({"session": np.int64(3)}, {"session": 3}),
            ({"v": [1, np.int32(2)]}, {"v": (1, 2)}),
            ({"not there": 5, "nor this": (1, 2, 3)}, {"not there": 5, "nor this": (1, 2, 3)}),
        ],
    )
    def test_whole_numbers(self, asked, expected):
        """Any kind of whole number is taken, also for names that this dataset doesn't have."""
        found = checked_sizes("chunks", asked, self.dataset)
        assert found == expected
        assert all(type(item) in {int, tuple} for item in found.values())

    @pytest.mark.parametrize(
        "size", [0, -1, 2.0, "auto", None, True, (1, 0), (1,), (1, 2, 3), (1, 2.5), {"session": 1}]
    )
    def test_anything_else_is_refused(self, size):
        """What isn't a size is named with its place, before anything is planned."""
        with pytest.raises(BadInput, match=r"chunks\['v'\]") as caught:
            checked_sizes("chunks", {"v": size}, self.dataset)
        assert caught.value.code == "chunk-size"

    @pytest.mark.parametrize("asked", ["auto", 3, (1, 2)])
    def test_what_names_nothing_is_refused(self, asked):
        """Sizes without names are no sizes."""
        with pytest.raises(BadInput, match=r"chunks: found .*expected \{dimension: how many\}"):
            checked_sizes("chunks", asked, self.dataset)

    def test_all_at_once(self):
        """Every wrong size is reported."""
        with pytest.raises(BadInput, match="2 problems"):
            checked_sizes("shards", {"session": 0, "window": "x", "v": (1, 2)}, self.dataset)
