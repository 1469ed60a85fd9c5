"""What a label is taken out of, and what keeps it since it may mean another thing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.commit.naming import (
    attributes_without,
    changed_attributes,
    is_distinctive,
    masked,
    names,
    naming_attributes,
    receipt_without,
    without_label,
)

ID = "sub-3 ζ"
SPEC = '{"size_s":2.0,"mapping":{"rest":0,"left":1},"on_missing":"ignore"}'
SHARED = {
    "mapping": {"rest": 0, "left": 1, ID: 2},
    "spec": SPEC,
    "units": "V",
    "unit_of": "V",
    "eeg": {"sampling_rate": "1", "channels": ["V", "eeg", ID]},
    "window_size_s": 2.0,
    "filter_band": "1-40 Hz",
    "flag_meanings": f"rest left {ID}",
    "grid_mapping": "rest",
    "classes": ["rest", "left"],
    "aggrade": {"format": 1, "source": {"rest": 1}},
}
"""What says how values are read or were made."""

WORDS = ("rest", "left", "1", "V", "eeg", "Hz", "format", "mapping", "spec", "size_s", "units")


class TestText:
    """Taking a label out of what was written down."""

    def test_keys_items_and_sentences(self):
        """A label goes as a key, as an item and as a word; as a part of another word it stays."""
        told = {
            "layers": {"s1": 0, "s10": 1},
            "list": ["s1", "s12", ["s1"]],
            "said": "epoch s1: 3 rows; s1-b and xs1 stay",
            "number": 1,
        }
        assert without_label(told, "s1") == {
            "layers": {"s10": 1},
            "list": ["s12", []],
            "said": "epoch : 3 rows; -b and xs1 stay",
            "number": 1,
        }

    @settings(deadline=None)
    @given(
        st.recursive(
            st.text(max_size=3) | st.integers(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner),
        )
    )
    def test_nothing_names_it_afterwards(self, value):
        """Whatever is cleaned names the label no more."""
        assert not names(without_label(value, "ab"), "ab") or "ab" in str(value)
        assert without_label(without_label(value, "zz"), "zz") == without_label(value, "zz")

    def test_an_empty_label(self):
        """It is no word of any sentence."""
        assert without_label({"said": "a b"}, "") == {"said": "a b"}


@pytest.mark.parametrize("name", ["units", "calendar", "_Unsigned", "_FillValue", "coordinates"])
def test_what_says_how_to_read_values_stays(name):
    """A session may be labelled as such an attribute reads: the values of others would be read as other ones."""
    assert attributes_without({name: "true", "session_id": "true"}, "true") == {name: "true"}


class TestShared:
    """What goes for all layers is not touched, whatever a layer is called."""

    @pytest.mark.parametrize("label", [*WORDS, ID])
    def test_it_stays(self, label):
        """Not a byte of it changes, nested or not."""
        assert attributes_without(SHARED, label) == SHARED
        assert changed_attributes(SHARED, label) == []

    @pytest.mark.parametrize(
        ("label", "told"),
        [
            ("rest", ["mapping", "spec", "flag_meanings", "grid_mapping", "classes"]),
            ("V", ["units", "unit_of", "eeg"]),
            (ID, ["mapping", "eeg", "flag_meanings"]),
            ("right", []),
            ("", []),
        ],
    )
    def test_what_names_it_is_told(self, label, told):
        """Whoever removes a layer learns in which attributes its label still stands."""
        assert naming_attributes(SHARED, label) == told

    @given(st.text(min_size=1, max_size=8))
    def test_whatever_the_label(self, label):
        """No label changes it."""
        assert attributes_without(SHARED, label) == SHARED


class TestWords:
    """A label that is an ordinary word."""

    @pytest.mark.parametrize(
        "label", ["rest", "1", "V", "2026-10-05", "104729", "T1", "100Hz", "2.5 s", "ζωή"]
    )
    def test_it_stays_in_texts(self, label):
        """Elsewhere than in what says whose it is, it means something else."""
        told = {"about": f"band {label}-40, {label}", "kind": label, "of": [label], "tree": {label: label}}
        assert not is_distinctive(label)
        assert attributes_without(told, label) == told
        assert naming_attributes(told, label) == list(told)

    @pytest.mark.parametrize(
        "name", ["session_id", "source", "subject", "Subject_Name", "sourceFile", "participants"]
    )
    def test_it_goes_from_what_says_whose_it_is(self, name):
        """Whole, as an item, as a key, and as a part of a path, with suffixes or without."""
        assert attributes_without({name: "rest"}, "rest") == {}
        assert attributes_without({name: ["rest", "left"]}, "rest") == {name: ["left"]}
        assert attributes_without({name: {"rest": 1, "id": "rest"}}, "rest") == {name: {}}
        for before, after in {
            "/data/rest/rest.set.gz": "/data//.set.gz",
            "rest\\a.xdf": "\\a.xdf",
            "resting/sub-rest.xdf": "resting/sub-rest.xdf",
            "the rest": "the rest",
        }.items():
            assert attributes_without({name: before}, "rest") == {name: after}

    @pytest.mark.parametrize(
        "name", ["session_type", "file_format", "recording_device", "subject_unit", "note"]
    )
    def test_it_stays_in_what_says_something_else(self, name):
        """A kind of session is not a session."""
        assert attributes_without({name: "rest"}, "rest") == {name: "rest"}


class TestDistinctive:
    """A label that can't be an ordinary word."""

    @pytest.mark.parametrize("label", ["sub-03", "P077", "3f2a9c", "S001/b", "a 2nd one"])
    def test_it_goes_from_everywhere_else(self, label):
        """As a whole, as a key, as an item and as a word."""
        told = {
            "note": label,
            label: {"a": 1},
            "who": {label: 1, "with": [label, "x"], "n": label},
            "of": f"cap of {label}, size 56",
            "all": 3,
        }
        left = {"who": {"with": ["x"]}, "of": "cap of , size 56", "all": 3}
        assert is_distinctive(label)
        assert attributes_without(told, label) == left
        assert changed_attributes(told, label) == ["note", label, "who", "of"]
        assert naming_attributes(left, label) == []

    def test_what_it_is_a_part_of_is_told(self):
        """Between underscores it is another name perhaps: that stays, and is told."""
        told = {"source": "P077_eeg.xdf", "other": "P0771"}
        assert attributes_without(told, "P077") == told
        assert naming_attributes(told, "P077") == ["source"]


