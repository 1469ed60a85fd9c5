"""Labels and bad spans of windows, against counts made by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.recordings import Markers, Origin
from aggrade.window_labels import bad_fractions, events_of, labels_of

STARTS = np.arange(5) * 2.0


def _markers(*rows, name="markers"):
    t, text, duration = zip(*rows, strict=True) if rows else ((), (), ())
    return Markers(name, np.array(t, float), tuple(text), np.array(duration, float), Origin("c"), "a.xdf")


def _labels(*rows, starts=STARTS, hold=False, **options):
    events = events_of([_markers(*rows)], {"a": 0, "b": 1, "c": 7}, hold=hold)
    found = labels_of(starts, 2.0, events, **options)
    assert found.dtype == np.int16
    return list(found)


def test_an_instant_labels_the_window_it_falls_in():
    """Windows are half-open: an instant on an edge belongs to the window that begins there."""
    assert _labels((1.9, "a", 0), (4.0, "b", 0), (10.0, "a", 0)) == [0, -1, 1, -1, -1]


def test_a_span_labels_what_it_overlaps():
    """A span of exactly one window labels that window and neither neighbour."""
    assert _labels((2.0, "b", 2.0)) == [-1, 1, -1, -1, -1]
    assert _labels((1.5, "b", 1.0)) == [1, 1, -1, -1, -1]


def test_majority_counts_seconds_then_markers_then_order():
    """The label that covers most wins; without durations the one with most markers; then the earliest."""
    assert _labels((0.0, "a", 0.5), (0.5, "b", 1.5))[0] == 1
    assert _labels((0.1, "a", 0), (0.2, "b", 0), (0.3, "b", 0))[0] == 1
    assert _labels((0.1, "c", 0), (0.2, "b", 0))[0] == 7
    assert _labels((0.1, "a", 0.5), (0.7, "b", 0.3), (1.2, "b", 0.3))[0] == 1


def test_first_and_last_go_by_onset():
    """First and last are those of the markers that begin first and last, however long they last."""
    rows = [(1.5, "c", 0), (0.5, "a", 1.4), (1.0, "b", 0.1)]
    assert _labels(*rows, rule="first")[0] == 0
    assert _labels(*rows, rule="last")[0] == 7


def test_other_texts_do_not_count():
    """A marker that the mapping does not name labels nothing."""
    assert _labels((0.5, "pause", 9.0)) == [-1] * 5


def test_held_markers_last_until_the_next():
    """Held, an instant lasts until the next marker of the mapping, and the last one to the end."""
    rows = [(0.2, "a", 0), (3.0, "pause", 0), (5.5, "b", 0)]
    assert _labels(*rows, hold=True) == [0, 0, 0, 1, 1]
    assert _labels((0.2, "a", 1.0), (5.5, "b", 0), hold=True) == [0, -1, 1, 1, 1]


def test_markers_of_several_streams_are_taken_in_the_order_of_time():
    """The streams' order plays no part."""
    one, two = _markers((1.0, "b", 0)), _markers((0.5, "a", 0))
    for streams in ([one, two], [two, one]):
        assert labels_of(STARTS, 2.0, events_of(streams, {"a": 0, "b": 1}), rule="first")[0] == 0


def test_no_markers_no_labels():
    """Without any marker every label is -1."""
    assert _labels() == [-1] * 5
    assert list(labels_of(STARTS, 2.0, events_of([], {"a": 0}, hold=True))) == [-1] * 5


rows = st.lists(
    st.tuples(st.integers(-20, 130), st.sampled_from("abc"), st.integers(0, 60)),
    max_size=12,
    unique_by=lambda r: r[0],
)


@settings(max_examples=150, deadline=None)
@given(rows=rows, stride=st.sampled_from([5, 20, 30]), rule=st.sampled_from(["majority", "first", "last"]))
def test_labels_equal_a_slow_count(rows, stride, rule):
    """For any markers and overlapping windows the labels equal those of two plain loops."""
    mapping, starts = {"a": 0, "b": 1, "c": 7}, np.arange(6) * stride / 10
    expected = []
    for start in range(0, 6 * stride, stride):
        touched = [
            (t, label, min(t + d, start + 20) - max(t, start))
            for t, label, d in sorted(rows)
            if (start <= t < start + 20 if d == 0 else t < start + 20 and t + d > start)
        ]
        votes = {
            label: (
                -sum(o for _, m, o in touched if m == label),
                -sum(m == label for _, m, _ in touched),
                first,
            )
            for first, (_, label, _) in reversed(list(enumerate(touched)))
        }
        winner = {"majority": min(votes, key=votes.get, default=None)}
        winner |= {"first": touched[0][1], "last": touched[-1][1]} if touched else {}
        expected.append(mapping.get(winner.get(rule), -1))
    seconds = [(t / 10, text, d / 10) for t, text, d in rows]
    assert _labels(*seconds, starts=starts, rule=rule) == expected


def test_bad_spans_are_counted_once():
    """Annotations that begin with BAD count, in any case; what two of them cover counts once; others don't."""
    rows = [(1.0, "BAD_blink", 2.0), (1.5, "bad segment", 1.0), (6.0, "Bad", 1.0), (8.0, "good", 2.0)]
    assert list(bad_fractions(STARTS, 2.0, [_markers(*rows)])) == pytest.approx([0.5, 0.5, 0, 0.5, 0])


def test_bad_spans_end_at_edges():
    """A bad span of exactly one window leaves its neighbours at 0."""
    assert list(bad_fractions(STARTS, 2.0, [_markers((2.0, "BAD", 2.0))])) == [0, 1, 0, 0, 0]
    assert bad_fractions(STARTS, 2.0, []).dtype == np.float32
