"""Quality of windows, against SciPy, MNE and counts made by hand."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from scipy import signal

from aggrade.window_quality import extremes, line_noise, longest_gap, on_rail, pairs_of, scalp_coupling

RNG = np.random.default_rng(11)


def _held(rows):
    """Count samples at the ends of the range that have an equal neighbour, one by one; rows (window, slot)."""
    numbers = [x for row in rows for x in row if not np.isnan(x)]
    parts = []
    for row in rows:
        held = 0
        for i, x in enumerate(row):
            beside = [row[j] for j in (i - 1, i + 1) if 0 <= j < len(row)]
            held += x in (max(numbers), min(numbers)) and x in beside
        real = sum(not np.isnan(x) for x in row)
        parts.append(held / real if real else np.nan)
    return parts


def test_samples_held_at_the_ends_of_the_range_are_on_the_rail():
    """Of random small numbers with gaps, the part on the rail is what a count in Python loops says."""
    values = RNG.integers(-4, 5, (6, 3, 40)).astype("f4")
    values[RNG.random(values.shape) < 0.1] = np.nan
    values[2, 1] = np.nan
    high, low = extremes(values)
    rails = np.fmax.reduce(high, axis=0), np.fmin.reduce(low, axis=0)
    found = on_rail(values, high, low, rails)
    expected = np.stack([_held(values[:, channel].tolist()) for channel in range(3)], axis=1)
    assert found == pytest.approx(expected, nan_ok=True)
    assert 0 < np.nanmax(found) < 1


def test_one_peak_is_no_rail_and_a_clipped_wave_is():
    """A wave reaches its largest value once and rails nowhere; clipped, it does where it was clipped."""
    wave = np.sin(np.arange(100) * 0.11 + 0.3).astype("f4")[None, None]
    clipped = np.minimum(wave, np.float32(0.5))
    for values, expected in ((wave, 0), (clipped, (wave > 0.5).mean())):
        high, low = extremes(values)
        assert on_rail(values, high, low, (high[0], low[0]))[0, 0] == pytest.approx(expected)


def _reference_noise(x, rate, frequency):
    f, power = signal.periodogram(x, rate, window="hann", detrend="constant")
    line = np.abs(f - frequency) < 1.01
    beside = (np.abs(f - frequency) < 3.01) & ~line
    return power[line].mean() / power[beside].mean()


def test_line_noise_is_that_of_a_periodogram():
    """Power at 50 Hz over the power beside it equals SciPy's periodogram, for weak, strong and no mains."""
    t = np.arange(500) / 250
    x = RNG.normal(size=(4, 3, 500)) + 1e3
    x[1] += 0.2 * np.sin(2 * np.pi * 50 * t)
    x[2] += 5.0 * np.sin(2 * np.pi * 50.2 * t + 1)
    values = x.astype("f4")
    expected = [[_reference_noise(row.astype("f8"), 250, 50) for row in window] for window in values]
    assert line_noise(values, 2.0, (50.0,)) == pytest.approx(np.array(expected), rel=1e-3)
    assert np.min(expected[2]) > 100 * np.max(expected[0])


def test_of_two_mains_the_larger_counts():
    """Without a frequency, 50 and 60 Hz are both looked at; what a low rate cannot hold is left out."""
    t = np.arange(500) / 250
    x = (RNG.normal(size=(1, 1, 500)) + 3 * np.sin(2 * np.pi * 60 * t)).astype("f4")
    assert line_noise(x, 2.0) == line_noise(x, 2.0, (60.0,)) > line_noise(x, 2.0, (50.0,))
    slow = RNG.normal(size=(1, 1, 250)).astype("f4")
    assert line_noise(slow, 2.0) == line_noise(slow, 2.0, (50.0,))
    assert np.isnan(line_noise(slow[..., :200], 2.0)).all()
    assert np.isnan(line_noise(x[..., :25], 0.1)).all()


def test_a_missing_sample_leaves_no_line_noise():
    """NaN in a window and channel is NaN there, and nowhere else."""
    x = RNG.normal(size=(2, 2, 500)).astype("f4")
    x[1, 0, 7] = np.nan
    assert np.isnan(line_noise(x, 2.0)).tolist() == [[False, False], [True, False]]


def _optodes(rate, seconds, couplings, seed=5):
    """Return intensities (pair and wavelength, sample): a heartbeat that pairs see more or less, noise, drift."""
    rng, t = np.random.default_rng(seed), np.arange(round(rate * seconds)) / rate
    beat = np.sin(2 * np.pi * 1.1 * t)
    return np.stack(
        [
            5 + size * (0.05 * beat + 0.02 * np.sin(0.3 * t)) + 0.02 * rng.normal(size=len(t))
            for size in couplings
            for _ in range(2)
        ]
    )


