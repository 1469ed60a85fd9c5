"""Array documents beside the root: what is told apart, and what is passed over."""

from __future__ import annotations

import json

import pytest
from test_append_plan import dataset_of

from aggrade.commit import describe
from aggrade.commit.agreement import disagreements, documents_at_stake, marks_of
from aggrade.commit.intent import Intent, Owner
from aggrade.commit.looking import Look
from aggrade.commit.snapshot import Snapshot
from aggrade.storage import StoredObject

SHOWN = describe(dataset_of("a"), chunks={"session": 4})


def there(name, **changes):
    """Return what is read where an array says other than the root."""
    return {f"{name}/zarr.json": StoredObject(json.dumps({**SHOWN[name], **changes}).encode(), '"1"')}


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"shape": [2]}, "the shape (2,)"),
        ({"shape": [0]}, "the shape (0,)"),
        ({"shape": [1, 1]}, "the shape (1, 1)"),
        ({"data_type": "int64"}, "another type"),
        ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [7]}}}, "other chunks"),
        ({"chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}}}, "other chunks"),
    ],
)
def test_what_differs_is_named(changes, found):
    """Longer, shorter, of other dimensions, of another type, in other chunks: one problem that names the array."""
    (problem,) = disagreements("here", SHOWN, there("n_windows", **changes))
    assert problem.where == "here/n_windows"
    assert found in problem.found
    assert problem.code == "not-consolidated"


@pytest.mark.parametrize("data", [b"torn", b"[]", b"{}", b'{"shape": 3}', b"null"])
def test_what_says_nothing_is_passed_over(data):
    """A torn document is what the next commit mends."""
    assert list(disagreements("here", SHOWN, {"n_windows/zarr.json": StoredObject(data, '"1"')})) == []


def test_what_is_the_same_is_passed_over():
    """Attributes may differ, documents may be missing, other objects don't matter."""
    read = there("n_windows", attributes={"note": "by hand"}) | {"eeg/zarr.json": None, "eeg/c/0": None}
    assert list(disagreements("here", SHOWN, read)) == []


def seen(mark, intent=None):
    """Return what was seen of a store in which the root says `mark`."""
    return Look(Snapshot("", {"aggrade": mark}, SHOWN), intent)


def keys(names):
    """Return where documents lie."""
    return {f"{name}/zarr.json" for name in names}


def test_which_arrays_are_looked_at():
    """What grows; what grows with a longer layer; everything where aggrade has never written."""
    sizes = {
        dim: n for doc in SHOWN.values() for dim, n in zip(doc["dimension_names"], doc["shape"], strict=True)
    }
    along = {name for name, doc in SHOWN.items() if "session" in doc["dimension_names"]}
    ours = seen({"dim": "session"})
    assert set(documents_at_stake(ours, "session", sizes)) == keys(along) < keys(SHOWN)
    longer = {**sizes, "eeg_channel": 99}
    assert set(documents_at_stake(ours, "session", longer)) == keys(along | {"eeg_channel"})
    assert set(documents_at_stake(seen({}), "session", sizes)) == keys(SHOWN)


def test_none_is_looked_at_while_a_commit_is_under_way():
    """It changes them; what it leaves is looked at under the intent."""
    held = Intent(state="held", write_id="w", owner=Owner.here(), lease_seconds=30.0)
    assert documents_at_stake(seen({"dim": "session"}, (held, '"1"')), "session", {}) == []
    assert documents_at_stake(Look(None, None), "session", {}) == []


def test_marks_of_what_was_read():
    """Only those that are there."""
    read = there("n_windows") | {"eeg/zarr.json": None}
    assert marks_of(["n_windows", "eeg", "label"], read) == {"n_windows/zarr.json": '"1"'}
