"""EDF, BDF, BrainVision and FIF are read in the files' own units, rates and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import mne
import numpy as np
import pytest
from make_recordings import START, EdfSignal, counted, write_edf_signals, write_fif

from aggrade.errors import BadInput
from aggrade.recordings.formats import FORMATS, format_of

BY_NAME = {known.name: known for known in FORMATS}
NAIVE = START.replace(tzinfo=None)


def _signal(label, rate=100, records=3, unit="uV", first=0):
    return EdfSignal(label, first + np.arange(rate * records) % 1000, rate, unit)


def _open(path):
    return format_of(path.name, path.read_bytes()[:1024]).open(path, path.name)


def _load(path, name="eeg", picks=None):
    with _open(path) as recording:
        header = next(item for item in recording.streams if item.name == name)
        stream = recording.load(header, range(len(header.channels)) if picks is None else picks)
        return stream, np.asarray(stream.x[0 : len(stream.t)]), recording.markers()


def test_edf_values_are_in_the_unit_of_the_file(tmp_path):
    """Microvolts stay microvolts, and a percentage is not scaled as if it were volts."""
    signals = [_signal("EEG Fz"), _signal("SaO2", unit="%", first=7), _signal("EEG Cz", unit="mV")]
    stream, x, _ = _load(write_edf_signals(tmp_path / "a.edf", signals, 3))
    assert stream.header.units == ("µV", "%", "mV")
    assert x == pytest.approx(np.stack([signal.numbers for signal in signals], axis=1), abs=1e-6)
    assert np.array_equal(stream.t, np.arange(300) / 100)


def test_edf_types_are_honest(tmp_path):
    """Status and temperature signals are not EEG; the prefixes of EDF+ say what a signal is."""
    signals = [_signal("Fz"), _signal("Temp rectal", unit="degC"), _signal("counter", unit="")]
    signals += [_signal("EOG left"), _signal("Status", unit=""), _signal("EEG Cz")]
    stream, _, _ = _load(write_edf_signals(tmp_path / "a.edf", signals, 3))
    assert stream.header.types == ("eeg", "temp", "misc", "eog", "stim", "eeg")


def test_edf_signals_of_different_rates_are_different_streams(tmp_path):
    """Nothing is resampled: each rate is a stream, with its own number of samples."""
    signals = [_signal("Fz", 100), _signal("Cz", 25), _signal("Pz", 100, first=5)]
    path = write_edf_signals(tmp_path / "a.edf", signals, 3)
    stream, x, _ = _load(path, "eeg 100 Hz")
    assert stream.header.channels == ("Fz", "Pz")
    assert x == pytest.approx(np.stack([signals[0].numbers, signals[2].numbers], axis=1), abs=1e-6)
    stream, x, _ = _load(path, "eeg 25 Hz")
    assert x[:, 0] == pytest.approx(signals[1].numbers, abs=1e-6)
    assert (stream.header.nominal_rate, len(stream.t), stream.t[-1]) == (25.0, 75, 2.96)


def test_edf_labels_that_occur_twice_or_are_not_ascii(tmp_path):
    """Duplicates are numbered, also where their rates differ; UTF-8 and Latin-1 labels are read."""
    signals = [_signal("Fz"), _signal("Fz", first=3), _signal("Fz", 25, first=9), _signal("µ-Ö")]
    path = write_edf_signals(tmp_path / "a.edf", signals, 3)
    stream, x, _ = _load(path, "eeg 100 Hz")
    assert stream.header.channels == ("Fz-0", "Fz-1", "µ-Ö")
    assert x[0] == pytest.approx([0, 3, 0])
    assert _load(path, "eeg 25 Hz")[0].header.channels == ("Fz-2",)
    latin = path.read_bytes().replace("µ-Ö".encode().ljust(16), "µ-Ö".encode("latin-1").ljust(16))
    (tmp_path / "b.edf").write_bytes(latin)
    assert _load(tmp_path / "b.edf", "eeg 100 Hz")[0].header.channels[2] == "µ-Ö"


def test_an_edf_start_is_local_and_known_to_a_second(tmp_path):
    """A plain EDF states neither zone nor fraction, and none is made up."""
    origin = _load(write_edf_signals(tmp_path / "a.edf", [_signal("Fz")], 3))[0].origin
    assert origin.start == NAIVE
    assert origin.start.tzinfo is None
    assert origin.resolution_s == 1.0


def test_an_edf_plus_start_has_its_fraction(tmp_path):
    """EDF+ keeps the fraction of the start in its first record; MNE drops it."""
    texts = [f"+{second}.40591\x14\x14\0".encode() for second in range(3)]
    texts[1] += b"+1.90591\x150.25\x14go\x14\0"
    signals = [_signal("Fz"), EdfSignal.texts(texts)]
    path = write_edf_signals(tmp_path / "a.edf", signals, 3, kind="EDF+C")
    stream, _, [markers] = _load(path)
    assert stream.origin.start == NAIVE + timedelta(microseconds=405910)
    assert stream.origin.resolution_s == pytest.approx(1e-5)
    assert stream.t[0] == 0
    assert (markers.text, markers.t[0], markers.duration[0]) == (("go",), pytest.approx(1.5), 0.25)
    assert mne.io.read_raw_edf(path, verbose="error").info["meas_date"] == START


def test_records_of_a_discontinuous_edf_begin_where_they_say(tmp_path):
    """A hole between records of EDF+D is a hole in the stamps; MNE closes it."""
    texts = [b"+0\x14\x14\0", b"+1\x14\x14\0", b"+61.5\x14\x14\0"]
    path = write_edf_signals(tmp_path / "a.edf", [_signal("Fz"), EdfSignal.texts(texts)], 3, kind="EDF+D")
    stream, x, _ = _load(path)
    assert stream.t[-1] == pytest.approx(62.49)
    assert stream.t[200] == 61.5
    assert len(x) == 300
    assert mne.io.read_raw_edf(path, verbose="error").times[-1] == pytest.approx(2.99)


def test_padding_is_no_sample(tmp_path):
    """What is annotated as BAD_ACQ_SKIP, as MNE marks the padding of a last record, is left out."""
    texts = [b"+0\x14\x14\0", b"+1\x14\x14\0", b"+2\x14\x14\0+2.75\x150.25\x14BAD_ACQ_SKIP\x14\0"]
    path = write_edf_signals(tmp_path / "a.edf", [_signal("Fz"), EdfSignal.texts(texts)], 3, kind="EDF+C")
    stream, x, _ = _load(path)
    assert len(stream.t) == 275
    assert x[-1, 0] == pytest.approx(274)


@pytest.mark.parametrize("stop", [0, 100, 300, 1500, -1])
def test_a_cut_edf_is_refused(tmp_path, stop):
    """A file that ends before its records do is refused; MNE reads what is there."""
    whole = write_edf_signals(tmp_path / "a.edf", [_signal("Fz"), _signal("Cz")], 3).read_bytes()
    (tmp_path / "cut.edf").write_bytes(whole[:stop])
    with pytest.raises(BadInput, match=r"cut\.edf") as caught, _open(tmp_path / "cut.edf"):
        pass
    assert caught.value.code in {"truncated", "unreadable"}


def test_an_edf_that_was_never_closed(tmp_path):
    """An unknown number of records is worked out where whole records lie there, and refused elsewhere."""
    path = write_edf_signals(tmp_path / "a.edf", [_signal("Fz")], 3, said=-1)
    assert len(_load(path)[0].t) == 300
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(BadInput) as caught, _open(path):
        pass
    assert caught.value.code == "truncated"


def test_edf_without_records_or_signals_is_refused(tmp_path):
    """No records and annotations alone are no recording."""
    with pytest.raises(BadInput) as caught, _open(write_edf_signals(tmp_path / "a.edf", [_signal("Fz")], 0)):
        pass
    assert caught.value.code == "no-data"
    alone = write_edf_signals(tmp_path / "b.edf", [EdfSignal.texts([b"+0\x14\x14\0"])], 1, kind="EDF+C")
    with pytest.raises(BadInput, match="annotations only"), _open(alone):
        pass


def test_an_edf_date_of_two_digits_or_of_none(tmp_path):
    """Years from 85 are of the last century; a date that is none is unknown."""
    whole = write_edf_signals(tmp_path / "a.edf", [_signal("Fz")], 3).read_bytes()
    plain = whole.replace(b"Startdate 01-MAR-2026", b"no date              ")
    (tmp_path / "a.edf").write_bytes(plain.replace(b"01.03.26", b"01.03.85"))
    assert _load(tmp_path / "a.edf")[0].origin.start == datetime(1985, 3, 1, 10)  # noqa: DTZ001
    (tmp_path / "a.edf").write_bytes(plain.replace(b"01.03.26", b"xx.xx.xx"))
    origin = _load(tmp_path / "a.edf")[0].origin
    assert origin.start is None
    assert np.isnan(origin.resolution_s)


def test_formats_go_by_content(tmp_path):
    """An EDF under another suffix is an EDF; a suffix counts where the content says nothing."""
    path = write_edf_signals(tmp_path / "a.edf", [_signal("Fz")], 3).rename(tmp_path / "a.dat")
    assert len(_load(path)[0].t) == 300
    assert format_of("a.snirf", b"").name == "SNIRF"
    assert format_of("a.xdf", b"\x89HDF\r\n\x1a\n").name == "SNIRF"
    assert format_of("notes.txt", b"hello") is None


def test_chosen_rows_and_channels_only(tmp_path):
    """Any rows of any channels in any order are those of the file."""
    signals = [_signal(label, first=10 * index) for index, label in enumerate(("Fz", "Cz", "Pz"))]
    with _open(write_edf_signals(tmp_path / "a.edf", signals, 3)) as recording:
        [header] = recording.streams
        stream = recording.load(header, [2, 0])
        assert stream.header.channels == ("Pz", "Fz")
        assert stream.x.shape == (300, 2)
        assert stream.x[150:153] == pytest.approx(np.array([[170, 150], [171, 151], [172, 152]]), abs=1e-6)
        assert stream.x[9:9].shape == (0, 2)


def test_fif_starts_at_its_first_sample(tmp_path):
    """A FIF that was cut from a longer one begins later than its measurement date, by its first sample."""
    path = write_fif(tmp_path / "a_raw.fif", counted(512, 2) * 1e-6, first_samp=2560)
    stream, x, _ = _load(path)
    assert stream.t[0] == 10.0
    assert stream.origin.start == START
    assert stream.origin.zero == 0.0
    assert stream.header.units == ("V", "V")
    assert x == pytest.approx(counted(512, 2) * 1e-6)


@pytest.mark.parametrize(
    ("start", "resolution"),
    [(datetime(2026, 3, 1, 10, 0, 0, 879794, UTC), 1e-6), (START, 1.0), (None, np.nan)],
)
def test_a_fif_start_is_known_to_its_digits(tmp_path, start, resolution):
    """Microseconds are believed where there are any; a whole second is known to a second; none is unknown."""
    origin = _load(write_fif(tmp_path / "a_raw.fif", counted(99, 1), start=start))[0].origin
    assert origin.start == start
    assert origin.resolution_s == pytest.approx(resolution, nan_ok=True)


def test_optical_channels_of_a_fif_are_fnirs(tmp_path):
    """EEG and optical channels of one file are two streams."""
    types = ["eeg", "hbo", "eeg", "hbr"]
    path = write_fif(tmp_path / "a_raw.fif", counted(99, 4), types=types)
    assert _load(path, "eeg")[0].header.channels == ("A", "C")
    stream, x, _ = _load(path, "fnirs")
    assert (stream.header.modality, stream.header.units, stream.header.types) == (
        "fnirs",
        ("M", "M"),
        ("hbo", "hbr"),
    )
    assert x == pytest.approx(counted(99, 4)[:, [1, 3]])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_cut_fif_is_refused(tmp_path, share):
    """Cut short at any of several places, a FIF is refused."""
    whole = write_fif(tmp_path / "a_raw.fif", counted(5000, 4)).read_bytes()
    path = tmp_path / "cut_raw.fif"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(BadInput, match=r"cut_raw\.fif"), _open(path):
        pass


VHDR = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
DataFile=a.eeg
MarkerFile=a.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=2
SamplingInterval=4000
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=Fz,,0.5,µV
Ch2=Temp,,1,C
"""
VMRK = """Brain Vision Data Exchange Marker File, Version 1.0
[Common Infos]
DataFile=a.eeg
[Marker Infos]
Mk1=New Segment,,1,1,0,20260301100000250000
Mk2=Stimulus,S  1,51,1,0
"""


