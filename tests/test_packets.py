"""Packets that come late: nothing is taken for lost that came, and what was lost is still found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.packets import come_late, without_false_loss
from aggrade.stamps import timing_of


def packets(rate, size, jitter_s, seconds=120, *, seed=0, lost=(), drift=0.0, kind="uniform"):
    """Return true sample numbers and stamps: a packet's are one period apart, and it is late by a while of its own."""
    rng, count = np.random.default_rng(seed), int(rate * seconds) // size * size
    number = np.arange(count)
    late = {
        "uniform": rng.uniform(0, jitter_s, count // size),
        "exponential": rng.exponential(jitter_s / 3, count // size),
    }[kind]
    t = 500 + number / rate * (1 + drift) + np.repeat(late, size)
    kept = ~np.isin(number // size, lost)
    return number[kept], np.maximum.accumulate(t)[kept]


STREAMS = [(500.0, 20, 0.010), (500.0, 20, 0.005), (256.0, 12, 0.020), (250.0, 10, 0.010), (25.0, 5, 0.040)]


@pytest.mark.parametrize("kind", ["uniform", "exponential"])
@pytest.mark.parametrize(("rate", "size", "jitter"), STREAMS)
def test_nothing_is_lost_that_came_late(rate, size, jitter, kind):
    """The rate is the sender's, and each sample has a number of its own."""
    for seed in range(5):
        number, t = packets(rate, size, jitter, seed=seed, kind=kind)
        timing = timing_of(t)
        assert not timing.lost.any()
        assert np.array_equal(timing.number, number)
        assert timing.rate == pytest.approx(rate, rel=1e-4)


@pytest.mark.parametrize(("rate", "size", "jitter"), STREAMS)
def test_regular_times_are_regular(rate, size, jitter):
    """Each is within a period of its true time but for what all are late, so that slots are neither shared nor empty."""
    number, t = packets(rate, size, jitter, seed=7)
    off = (timing_of(t).regular - 500) * rate - number
    assert off.max() - off.min() < 0.5


@pytest.mark.parametrize("lost", [range(40, 43), range(200, 230), [*range(100, 104), *range(300, 340)]])
@pytest.mark.parametrize(("rate", "size", "jitter"), STREAMS[:4])
def test_lost_packets_are_found(rate, size, jitter, lost):
    """Their number is that of the samples that were lost, give or take one where a packet is late by several periods."""
    number, t = packets(rate, size, jitter, seed=3, lost=list(lost))
    timing = timing_of(t)
    true = np.append(0, np.diff(number) - 1)
    assert np.array_equal(timing.lost > 0, true > 0)
    assert np.abs(timing.lost - true).max() <= 1
    assert timing.rate == pytest.approx(rate, rel=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.floats(20, 1000),
    size=st.integers(2, 40),
    periods=st.floats(2, 6),
    seed=st.integers(0, 999),
    drift=st.floats(-5e-5, 5e-5),
)
def test_whatever_the_packets(rate, size, periods, seed, drift):
    """Late by some periods, on a clock that drifts: none lost, but for the last packet, behind which nothing catches up."""
    jitter = min(periods / rate, 0.5 * size / rate)
    _, t = packets(rate, size, jitter, 400 * size / rate, seed=seed, drift=drift)
    timing = timing_of(t)
    assert not timing.lost[:-size].any()
    assert timing.rate == pytest.approx(rate / (1 + drift), rel=2e-3)


@pytest.mark.parametrize("every", [100, 300])
def test_loss_again_and_again_is_loss(every):
    """Stamps without jitter that miss a sample again and again are no packets: none comes early."""
    number = np.setdiff1d(np.arange(12_000), np.arange(every // 2, 12_000, every))
    timing = timing_of(number / 100)
    assert timing.rate == pytest.approx(100)
    assert np.array_equal(timing.number, number - number[0])


def test_delays_do_not_hide_loss():
    """Single samples that come late and are caught up with, here and there, leave what was lost where it was."""
    rng = np.random.default_rng(5)
    number = np.setdiff1d(np.arange(12_000), [900, 4000, 4001, 7777])
    t = number / 100
    for start in rng.choice(np.arange(50, 11_900, 60), 40, replace=False):
        if not np.isin(np.arange(start - 5, start + 20), [895, 3996, 7770]).any():
            t[start : start + 5] = np.maximum(t[start : start + 5], t[start] + 0.03)
    assert np.array_equal(timing_of(t).number, number)


@pytest.mark.parametrize("size", [6, 10, 25, 64])
@pytest.mark.parametrize("inside", [0.0, 1e-6])
def test_packets_with_one_stamp(size, inside):
    """Samples that bear the stamp of their packet, or nearly, run at the mean rate: nothing is divided by no time."""
    t = np.repeat(np.arange(300.0), size) + np.tile(np.arange(size) * inside, 300)
    timing = timing_of(t)
    assert timing.rate == pytest.approx(size, rel=0.02)
    assert timing.lost.sum() <= size


def test_a_hole_is_no_packet():
    """One hole that is longer than all that was recorded is a hole."""
    t = np.concatenate([np.arange(3000), 3000 + 27_000 + np.arange(3000)]) / 91.6
    timing = timing_of(t)
    assert timing.gaps == 1
    assert timing.lost.max() == 27_000


def test_what_is_no_packet_is_left_alone():
    """Streams without jitter are not looked at again."""
    t = np.delete(np.arange(1000) / 10, [400, 401])
    lost = np.zeros(998, np.int64)
    lost[400] = 2
    assert not come_late(t, lost, 0.1)
    assert not come_late(t, np.zeros_like(lost), 0.1)
    found, period = without_false_loss(t, lost, 0.1)
    assert np.array_equal(found, lost)
    assert period == pytest.approx(0.1)
