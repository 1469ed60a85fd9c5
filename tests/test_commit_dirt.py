"""Left-overs of dead writers, against a model that knows of every single element where it came from."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document
from memory_storage import MemoryStorage, Numbered, World

from aggrade.commit import dirt
from aggrade.commit.documents import key_of, units_in
from aggrade.commit.plan import Target

quick = settings(deadline=None, max_examples=60)
DEFAULT = {"name": "default", "configuration": {"separator": "/"}}
ENCODINGS = [DEFAULT, {"name": "v2", "configuration": {"separator": "."}}]


def target(bounds, unit, *, variable="x", content="", encoding=DEFAULT):
    """Return a region of a dead commit."""
    return Target(variable=variable, bounds=bounds, unit=unit, key_encoding=encoding, content=content)


def document(shape, unit, encoding=DEFAULT):
    """Return an array's document with some key encoding."""
    return {**make_document(shape, unit), "chunk_key_encoding": encoding}


def elements(bounds):
    """Return the index of every element of a box."""
    return set(itertools.product(*(range(*pair) for pair in bounds)))


def units_of(places, unit):
    """Return the units that hold any of these elements."""
    return {tuple(p // u for p, u in zip(place, unit, strict=True)) for place in places}


def box(shape):
    """Return the bounds of a whole array."""
    return tuple((0, size) for size in shape)


@st.composite
def histories(draw):
    """Draw a unit, a published shape, regions that dead commits meant to write, and a larger shape to come.

    The array grows along its first dimension and may grow along the others, as an append with `grow` does.
    """
    axes = draw(st.integers(1, 2))
    sizes = st.lists(st.integers(1, 6), min_size=axes, max_size=axes)
    unit = draw(st.lists(st.integers(1, 3), min_size=axes, max_size=axes))
    published = draw(sizes)
    dead = []
    for _ in range(draw(st.integers(0, 3))):
        meant = [size + draw(st.integers(0, 5)) for size in published]
        first = (draw(st.integers(0, published[0])), meant[0])
        dead.append((first, *[(0, stop) for stop in meant[1:]]))
    after = [size + draw(st.integers(0, 6)) for size in published]
    return unit, published, [bounds for bounds in dead if bounds[0][1] > bounds[0][0]], after


def written_by(unit, published, after, draw_from):
    """Return the units that a later commit writes of its own: those of its new rows."""
    rows = ((published[0], after[0]), *[(0, stop) for stop in draw_from[1:]])
    return units_of(elements(rows), unit) if rows[0][1] > rows[0][0] else set()


class TestModel:
    """What may lie where, element by element."""

    @quick
    @given(histories(), st.sampled_from(ENCODINGS))
    def test_nothing_dirty_comes_to_light(self, history, encoding):
        """Every element that a commit shows anew lies in an object that it writes or rebuilds, or in a clean one."""
        unit, published, dead, after = history
        regions = [target(bounds, tuple(unit), encoding=encoding) for bounds in dead]
        before_doc, after_doc = (document(shape, unit, encoding) for shape in (published, after))
        own = written_by(unit, published, after, after)
        keys = {key_of("x", after_doc, index) for index in own}
        rebuilt = [i for _, i in dirt.uncovered(regions, {"x": before_doc}, {"x": after_doc}, keys)]
        dirty = set().union(*(units_of(elements(bounds), unit) for bounds in dead))
        shown = elements(box(after)) - elements(box(published))
        exposed = {place for place in shown if units_of([place], unit) <= dirty - own}
        assert units_of(exposed, unit) == set(rebuilt)
        assert len(rebuilt) == len(set(rebuilt))

    @quick
    @given(histories(), st.sampled_from(ENCODINGS))
    def test_what_stays_dirty_lies_beyond_the_grid(self, history, encoding):
        """After a commit just those dirty objects are left that its grid doesn't reach."""
        unit, _, dead, after = history
        regions = [target(bounds, tuple(unit), encoding=encoding) for bounds in dead]
        after_doc = document(after, unit, encoding)
        left = dirt.still_dirty(regions, {"x": after_doc})
        inside = set(units_in(after_doc, box(after)))
        dirty = set().union(*(units_of(elements(bounds), unit) for bounds in dead))
        assert {index for region in left for _, index in region.objects()} == dirty - inside

    @quick
    @given(histories(), st.sampled_from(ENCODINGS))
    def test_what_a_commit_can_write(self, history, encoding):
        """Within a grid lies just what doesn't stay dirty."""
        unit, _, dead, after = history
        regions = [target(bounds, tuple(unit), encoding=encoding) for bounds in dead]
        after_doc = document(after, unit, encoding)
        inside = set(units_in(after_doc, box(after)))
        dirty = set().union(*(units_of(elements(bounds), unit) for bounds in dead))
        found = {i for region in dirt.within(regions, {"x": after_doc}) for _, i in region.objects()}
        assert found == dirty & inside

    @quick
    @given(histories(), st.integers(0, 3))
    def test_joined_regions_hold_the_same(self, history, more):
        """Joining makes no region more, and holds the same objects."""
        unit, _, dead, _ = history
        shifted = [tuple((a + more, b + more) for a, b in bounds) for bounds in dead]
        regions = [target(bounds, tuple(unit)) for bounds in (*dead, *shifted)]
        joined = dirt.joined(regions)
        assert len(joined) <= len({region.bounds for region in regions})
        objects = [{i for region in some for _, i in region.objects()} for some in (regions, joined)]
        assert objects[0] == objects[1]

    @quick
    @given(histories())
    def test_regions_inside_are_no_dirt(self, history):
        """A commit that never showed leaves dirt exactly where a region of its own reached beyond the shape."""
        unit, published, dead, _ = history
        regions = [target(bounds, tuple(unit)) for bounds in dead]
        left = dirt.left_dirty(regions, {"x": document(published, unit)})
        beyond = [r for r in regions if elements(r.bounds) - elements(box(published))]
        assert list(left) == beyond

    @quick
    @given(histories(), st.sampled_from(ENCODINGS), st.randoms(use_true_random=False))
    def test_left_overs_are_found_with_their_marks(self, history, encoding, random):
        """Every object that lies in a dirty region is listed with its mark, and no other."""
        unit, published, dead, _ = history
        world = World()
        storage = MemoryStorage(world, "s.zarr")
        everywhere = document([size + 6 for size in published], unit, encoding)
        for index in units_in(everywhere, box([size + 6 for size in published])):
            if random.random() < 0.6:
                storage.write(key_of("x", everywhere, index), b"?")
        for stranger in ("x/zarr.json", "xx/c/0", "y/c/0/0"):
            storage.write(stranger, b"?")
        regions = [target(bounds, tuple(unit), encoding=encoding) for bounds in dead]
        dirty = set().union(*(units_of(elements(bounds), unit) for bounds in dead))
        there = {key_of("x", everywhere, index) for index in dirty} & {info.key for info in storage.list()}
        found = dirt.left_overs(storage, regions)
        assert found == {key: storage.stat(key).etag for key in there}


class TestUncovered:
    """Which objects a commit must rebuild."""

    def test_an_object_that_shows_no_more_of_itself_stays(self):
        """A tail chunk whose rows are all published already can't bring anything to light."""
        dead = [target(((0, 4),), (4,))]
        same = document((3,), (4,))
        assert not list(dirt.uncovered(dead, {"x": same}, {"x": same}, set()))

    def test_a_tail_chunk_that_shows_more_is_rebuilt(self):
        """If the array grows into a dirty chunk that the commit doesn't write, it is rebuilt."""
        dead = [target(((0, 4),), (4,))]
        found = list(dirt.uncovered(dead, {"x": document((3,), (4,))}, {"x": document((4,), (4,))}, set()))
        assert found == [("x", (0,))]

    def test_the_other_dimension_counts_as_well(self):
        """A growing window axis shows more of rows that were published long ago."""
        dead = [target(((0, 1), (2, 6)), (1, 2))]
        found = dirt.uncovered(dead, {"x": document((1, 2), (1, 2))}, {"x": document((1, 4), (1, 2))}, set())
        assert list(found) == [("x", (0, 1))]

    def test_what_is_written_anyway_is_left_out(self):
        """The commit's own objects need no rebuilding."""
        dead = [target(((0, 4),), (2,))]
        found = dirt.uncovered(dead, {}, {"x": document((4,), (2,))}, {"x/c/0"})
        assert list(found) == [("x", (1,))]

    def test_an_array_that_is_gone_is_nobodys(self):
        """Dirt of an array that the new state doesn't have stays out of sight."""
        assert not list(dirt.uncovered([target(((0, 4),), (2,))], {}, {}, set()))

    def test_keys_of_another_encoding_are_out_of_sight(self):
        """Objects under the keys of an older version of the array aren't looked at by readers of the new one."""
        dead = [target(((0, 4),), (2,), encoding=ENCODINGS[1])]
        assert not list(dirt.uncovered(dead, {}, {"x": document((4,), (2,))}, set()))

    def test_a_new_array_under_old_keys_is_rebuilt(self):
        """Where the published array has other keys, everything dirty under the new ones shows anew."""
        dead = [target(((0, 2),), (2,))]
        published = {"x": document((4,), (2,), ENCODINGS[1])}
        assert list(dirt.uncovered(dead, published, {"x": document((4,), (2,))}, set())) == [("x", (0,))]


class TestTwins:
    """Left-overs that may stay."""

    def test_what_the_same_commit_left_may_stay(self):
        """Where only the same content was ever meant to lie, what lies there may stay if it is right."""
        dead = [target(((0, 4),), (2,), content="A")]
        assert dirt.twins(["x/c/0", "x/c/1", "y/c/0"], dead, "A") == {"x/c/0", "x/c/1", "y/c/0"}

    def test_where_anything_else_was_meant_it_may_not(self):
        """One other dead commit on the same key is enough."""
        dead = [target(((0, 4),), (2,), content="A"), target(((2, 4),), (2,), content="B")]
        assert dirt.twins(["x/c/0", "x/c/1"], dead, "A") == {"x/c/0"}

    def test_without_layers_nothing_is_known_to_be_the_same(self):
        """Commits that name no content are never twins."""
        assert dirt.twins(["x/c/0"], [target(((0, 4),), (2,))], "") == frozenset()

    def test_of_a_chunk_in_two_dimensions(self):
        """A key belongs to a region if every number of its index does."""
        dead = [target(((2, 4), (0, 2)), (1, 2), content="B")]
        assert dirt.twins(["x/c/2/0", "x/c/2/1", "x/c/1/0"], dead, "A") == {"x/c/2/1", "x/c/1/0"}


class TestStillDirty:
    """What is left for a later commit."""

    def test_dirt_within_the_grid_has_been_covered(self):
        """Once the array has grown over a region, nothing of it is left."""
        assert dirt.still_dirty([target(((2, 6),), (2,))], {"x": document((5,), (2,))}) == ()

    def test_only_what_is_beyond_stays(self):
        """A region is cut at the edge of the grid."""
        (left,) = dirt.still_dirty([target(((2, 9),), (2,))], {"x": document((3,), (2,))})
        assert left.bounds == ((4, 9),)

    def test_the_same_region_twice_is_kept_once(self):
        """Any number of dead runs of one commit leave one region."""
        region = target(((2, 6),), (2,))
        assert dirt.still_dirty([region] * 5, {"x": document((2,), (2,))}) == (region,)

    def test_of_an_array_that_is_not_there_all_stays(self):
        """A store without the array has covered nothing of it."""
        region = target(((0, 6),), (2,))
        assert dirt.still_dirty([region], {}) == (region,)

    def test_layer_after_layer_leaves_two_regions(self):
        """What was given up beyond two dimensions stays the rest of its rows, and one strip beside those that came."""
        left = (target(((1, 30), (0, 7)), (1, 2)),)
        for rows in range(2, 20):
            left = dirt.still_dirty(left, {"x": document((rows, 1), (1, 2))})
            assert {region.bounds for region in left} == {((rows, 30), (0, 7)), ((1, rows), (2, 7))}

    def test_contents_are_kept_apart(self):
        """Regions of different content stay different: a twin must know of both."""
        regions = [target(((0, 6),), (2,), content=content) for content in "AB"]
        assert len(dirt.still_dirty(regions, {})) == 2


class TestLeftOvers:
    """What lies in dirty regions."""

    def test_no_dirt_costs_no_request(self):
        """A clean store is not listed."""
        hooks = Numbered()
        assert dirt.left_overs(MemoryStorage(World(), "s.zarr", hooks), ()) == {}
        assert hooks.kinds == []

    @pytest.mark.parametrize(
        ("bounds", "unit", "prefix"),
        [
            (((5, 6), (0, 4)), (1, 2), "x/c/5/"),
            (((5, 6), (0, 2)), (1, 2), "x/c/5/0"),
            (((5, 7), (0, 4)), (1, 2), "x/c/"),
            (((10, 20),), (10,), "x/c/1"),
            (((1, 11),), (1,), "x/c/"),
            ((), (), "x/c"),
        ],
    )
    def test_the_listing_is_as_narrow_as_the_region(self, bounds, unit, prefix):
        """One row is looked for in its own folder, whatever the array holds beside."""
        hooks = Numbered()
        dirt.left_overs(MemoryStorage(World(), "s.zarr", hooks), [target(bounds, unit)])
        assert hooks.kinds == [f"LIST s.zarr/{prefix}"]

    def test_an_empty_region_holds_nothing(self):
        """A session without windows leaves nothing behind."""
        storage = MemoryStorage(World(), "s.zarr")
        storage.write("x/c/0/0", b"?")
        empty = target(((0, 1), (0, 0)), (1, 2))
        assert dirt.left_overs(storage, [empty]) == {}
        assert list(empty.objects()) == []
