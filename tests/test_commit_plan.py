"""Plans of commits: frozen values from which every key follows."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document
from pydantic import ValidationError

from aggrade.commit.documents import resized
from aggrade.commit.plan import Base, CommitPlan, Layer, Region, Target, new_write_id

quick = settings(deadline=None, max_examples=40)
V2 = {"name": "v2", "configuration": {"separator": "."}}
X = make_document((6, 4), (2, 3), dims=("session", "sample"))


def a_plan(**changes):
    """Return a plan that appends two rows to `x`."""
    values = {
        "kind": "append",
        "store": "memory://x.zarr",
        "dim": "session",
        "base": Base(etag="1", generation=3),
        "documents": {"x": X},
        "regions": (Region(variable="x", bounds=((3, 6), (0, 4))),),
        "layers": (
            Layer(label="s4", index=3, digest="d4"),
            Layer(label="s5", index=4, digest="d5", sizes={"window": 2}, supersedes=1),
        ),
    }
    return CommitPlan(**{**values, **changes})


def keys_of(plan):
    """Return the keys that a plan writes."""
    return [key for _, key, _ in plan.objects()]


class TestObjects:
    """Which objects a plan writes."""

    def test_every_object_that_a_region_touches(self):
        """A region that begins within a chunk names that chunk too."""
        assert list(a_plan().objects()) == [
            ("x", "x/c/1/0", (1, 0)),
            ("x", "x/c/1/1", (1, 1)),
            ("x", "x/c/2/0", (2, 0)),
            ("x", "x/c/2/1", (2, 1)),
        ]

    def test_in_the_order_of_regions(self):
        """Regions of several arrays follow one another."""
        documents = {"x": X, "y": make_document((6,), (6,))}
        regions = (
            Region(variable="y", bounds=((3, 6),)),
            Region(variable="x", bounds=((4, 6), (0, 3))),
        )
        assert keys_of(a_plan(documents=documents, regions=regions)) == ["y/c/0", "x/c/2/0"]

    def test_a_plan_without_regions_writes_none(self):
        """Only metadata may change."""
        assert keys_of(a_plan(regions=())) == []

    @quick
    @given(st.data())
    def test_targets_name_the_same_keys_as_the_documents(self, data):
        """What the intent keeps of a region leads to the very keys that are written."""
        shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
        unit = [data.draw(st.integers(1, 4)) for _ in shape]
        bounds = tuple(tuple(sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2)))) for n in shape)
        document = make_document(shape, unit)
        encoding = data.draw(st.sampled_from([document["chunk_key_encoding"], V2]))
        document = {**document, "chunk_key_encoding": encoding}
        plan = a_plan(documents={"x": document}, regions=(Region(variable="x", bounds=bounds),))
        (target,) = plan.targets()
        elements = itertools.product(*(range(*pair) for pair in bounds))
        expected = sorted({tuple(e // u for e, u in zip(element, unit, strict=True)) for element in elements})
        assert [index for _, index in target.objects()] == expected
        assert [key for key, _ in target.objects()] == keys_of(plan)


class TestShared:
    """Which of them exist already."""

    def test_chunks_that_hold_published_rows(self):
        """Of a tail chunk with published rows the plan knows that it is replaced, of new ones that they aren't."""
        published = {"x": resized(X, {"session": 3})}
        assert a_plan().shared(published) == ["x/c/1/0", "x/c/1/1"]

    def test_nothing_is_shared_on_create(self):
        """Without a published state every object is new."""
        assert a_plan(base=None).shared({}) == []

    def test_nothing_is_shared_at_the_edge_of_a_chunk(self):
        """Rows that begin a chunk of their own touch no other."""
        plan = a_plan(regions=(Region(variable="x", bounds=((4, 6), (0, 4))),))
        assert plan.shared({"x": resized(X, {"session": 4})}) == []

    def test_a_wider_row_shares_only_what_was_published(self):
        """Where another dimension grew, chunks beyond its old length are new."""
        plan = a_plan(regions=(Region(variable="x", bounds=((2, 6), (0, 4))),))
        assert plan.shared({"x": resized(X, {"session": 3, "sample": 3})}) == ["x/c/1/0"]

    def test_other_keys_share_nothing(self):
        """An array whose keys change leaves the published objects alone."""
        published = {"x": {**resized(X, {"session": 3}), "chunk_key_encoding": V2}}
        assert a_plan().shared(published) == []