RECEIPT = {
    "kind": "append",
    "store": "s3://lab/rest/windows.zarr",
    "dim": "session",
    "layers": {"rest": 0, "left": 1},
    "digests": {"rest": "00", "left": "11"},
    "undo": "aggrade restore s3://lab/rest/windows.zarr 7",
    "details": {
        "channels": {"eeg": [[0, 2]]},
        "left_out": ["attribute 'rest' of variable 'eeg'"],
        "epochs": {"rest": {"rows": 1}, "left": {"rows": 2}},
        "replaced": ["rest"],
        "refused": {"a.csv": "b.csv"},
        "rows": 3,
    },
}


class TestReceipts:
    """Receipts lose what is told by label, and no field."""

    def test_layers_digests_and_epochs(self):
        """They go by label."""
        left = receipt_without(RECEIPT, "rest")
        assert left["layers"] == {"left": 1}
        assert left["digests"] == {"left": "11"}
        assert left["details"] == RECEIPT["details"] | {"epochs": {"left": {"rows": 2}}, "replaced": []}
        rest = {"layers", "digests", "details"}
        assert {k: v for k, v in left.items() if k not in rest} == {
            k: v for k, v in RECEIPT.items() if k not in rest
        }

    @pytest.mark.parametrize("label", ["append", "session", "eeg", "rows", "details", "kind", "channels", ""])
    def test_words_of_its_own(self, label):
        """A layer that is called as a field or its value takes nothing with it."""
        assert receipt_without(RECEIPT, label) == RECEIPT

    def test_what_can_only_be_the_label(self):
        """It goes from other details, too."""
        told = {"details": {"said": "P077: 3 rows", "skipped": ["P077", "b"]}}
        assert receipt_without(told, "P077") == {"details": {"said": ": 3 rows", "skipped": ["b"]}}


@pytest.mark.parametrize(
    ("text", "label", "after"),
    [
        ("sessions/P7_windowed.zarr, P77", "P7", "sessions/…_windowed.zarr, P77"),
        ("attribute 'a'", "a", "attribute '…'"),
        ("a", "", "a"),
    ],
)
def test_masked(text, label, after):
    """A label is hidden where it stands for itself, not within words."""
    assert masked(text, label) == after
