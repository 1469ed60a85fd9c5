"""What stamps say, against streams whose losses, jitter and rate are known because the test made them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.errors import BadInput
from aggrade.stamps import check_stamps, timing_of


def _stream(seed, rate, count, lost, jitter):
    """Return true sample numbers and their stamps: a grid, some of it lost, each stamp off by a little."""
    rng = np.random.default_rng(seed)
    number = np.setdiff1d(np.arange(count), np.concatenate([np.arange(a, a + n) for a, n in lost] or [[]]))
    return number, 1e4 + number / rate + rng.uniform(-jitter, jitter, len(number)) / rate


def test_counting_devices_keep_their_stamps():
    """Stamps that lie on a grid are the regular times, bit by bit, and have no jitter."""
    number, t = _stream(0, 256.0, 2000, [(700, 35), (1500, 1)], 0.0)
    timing = timing_of(t)
    assert timing.rate == 256.0
    assert timing.jitter == 0.0
    assert np.array_equal(timing.regular, t)
    assert np.array_equal(timing.number, number - number[0])
    assert timing.gaps == 2
    assert list(timing.lost[timing.lost > 0]) == [35, 1]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    rate=st.sampled_from([4.76, 9.13, 64.0, 250.0, 512.0]),
    gaps=st.lists(st.tuples(st.integers(40, 900), st.integers(1, 60)), max_size=4),
    jitter=st.sampled_from([0.0, 0.001, 0.05, 0.12]),
)
def test_losses_are_counted(seed, rate, gaps, jitter):
    """Whatever was lost and however the stamps jitter, each sample gets its true number."""
    number, t = _stream(seed, rate, 1000, [gap for gap in gaps if sum(gap) < 980], jitter)
    timing = timing_of(t)
    assert np.array_equal(timing.number, number - number[0])
    assert timing.rate == pytest.approx(rate, rel=1e-3)


def test_a_declared_rate_plays_no_part_and_gaps_do_not_slow_it_down():
    """The rate is that of the running stream: a pause of five minutes leaves it as it is."""
    t = np.concatenate([np.arange(3000), 3000 + 300 * 91.6 + np.arange(3000)]) / 91.6
    timing = timing_of(t)
    assert timing.rate == pytest.approx(91.6, rel=1e-6)
    assert (len(t) - 1) / (t[-1] - t[0]) < 20
    assert timing.gaps == 1


def test_a_late_sample_is_not_a_gap():
    """Samples that come up to three periods late and are followed by others on time were not lost."""
    t = np.arange(600) / 10
    t[100], t[101], t[300] = t[102] - 0.002, t[102] - 0.001, t[301] - 0.0001
    t[400:403] = t[403] - np.array([0.003, 0.002, 0.001])
    assert timing_of(t).gaps == 0


def test_bursts_are_not_gaps():
    """A radio that delivers twelve samples at once loses none."""
    timing = timing_of(np.repeat(np.arange(100) * 12, 12) / 256)
    assert timing.gaps == 0
    assert timing.rate == pytest.approx(256, rel=0.01)


def test_jitter_is_measured_and_smoothed():
    """The jitter is the scatter that was put in, and regular times come within a fraction of it."""
    _, t = _stream(3, 250.0, 5000, [], 0.2)
    timing = timing_of(t)
    assert timing.jitter == pytest.approx(0.2 / np.sqrt(3) / 250, rel=0.05)
    true = 1e4 + np.arange(5000) / 250
    assert np.abs(timing.regular - true)[64:-64].max() < 0.05 / 250
    assert timing.regular[0] == t[0]
    assert (np.diff(timing.regular) > 0).all()


def test_regular_times_follow_a_drift():
    """A clock that drifts is followed, not replaced by a straight line."""
    true = np.cumsum(1 / 100 * (1 + 1e-4 * np.linspace(-1, 1, 20000)))
    assert np.abs(timing_of(true).regular - true).max() < 1e-5


def test_a_pause_off_the_grid_does_not_smear():
    """Samples on either side of a pause of a broken number of periods keep their own phase."""
    t = np.concatenate([np.arange(500), 510.4 + np.arange(500)]) / 50
    assert np.abs(timing_of(t).regular - t).max() < 1e-9


def test_two_samples_suffice():
    """The shortest stream has a rate."""
    assert timing_of(np.array([1.0, 1.5])).rate == 2.0


def test_another_clock_moves_the_regular_times():
    """Seen from a later zero the same stream is earlier; on a clock that runs half as fast, twice as dense."""
    timing = timing_of(np.arange(10) / 2 + 7)
    assert np.array_equal(timing.on(-7.0).regular, np.arange(10) / 2)
    assert timing.on(-7.0).rate == timing.rate
    slow = timing.on(1.0, 0.5)
    assert np.array_equal(slow.regular, np.arange(10) / 4 + 4.5)
    assert slow.rate == 2 * timing.rate


@pytest.mark.parametrize(
    ("t", "code"),
    [
        ([0.0, np.nan, 2.0], "stamps"),
        ([0.0, np.inf], "stamps"),
        ([5.0, 6.0, 3.0, 7.0], "clock-back"),
        ([5.0, 5.0, 5.0], "stamps"),
        ([5.0, 6.0, 1.7e9], "clock-jump"),
    ],
)
def test_stamps_without_sense_are_refused(t, code):
    """No number, a clock that was set back, and one that stands still are each refused by name."""
    with pytest.raises(BadInput) as caught:
        check_stamps(np.array(t), "a.xdf, stream 'EEG'")
    assert caught.value.code == code
    assert "a.xdf" in str(caught.value)


def test_small_steps_back_are_jitter():
    """Stamps that overtake each other by less than a second pass."""
    check_stamps(np.array([0.0, 0.2, 0.19, 0.4]), "a stream")
