"""The detections of one epoch: put together from several files, cut, and told apart by their content."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrade.catalogues.epochs import EpochCatalogue, content_digest, ids_digested, merged

NAN = np.nan


def part(names="g", rows=2, **changes):
    """Return an epoch in some bands, every cell detected."""
    shape = (rows, len(names))
    base = EpochCatalogue(
        key="7",
        measurements=tuple(names),
        units=("mag",) * len(names),
        value=np.arange(rows * len(names), dtype="f4").reshape(shape),
        error=np.full(shape, 0.1, "f4"),
        status=np.ones(shape, "u1"),
        time=np.full(shape, 60000.5),
        ids=np.arange(rows),
        ra=np.arange(rows, dtype=float),
        dec=np.zeros(rows),
    )
    return replace(base, **changes)


def test_files_of_one_epoch_lie_row_below_row():
    """Measurements lie in the order of the specification; a file says nothing of those it lacks."""
    whole = merged([part("r"), part("zg")], ("g", "r", "i"))
    assert whole.measurements == ("g", "r", "z")
    assert whole.status.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 1], [1, 0, 1]]
    assert np.array_equal(whole.value[:, 0], [NAN, NAN, 1, 3], equal_nan=True)
    assert whole.ids.tolist() == [0, 1, 0, 1]
    assert merged([part("g")], ("g",)).rows == 2
    assert merged([part("rg")], ("g", "r")).measurements == ("g", "r")


def test_ids_of_two_types_are_text():
    """Numbers in one file and text in another are put together as text."""
    assert merged([part(), part(ids=np.array(["a", "b"]))]).ids.tolist() == ["0", "1", "a", "b"]


def test_what_one_file_lacks_the_epoch_lacks():
    """Without positions in one file, the epoch has none."""
    assert merged([part(), part(ra=None, dec=None)]).ra is None


def test_header_times_must_agree_to_be_the_epochs():
    """One header time is the epoch's; two are not, and the rows' times decide."""
    assert merged([part(epoch_time=1.0), part(epoch_time=1.0)]).epoch_time == 1.0
    assert merged([part(epoch_time=1.0), part(epoch_time=2.0)]).epoch_time is None
    assert merged([part(filter="g"), part(filter="")]).filter == "g"


@pytest.mark.parametrize(
    ("times", "header", "mean", "varies"),
    [
        ([5.0, 5.0], None, 5.0, False),
        ([5.0, 7.0], None, 6.0, True),
        ([5.0, 7.0], 4.0, 4.0, True),
        ([5.0, 5.0], 5.0, 5.0, False),
    ],
)
def test_an_epoch_has_one_time(times, header, mean, varies):
    """The header's time, else the one time of all rows, else their median."""
    epoch = part(time=np.array(times)[:, None], epoch_time=header)
    assert epoch.mean_time == mean
    assert epoch.varies is varies


def test_a_time_that_is_everywhere_the_same_stays_bit_by_bit():
    """No mean is taken of equal times."""
    time = 58699.332083300222
    assert part(rows=3, time=np.full((3, 1), time)).mean_time == time


def test_rows_are_taken_with_all_their_columns():
    """Some rows of an epoch are an epoch."""
    some = part("gr", rows=3).taken(np.array([2, 0]))
    assert some.ids.tolist() == [2, 0]
    assert some.value.tolist() == [[4, 5], [0, 1]]
    assert part(ids=None).taken(np.array([0])).ids is None


def test_the_digest_is_of_the_content():
    """Every value, id, place, time, unit and name counts; the type of ids does not."""
    base = content_digest(part())
    assert content_digest(part()) == base
    assert content_digest(part(ids=np.array(["0", "1"]))) == base
    others = [
        part(key="8"),
        part("r"),
        part(units=("nJy",)),
        part(filter="g"),
        part(epoch_time=60000.5),
        part(ids=np.array([0, 2])),
        part(ids=None),
        part(ra=np.array([0.0, 1.0000001])),
        part(dec=None),
        part(value=np.array([[0.0], [1.5]], "f4")),
        part(error=np.array([[0.1], [0.2]], "f4")),
        part(status=np.array([[1], [3]], "u1")),
        part(time=np.array([[60000.5], [60000.6]])),
    ]
    assert len({base, *map(content_digest, others)}) == len(others) + 1


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_ids_are_digested_as_their_digits(ids):
    """Whole numbers and their text are the same bytes, every digit of them."""
    plain = "\0".join(map(str, ids)).encode()
    assert ids_digested(np.array(ids, np.int64)) == plain
    assert ids_digested(np.array([str(each) for each in ids], np.str_)) == plain
