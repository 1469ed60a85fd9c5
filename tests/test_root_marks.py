"""What a root keeps for aggrade is of the types that commits write."""

from __future__ import annotations

import json

import pytest

from aggrade.root_marks import mark_problems

SOUND = {
    "format": 1,
    "generation": 7,
    "write_id": "a" * 32,
    "dim": "session",
    "grow": ["window"],
    "adopted": 2,
    "superseded": [0, 3],
    "undone": [[1, 2], [4, 6]],
    "channels": {"eeg_channel": [[0, 8], [3, 10]]},
    "catalogue": "..",
    "later": {"whatever": [1, None]},
}


def test_what_commits_write():
    """All of it, nothing of it, and the empty fields that a rechunk leaves have nothing wrong."""
    emptied = {
        key: [] if isinstance(value, list) else None for key, value in SOUND.items() if key != "format"
    }
    for mark in (SOUND, {}, {**emptied, "generation": 1, "write_id": "b"}):
        assert mark_problems("zarr.json", mark) == []


@pytest.mark.parametrize("field", [key for key in SOUND if key not in {"format", "later"}])
@pytest.mark.parametrize("value", [3.5, "three", -1, [[1, "2"]], {"a": [[1]]}, True])
def test_any_other_type(field, value):
    """Each is told with its place and its value, but for text where text belongs."""
    text = isinstance(value, str) and isinstance(SOUND[field], str)
    found = mark_problems("zarr.json", {**SOUND, field: value})
    assert bool(found) != text
    assert all(f"attribute aggrade.{field}" in problem.found for problem in found)
    assert all(problem.code == "root-mark" and problem.fix for problem in found)


@pytest.mark.parametrize(
    ("mark", "told"),
    [
        (None, "attribute aggrade of None"),
        ([], "attribute aggrade of []"),
        ({"undone": [[1, 2], [3]]}, "attribute aggrade.undone.1 of [3]"),
        ({"undone": [[1, 2, 3]]}, "attribute aggrade.undone.0 of [1, 2, 3]"),
        ({"channels": {"c": [[0, None]]}}, "attribute aggrade.channels.c.0.1 of None"),
        ({"generation": 10**30 * -1}, "attribute aggrade.generation of -1"),
    ],
)
def test_where_it_is_wrong(mark, told):
    """The innermost place that is there is named, and every place."""
    (problem,) = mark_problems("zarr.json", json.loads(json.dumps(mark)))
    assert problem.found.startswith(told)
    both = mark_problems("zarr.json", {"dim": 1, "grow": 2})
    assert [one.found.split(" of ")[0] for one in both] == ["attribute aggrade.dim", "attribute aggrade.grow"]
