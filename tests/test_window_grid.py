"""Edges and slots, against slow and obvious readings of the truth that the stamps were made from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggrade.errors import BadInput
from aggrade.stamps import timing_of
from aggrade.window_grid import Track, believed_rate, window_starts
from aggrade.window_spec import WindowSpec


def _track(t, length, samples, offset=0.0, modality="eeg"):
    return Track(modality, timing_of(np.asarray(t, float)), length, offset, samples)


def _placed(track, starts):
    """Return {window: {slot: row}}."""
    placed = track.place(np.asarray(starts, float))
    found: dict[int, dict[int, int]] = {}
    for window, slot, row in zip(*placed, strict=True):
        assert int(slot) not in found.setdefault(int(window), {})
        found[int(window)][int(slot)] = int(row)
    return found


def _obvious(true_times, kept, starts, length):
    """Put each kept sample after as many samples, kept or lost, as come before it in its window."""
    expected = {}
    for window, start in enumerate(starts):
        inside = [k for k, time in enumerate(true_times) if start <= time < start + length]
        slots = {slot: int(kept.index(k)) for slot, k in enumerate(inside) if k in kept}
        if slots:
            expected[window] = slots
    return expected


gaps = st.lists(st.tuples(st.integers(5, 180), st.integers(1, 30)), max_size=4)


@settings(max_examples=80, deadline=None)
@given(gaps=gaps, phase=st.integers(0, 15), stride=st.sampled_from([8, 16, 23, 40]))
def test_slots_of_a_counting_device(gaps, phase, stride):
    """Without jitter every slot is that of a plain count over kept and lost samples, half-open at both edges."""
    true = np.arange(220) / 64
    kept = [k for k in range(220) if not any(a <= k < a + n for a, n in gaps)]
    track = _track(true[kept], 0.5, 32)
    starts = true[kept[0]] + phase / 1024 + np.arange(0, 2.5, stride / 64)
    assert _placed(track, starts) == _obvious(true, kept, starts, 0.5)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([10.0, 64.0, 250.0]),
    jitter=st.sampled_from([1e-7, 1e-4, 0.01, 0.1]),
)
def test_jitter_neither_drops_nor_doubles(seed, rate, jitter):
    """In a stream without gaps, windows side by side hold every sample once and in order, each window full."""
    rng = np.random.default_rng(seed)
    t = 500 + (np.arange(400) + rng.uniform(-jitter, jitter, 400)) / rate
    track = _track(t, 20 / rate, 20)
    found = _placed(track, track.first + np.arange(19) * 20 / rate)
    assert [found[w][s] for w in range(19) for s in range(20)] == list(range(380))


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32), gaps=gaps, jitter=st.sampled_from([1e-4, 0.02, 0.08]))
@example(seed=133, gaps=[(5, 27)], jitter=1e-4)
def test_a_lost_packet_moves_no_later_sample(seed, gaps, jitter):
    """With samples taken out, those that stay keep the slots that they have in the whole stream."""
    rng = np.random.default_rng(seed)
    t = (np.arange(400) + rng.uniform(-jitter, jitter, 400)) / 100
    kept = np.array([k for k in range(400) if k < 3 or not any(a <= k < a + n for a, n in gaps)])
    starts = t[0] + np.arange(19) * 0.2
    whole, holed = _placed(_track(t, 0.2, 20), starts), _placed(_track(t[kept], 0.2, 20), starts)
    for window, slots in holed.items():
        assert {s: int(kept[r]) for s, r in slots.items()}.items() <= whole[window].items()


def test_float_noise_at_edges_moves_nothing():
    """Stamps that are multiples of 0.1 in floating point fall into the windows that arithmetic says."""
    t = np.cumsum(np.full(300, 0.1)) - 0.1
    found = _placed(_track(t, 0.3, 3), np.arange(99) * 0.3)
    assert [found[w][s] for w in range(99) for s in range(3)] == list(range(297))


def test_a_span_with_more_samples_than_slots_keeps_the_first():
    """At 10.17 Hz two seconds hold 20 or 21 samples; the windows hold the first 20 of theirs."""
    t = np.arange(200) / 10.1725
    track, starts = _track(t, 2.0, 20), np.arange(9) * 2.0
    begin, stop = track.members(starts)
    assert set(stop - begin) == {20, 21}
    found = _placed(track, starts)
    for window, start in enumerate(starts):
        rows = np.flatnonzero((t >= start) & (t < start + 2))[:20]
        assert [found[window][s] for s in range(20)] == list(rows)


def test_late_slots_make_room_for_the_last_sample():
    """A pause of a broken number of periods never pushes a sample out of a window that has room."""
    t = np.concatenate([np.arange(4), 6.45 + np.arange(10)]) / 10
    track = _track(t, 1.0, 10)
    begin, stop = track.members(np.zeros(1))
    assert len(_placed(track, [0.0])[0]) == stop[0] - begin[0]


@pytest.mark.parametrize("lost", [1, 4, 17])
def test_a_loss_moves_no_later_sample_where_the_span_is_no_whole_number_of_periods(lost):
    """2 s at 9.13 Hz have 18 slots and now and then 19 samples: behind a loss each keeps the slot of its time."""
    t = np.arange(400) / 9.13
    rows = np.delete(np.arange(400), np.arange(200, 200 + lost))
    starts = np.arange(20) * 2.0
    whole, found = _placed(_track(t, 2.0, 18), starts), _placed(_track(t[rows], 2.0, 18), starts)
    assert found == {
        window: {slot: int(np.searchsorted(rows, row)) for slot, row in slots.items() if row in rows}
        for window, slots in whole.items()
    }


def test_before_the_first_sample_slots_are_empty():
    """A stream that begins 0.28 s late leaves 17 slots of 1/64 s empty in a window that begins without it."""
    found = _placed(_track(0.28 + np.arange(300) / 64, 2.0, 128), [0.0])
    assert found[0] == {17 + index: index for index in range(111)}


def test_windows_without_samples_have_none():
    """Windows in a gap and behind the end are empty, not filled from beside."""
    t = np.concatenate([np.arange(10), 100 + np.arange(10)]) / 10
    assert set(_placed(_track(t, 1.0, 10), [0.0, 4.0, 10.0, 30.0])) == {0, 2}


@pytest.mark.parametrize(
    ("nominal", "measured", "believed"),
    [(256.0, 255.9, 256.0), (7.88, 9.13, 9.13), (0.0, 20.03, 20.03), (100.0, 98.9, 98.9), (100, 99.1, 100)],
)
def test_a_declared_rate_is_believed_within_one_percent(nominal, measured, believed):
    """The declared rate counts only where the stamps bear it out."""
    assert believed_rate(nominal, measured) == believed


def _starts(tracks, stride, **spec):
    return window_starts(tracks, WindowSpec(window_size_s=2, **spec), stride, "P01")


def test_overlap_and_first():
    """Windows lie where both streams are, or where at least one is, from its beginning to its end."""
    eeg = _track(np.arange(1000) / 100, 2.0, 200)
    optics = _track(0.28 + np.arange(80) / 10, 2.0, 20, modality="fnirs")
    assert list(_starts([eeg, optics], 2.0)) == pytest.approx([0.28, 2.28, 4.28, 6.28])
    assert list(_starts([eeg, optics], 2.0, start="first")) == [0, 2, 4, 6, 8]


def test_a_last_window_fits_whole():
    """Ten seconds hold five windows of two: the last sample lasts for one period."""
    assert len(_starts([_track(np.arange(2500) / 250, 2.0, 500)], 2.0)) == 5
    assert len(_starts([_track(np.arange(2499) / 250, 2.0, 500)], 2.0)) == 4


def test_a_fast_clock_does_not_cost_the_last_window():
    """A clock that is fast by 40 millionths still fills five windows in what it calls ten seconds."""
    assert len(_starts([_track(np.arange(2500) / 250.01, 2.0, 500)], 2.0)) == 5


def test_offset_and_own_length_of_the_fnirs_span():
    """With a delayed and longer fNIRS span the windows end where that span would leave the stream."""
    eeg = _track(np.arange(2000) / 100, 2.0, 200)
    optics = _track(np.arange(200) / 10, 5.0, 50, offset=3.0, modality="fnirs")
    assert list(_starts([eeg, optics], 2.0)) == [0, 2, 4, 6, 8, 10, 12]
    early = _track(np.arange(200) / 10, 5.0, 50, offset=-3.0, modality="fnirs")
    assert list(_starts([eeg, early], 2.0)) == [3, 5, 7, 9, 11, 13, 15, 17]


def test_the_last_window_may_overlap_the_one_before():
    """Kept, what is left at the end becomes a window that ends with the recording; nothing left adds none."""
    eeg = _track(np.arange(930) / 100, 2.0, 200)
    assert list(_starts([eeg], 2.0, drop_last_window=False)) == pytest.approx([0, 2, 4, 6, 7.3])
    whole = _track(np.arange(1000) / 100, 2.0, 200)
    assert list(_starts([whole], 2.0, drop_last_window=False)) == [0, 2, 4, 6, 8]


def test_streams_that_never_meet_are_refused():
    """Two streams a minute apart are no session, whatever the start rule."""
    eeg = _track(np.arange(1000) / 100, 2.0, 200)
    optics = _track(70 + np.arange(80) / 10, 2.0, 20, modality="fnirs")
    for start in ("overlap", "first"):
        with pytest.raises(BadInput) as caught:
            _starts([eeg, optics], 2.0, start=start)
        assert caught.value.code == "no-overlap"


def test_a_window_longer_than_the_recording_is_refused():
    """The error names the recording's length and the window's."""
    with pytest.raises(BadInput, match="window of 2 s") as caught:
        _starts([_track(np.arange(150) / 100, 2.0, 200)], 2.0)
    assert caught.value.code == "window-too-long"