def _brainvision(folder, samples=500):
    (folder / "a.vhdr").write_text(VHDR, encoding="utf-8")
    (folder / "a.vmrk").write_text(VMRK, encoding="utf-8")
    numbers = np.stack([np.arange(samples), np.arange(samples) % 7], axis=1).astype("<i2")
    numbers.tofile(folder / "a.eeg")
    return folder / "a.vhdr", numbers


def test_brainvision_is_read_in_its_own_units(tmp_path):
    """Values are number times resolution in the unit of the header; markers and the start come along."""
    path, numbers = _brainvision(tmp_path)
    stream, x, [markers] = _load(path)
    assert (stream.header.units, stream.header.types) == (("µV", "C"), ("eeg", "misc"))
    assert x == pytest.approx(numbers * [0.5, 1], abs=1e-6)
    assert stream.origin.start == NAIVE + timedelta(milliseconds=250)
    assert stream.origin.resolution_s == 1e-6
    assert "Stimulus/S  1" in markers.text
    assert markers.t[markers.text.index("Stimulus/S  1")] == pytest.approx(0.2)


def test_a_paused_brainvision_goes_on_when_it_says(tmp_path):
    """Samples and markers behind a pause are later by it; MNE closes the pause. Without a date that is said."""
    path, numbers = _brainvision(tmp_path)
    later = "Mk3=New Segment,,201,1,0,20260301100010500000\nMk4=Stimulus,S  2,226,1,0\n"
    undated = "Mk5=New Segment,,401,1,0\n"
    (tmp_path / "a.vmrk").write_text(VMRK + later + undated, encoding="utf-8")
    stream, x, [markers] = _load(path)
    count = np.arange(500) / 250
    assert stream.t == pytest.approx(np.where(count < 0.8, count, count - 0.8 + 10.25))
    assert np.array_equal(x[:, 1], numbers[:, 1])
    assert markers.t[list(markers.text).index("Stimulus/S  2")] == pytest.approx(10.25 + 0.1)
    with _open(path) as recording:
        [warning] = [text for text in recording.warnings if "segments" in text]
    assert "1 segments do not say" in warning