class TestTarget:
    """A region that can be understood when its document is gone."""

    def test_its_stand_in_has_grid_and_keys_alone(self):
        """Shape, unit and key encoding are what keys follow from."""
        target = Target(variable="x", bounds=((2, 5),), unit=(2,), key_encoding=V2)
        assert target.document["shape"] == [5]
        assert list(target.objects()) == [("x/1", (1,)), ("x/2", (2,))]

    def test_of_an_empty_region(self):
        """A region without elements has no objects."""
        target = Target(variable="x", bounds=((0, 1), (0, 0)), unit=(1, 2), key_encoding=V2)
        assert list(target.objects()) == []

    def test_of_a_scalar(self):
        """An array without dimensions has one."""
        target = Target(variable="x", bounds=(), unit=(), key_encoding=X["chunk_key_encoding"])
        assert list(target.objects()) == [("x/c", ())]


class TestContent:
    """What two plans have in common that write the same."""

    def test_same_layers_same_content(self):
        """The content depends on the layers alone, not on what the store looked like."""
        assert a_plan().content == a_plan(base=None, attributes={"a": 1}, backup="none").content

    @pytest.mark.parametrize("change", [{"label": "s6"}, {"index": 5}, {"digest": "other"}])
    def test_other_layers_other_content(self, change):
        """Another label, another place or another digest is other content."""
        layer = a_plan().layers[0].model_copy(update=change)
        assert a_plan(layers=(layer, a_plan().layers[1])).content != a_plan().content

    def test_a_plan_without_layers_has_none(self):
        """Of a commit that brings no layers nothing is known to be the same."""
        assert a_plan(layers=()).content == ""

    def test_targets_carry_it(self):
        """The intent says what was to be written where."""
        assert {target.content for target in a_plan().targets()} == {a_plan().content}


class TestValue:
    """A plan is a value."""

    def test_it_survives_json(self):
        """A plan can be sent elsewhere and means the same there."""
        sent = json.loads(json.dumps(a_plan().model_dump(mode="json")))
        assert CommitPlan.model_validate(sent) == a_plan()
        assert CommitPlan.model_validate_json(a_plan().model_dump_json()) == a_plan()

    @pytest.mark.parametrize("name", ["kind", "regions", "base"])
    def test_it_is_frozen(self, name):
        """Nothing changes a plan once it is made."""
        with pytest.raises(ValidationError, match="frozen"):
            setattr(a_plan(), name, None)

    def test_unknown_fields_are_errors(self):
        """A misspelt field is not passed over."""
        with pytest.raises(ValidationError, match="bakcup"):
            a_plan(bakcup="full")

    def test_unknown_backups_are_errors(self):
        """There are three kinds of backup."""
        with pytest.raises(ValidationError, match="touched"):
            a_plan(backup="some")

    def test_the_journal_of_a_large_layer_is_small(self):
        """A region of 100,000 chunks is kept as a box, not as keys."""
        large = make_document((1, 100_000), (1, 1))
        plan = a_plan(documents={"x": large}, regions=(Region(variable="x", bounds=((0, 1), (0, 100_000))),))
        assert sum(1 for _ in plan.objects()) == 100_000
        assert len(json.dumps([target.model_dump(mode="json") for target in plan.targets()])) < 1000


def test_write_ids_differ():
    """No two writes bear the same name."""
    assert len({new_write_id() for _ in range(1000)}) == 1000