def test_scalp_coupling_is_the_correlation_of_the_band():
    """It equals the correlation of what an ideal filter from 0.5 to 2.5 Hz leaves under a Hann window."""
    x = _optodes(10, 20, [1.0, 0.4, 0.0]).astype("f4")
    found = scalp_coupling(x[None], 20.0, [(0, 1), (2, 3), (4, 5)])[0]
    tapered = (x - x.mean(axis=1, keepdims=True)) * signal.get_window("hann", 200)
    spectrum = np.fft.fft(tapered)
    spectrum[:, (np.abs(np.fft.fftfreq(200, 0.1)) < 0.49) | (np.abs(np.fft.fftfreq(200, 0.1)) > 2.51)] = 0
    band = np.fft.ifft(spectrum).real
    for one in (0, 2, 4):
        assert found[one] == found[one + 1] == pytest.approx(np.corrcoef(band[one : one + 2])[0, 1], abs=1e-4)


def test_scalp_coupling_agrees_with_mne():
    """Over a minute, good, middling and dead pairs have the index that MNE gives them, to 0.1."""
    x = _optodes(10, 60, [1.0, 0.5, 0.3, 0.0])
    names = [f"S{pair}_D{pair} {wave}" for pair in range(1, 5) for wave in (760, 850)]
    info = mne.create_info(names, 10.0, "fnirs_cw_amplitude")
    for index, channel in enumerate(info["chs"]):
        channel["loc"][9] = (760, 850)[index % 2]
        channel["loc"][3:9] = [0.01 * index, 0, 0, 0.01 * index, 0.03, 0]
    raw = mne.io.RawArray(x, info, verbose="error")
    density = mne.preprocessing.nirs.optical_density(raw, verbose="error")
    expected = mne.preprocessing.nirs.scalp_coupling_index(density, 0.5, 2.5, verbose="error")
    pairs = pairs_of(names, ["nirs"] * 8)
    assert pairs == [(0, 1), (2, 3), (4, 5), (6, 7)]
    assert scalp_coupling(x.astype("f4")[None], 60.0, pairs)[0] == pytest.approx(expected, abs=0.1)
    assert expected[0] > 0.8
    assert abs(expected[6]) < 0.6


def test_three_wavelengths_have_the_smallest_of_their_correlations():
    """One bad wavelength of three spoils its place."""
    x = np.concatenate([_optodes(10, 20, [1.0]), _optodes(10, 20, [0.0], 6)[:1]]).astype("f4")[None]
    worst = min(scalp_coupling(x, 20.0, [pair])[0, pair[0]] for pair in ((0, 1), (0, 2), (1, 2)))
    assert scalp_coupling(x, 20.0, [(0, 1, 2)])[0].tolist() == [worst] * 3


@pytest.mark.parametrize(("rate", "seconds"), [(4, 20), (10, 9.9)])
def test_no_scalp_coupling_without_a_heartbeat_to_see(rate, seconds):
    """Below 5 Hz or 10 s the index is NaN, and so it is where a sample is missing or all are equal."""
    x = _optodes(rate, seconds, [1.0]).astype("f4")[None]
    assert np.isnan(scalp_coupling(x, seconds, [(0, 1)])).all()
    whole = _optodes(10, 20, [1.0, 1.0, 1.0]).astype("f4")[None]
    whole[0, 1, 3], whole[0, 2] = np.nan, 7
    found = scalp_coupling(whole, 20.0, [(0, 1), (2, 3)])[0]
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    ("names", "kind", "pairs"),
    [
        (["S1_D1 760", "S1_D1 850", "S1_D2 760"], "nirs", [(0, 1)]),
        (["S1_D1 760", "S2_D1 760", "S2_D1 850", "S1_D1 850"], "nirs", [(0, 3), (1, 2)]),
        (["a_760", "a_850nm", "a_805.5 nm"], "nirs", [(0, 1, 2)]),
        (["S1_D1 hbo", "S1_D1 hbr"], "hbo", []),
        (["S1_D1 760", "S1_D1 850"], "HbO", []),
        (["ch 1", "ch 2", "ch 760"], "nirs", []),
        ([f"ch_{n}" for n in range(600, 640)], "nirs", []),
        (["S1_D1 760-0", "S1_D1 760-1", "o1", "760", ""], "nirs", []),
    ],
)
def test_pairs_are_told_by_their_names(names, kind, pairs):
    """Two wavelengths of one place are a pair; numbered channels and concentrations are none."""
    assert pairs_of(names, [kind] * len(names)) == pairs


def test_channels_of_different_kinds_are_no_pair():
    """An intensity and an optical density are not compared."""
    assert pairs_of(["S1_D1 760", "S1_D1 850"], ["nirs", "dod"]) == []


def test_the_longest_gap_is_that_of_a_count():
    """Runs of empty slots at the beginning, inside and at the end are counted alike."""
    rows = ["0110", "1110", "0111", "1111", "0000", "1011"]
    empty = np.array([[c == "1" for c in row] for row in rows])
    assert longest_gap(empty).tolist() == [max(map(len, row.split("0"))) for row in rows]