def test_a_brainvision_clock_that_lags_loses_no_samples(tmp_path):
    """A segment that is said to begin before the one before has ended follows at once."""
    path, _ = _brainvision(tmp_path)
    early = "Mk3=New Segment,,251,1,0,20260301100001150000\n"
    (tmp_path / "a.vmrk").write_text(VMRK + early, encoding="utf-8")
    assert _load(path)[0].t == pytest.approx(np.arange(500) / 250)


@pytest.mark.parametrize("missing", ["a.eeg", "a.vmrk"])
def test_brainvision_without_its_other_files_is_refused(tmp_path, missing):
    """A header whose samples or markers are not there is refused."""
    path, _ = _brainvision(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(BadInput, match=r"a\.vhdr"), _open(path):
        pass


@pytest.mark.parametrize("header", [VHDR, VHDR.replace("NumberOf", "DataPoints=500\nNumberOf")])
def test_a_cut_brainvision_is_refused(tmp_path, header):
    """Samples that end within one, or before the number that the header states, are refused."""
    path, numbers = _brainvision(tmp_path)
    path.write_text(header, encoding="utf-8")
    (tmp_path / "a.eeg").write_bytes(numbers.tobytes()[: -4 if "DataPoints" in header else -3])
    with pytest.raises(BadInput, match="cut short") as caught, _open(path):
        pass
    assert caught.value.code == "truncated"


def test_brainvision_without_samples_is_refused(tmp_path):
    """An empty file of samples is refused."""
    path, _ = _brainvision(tmp_path, samples=0)
    with pytest.raises(BadInput, match=r"a\.vhdr"), _open(path):
        pass


def test_bdf_numbers_of_three_bytes(tmp_path):
    """A BDF file holds 24-bit numbers, which come out in its unit."""
    whole = write_edf_signals(tmp_path / "a.edf", [_signal("Fz", records=1)], 1).read_bytes()
    wide = np.arange(100, dtype="<i4").view("u1").reshape(-1, 4)[:, :3].tobytes()
    (tmp_path / "a.bdf").write_bytes(b"\xffBIOSEMI" + whole[8:512] + wide)
    stream, x, _ = _load(tmp_path / "a.bdf")
    assert x[:, 0] == pytest.approx(np.arange(100), abs=1e-4)
    assert stream.origin.clock == "file:a.bdf"
    with pytest.raises(BadInput), BY_NAME["BDF"].open(tmp_path / "a.edf", "a.edf"):
        pass
