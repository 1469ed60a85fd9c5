"""Two clocks that saw the same events are brought together by them, or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.recordings.marker_fit import Marked, MarkerFit, NoFit, fit_markers

OFFSET, DRIFT = 812.375, 60e-6


def _marked(t, text, *, period=0.1, last=700.0, named=False):
    return Marked.of(list(zip(t, text, strict=True)), period, (0.0, last), named=named)


def _events(count, seed, texts=("left", "right", "rest")):
    random = np.random.default_rng(seed)
    t = 5 + np.cumsum(random.uniform(4, 20, count))
    return t, [texts[index] for index in random.integers(0, len(texts), count)]


def _seen_by_both(t):
    """Return what the first clock shows when the other shows t."""
    return OFFSET + (1 + DRIFT) * t


def test_offset_and_drift_are_found():
    """Both numbers come back, although each side lacks some markers and has others, and their order differs."""
    t, text = _events(50, 1)
    one = _marked([*_seen_by_both(t[4:]), 900.0], [*text[4:], "left"])
    kept = [index for index in range(46) if index % 7]
    fit = fit_markers(one, _marked([*t[kept], 333.3], [*(text[index] for index in kept), "rest"]))
    assert isinstance(fit, MarkerFit)
    assert fit.offset == pytest.approx(OFFSET, abs=1e-6)
    assert fit.rate - 1 == pytest.approx(DRIFT, abs=1e-9)
    assert (fit.matched, fit.by, fit.ways) == (len([index for index in kept if index >= 4]), "text", 1)


def test_rounded_markers_say_how_well_they_place():
    """Markers rounded down to a sample of 0.1 s leave a residual that is reported and bounds the error."""
    t, text = _events(60, 2)
    rounded = np.floor(t * 10) / 10
    fit = fit_markers(_marked(_seen_by_both(t), text), _marked(rounded, text))
    assert isinstance(fit, MarkerFit)
    off = np.abs(fit.offset + fit.rate * rounded - _seen_by_both(t))
    assert off.max() == pytest.approx(fit.largest_s)
    assert np.sqrt(np.mean(off**2)) == pytest.approx(fit.rms_s)
    assert 0.04 < fit.largest_s <= fit.resolution_s < 0.1


def test_a_late_marker_does_not_pull_the_line():
    """One marker that came 90 ms late among exact ones is left out."""
    t, text = _events(20, 3)
    late = t.copy()
    late[18] += 0.09
    fit = fit_markers(_marked(_seen_by_both(t), text), _marked(late, text))
    assert isinstance(fit, MarkerFit)
    assert fit.offset == pytest.approx(OFFSET, abs=1e-6)
    assert fit.matched == 19


def test_a_drift_that_does_not_show_is_not_applied():
    """Three markers within seconds, each off by milliseconds, would tell of a drift that is none: it is 0."""
    jitter = np.array([0.004, -0.003, 0.002])
    t = np.array([10.0, 13.0, 17.5])
    fit = fit_markers(_marked(t + 100 + jitter, ["a", "b", "c"]), _marked(t, ["a", "b", "c"]))
    assert isinstance(fit, MarkerFit)
    assert fit.rate == 1.0
    assert fit.offset == pytest.approx(100 + jitter.mean())
    assert fit.resolution_s > 2 * 700 * 9e-5


@pytest.mark.parametrize(
    ("one", "other", "by"),
    [
        (("Stimulus/S  1", "Stimulus/S  2"), ("1", "2"), "number in the text"),
        (("S1", "S 12"), ("1.0", "12"), "number in the text"),
        (("LEFT", "Right  hand"), ("left", "right hand"), "text"),
    ],
)
def test_texts_in_other_codings(one, other, by):
    """Letter case, spaces, and what recorders write around a number do not matter."""
    t, text = _events(12, 4, (0, 1))
    sides = _marked(_seen_by_both(t), [one[k] for k in text]), _marked(t, [other[k] for k in text])
    fit = fit_markers(*sides)
    assert isinstance(fit, MarkerFit)
    assert fit.by == by
    assert fit.offset == pytest.approx(OFFSET, abs=1e-6)


def test_intervals_count_only_where_both_sides_are_named():
    """Texts that have nothing in common are laid over each other only if the user said that they are the same."""
    t, _ = _events(25, 5)
    numbers, words = [str(index % 3) for index in range(25)], ["go"] * 25
    found = fit_markers(_marked(_seen_by_both(t), numbers, named=True), _marked(t, words))
    assert isinstance(found, NoFit)
    assert (found.reason, found.common) == ("no text in common", 0)
    fit = fit_markers(_marked(_seen_by_both(t[3:]), numbers[3:], named=True), _marked(t, words, named=True))
    assert isinstance(fit, MarkerFit)
    assert (fit.by, fit.matched) == ("interval", 22)
    assert fit.offset == pytest.approx(OFFSET, abs=1e-6)


def test_a_rhythm_fits_in_many_ways_and_is_refused():
    """Equal markers at equal intervals could be shifted by one: that is not guessed, unless something else tells."""
    t = 10.0 + 10 * np.arange(30)
    sides = _marked(t + 500, ["tap"] * 30), _marked(t[2:], ["tap"] * 28)
    found = fit_markers(*sides)
    assert isinstance(found, NoFit)
    assert "ways" in found.reason
    fit = fit_markers(*sides, near=lambda stamp: stamp + 501.5, within=5.0)
    assert isinstance(fit, MarkerFit)
    assert fit.offset == pytest.approx(500)
    assert fit.ways > 1


def test_a_rhythm_with_a_jitter_of_its_own_fits_in_one_way():
    """Where each interval differs by some 30 ms, only the right shift makes them agree to a millisecond."""
    t = 10.0 + 10 * np.arange(30) + np.random.default_rng(6).normal(0, 0.03, 30)
    fit = fit_markers(_marked(t + 500, ["tap"] * 30), _marked(t, ["tap"] * 30))
    assert isinstance(fit, MarkerFit)
    assert fit.offset == pytest.approx(500, abs=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_unlike_recordings_are_not_brought_together(seed):
    """The same texts at other times are no common markers."""
    (t, text), (other, other_text) = _events(12, 10 + seed), _events(12, 20 + seed)
    found = fit_markers(_marked(t, text), _marked(other, other_text))
    assert isinstance(found, NoFit)
    assert found.common >= 3


def test_two_common_markers_are_too_few():
    """Two markers fit any line; nothing would bear it out."""
    found = fit_markers(_marked([1.0, 2.0, 9.0], ["a", "b", "c"]), _marked([5.0, 6.0], ["a", "b"]))
    assert isinstance(found, NoFit)
    assert "at least 3" in found.reason


def test_markers_that_scatter_are_refused():
    """Markers that are spread evenly over a third of a second, with a period of 0.1 s, place nothing."""
    t, text = _events(40, 7)
    spread = np.random.default_rng(8).permutation(np.linspace(-0.148, 0.148, 40))
    found = fit_markers(_marked(_seen_by_both(t), text), _marked(t + spread, text))
    assert isinstance(found, NoFit)
    assert "residual" in found.reason


def test_most_markers_must_lie_on_the_line():
    """Of two delays that are 0.24 s apart neither is taken for the right one."""
    t, text = _events(40, 7)
    delays = np.random.default_rng(8).permutation(np.repeat([-0.12, 0.12], 20))
    assert isinstance(fit_markers(_marked(_seen_by_both(t), text), _marked(t + delays, text)), NoFit)


def test_what_software_marks_by_itself_is_no_event():
    """Bad spans, boundaries and beginnings of segments are left aside."""
    given = [(1.0, "BAD_x"), (2.0, "boundary"), (3.0, "New Segment/"), (0.5, "go")]
    marked = Marked.of(given, 0.1, (0.0, 9.0))
    assert marked.text == ("go",)
    assert marked.listed() == "'go' at 0.500 s"


def test_few_markers_are_found_among_many():
    """Twelve markers of one side are found among a thousand of the other, of which most are something else."""
    random = np.random.default_rng(11)
    t = np.sort(random.uniform(0, 3000, 1000))
    few = np.sort(random.choice(t, 12, replace=False))
    many = _marked(_seen_by_both(t), ["x"] * 1000, period=0.02, named=True)
    fit = fit_markers(many, _marked(few, ["y"] * 12, period=0.02, last=3000.0, named=True))
    assert isinstance(fit, MarkerFit)
    assert (fit.matched, fit.by) == (12, "interval")
    assert fit.offset == pytest.approx(OFFSET, abs=1e-4)


def test_many_equal_markers_are_fitted():
    """A thousand equal markers with random intervals, of which the first hundred are missing on one side."""
    t = np.cumsum(np.random.default_rng(9).uniform(0.8, 3.0, 1000))
    fit = fit_markers(_marked(_seen_by_both(t[100:]), ["x"] * 900, last=2000.0), _marked(t, ["x"] * 1000))
    assert isinstance(fit, MarkerFit)
    assert fit.matched == 900
    assert fit.offset == pytest.approx(OFFSET, abs=1e-5)
