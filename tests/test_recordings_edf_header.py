"""What an EDF header says, against headers written by hand, field by field."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from make_recordings import START, EdfSignal, write_edf_signals

from aggrade.errors import BadInput
from aggrade.recordings.edf_header import read_edf_header

NAIVE = START.replace(tzinfo=None)


def _signals(*rates, records=4):
    return [EdfSignal(f"s{index}", np.zeros(rate * records), rate) for index, rate in enumerate(rates)]


def _read(path):
    return read_edf_header(path, path.name, 2)


def test_every_signal_has_its_own_rate(tmp_path):
    """Rates are samples per record over the record's length, also where records last for ten seconds."""
    header = _read(write_edf_signals(tmp_path / "a.edf", _signals(1000, 128), 4, record_s=10))
    assert header.rates == (100.0, 12.8)
    assert header.samples == (1000, 128)
    assert list(header.onsets) == [0, 10, 20, 30]
    assert header.contiguous


def test_annotation_signals_are_left_out(tmp_path):
    """Signals that hold times and texts are no signals, wherever they stand."""
    texts = EdfSignal.texts([f"+{second}\x14\x14\0".encode() for second in range(4)])
    first, second = _signals(50, 50)
    header = _read(write_edf_signals(tmp_path / "a.edf", [first, texts, second], 4, kind="EDF+C"))
    assert header.labels == ("s0", "s1")
    assert header.contiguous


@pytest.mark.parametrize(
    ("first", "decimals"), [("0", 0), ("0.5", 1), ("0.25", 2), ("0.40591", 5), ("0.500000", 1), ("0.000", 0)]
)
def test_the_fraction_of_the_start(tmp_path, first, decimals):
    """The first record's onset is the fraction of a second, known to its last digit other than 0."""
    times = [f"+{float(first) + second:.5f}\x14\x14\0".encode() for second in range(4)]
    times[0] = f"+{first}\x14\x14\0".encode()
    path = write_edf_signals(tmp_path / "a.edf", [*_signals(50), EdfSignal.texts(times)], 4, kind="EDF+C")
    header = _read(path)
    assert header.onsets[0] == pytest.approx(float(first))
    assert header.resolution_s == pytest.approx(10.0**-decimals)
    assert header.start == NAIVE


@pytest.mark.parametrize("hole", [0.3, 1.0, 3600.0])
def test_a_hole_between_records_is_seen(tmp_path, hole):
    """Records that do not follow each other are not contiguous, and each begins where it says."""
    times = [0.0, 1.0, 2.0 + hole, 3.0 + hole]
    texts = EdfSignal.texts([f"+{time:g}\x14\x14\0".encode() for time in times])
    header = _read(write_edf_signals(tmp_path / "a.edf", [*_signals(50), texts], 4, kind="EDF+D"))
    assert not header.contiguous
    assert header.onsets == pytest.approx(times)


@pytest.mark.parametrize(
    ("date", "year"), [("01.03.26", 2026), ("01.03.84", 2084), ("01.03.85", 1985), ("01.03.99", 1999)]
)
def test_years_of_two_digits(tmp_path, date, year):
    """Years from 85 on are of the last century, as EDF defines."""
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4)
    plain = path.read_bytes().replace(b"Startdate 01-MAR-2026", b"no date              ")
    path.write_bytes(plain.replace(b"01.03.26", date.encode()))
    assert _read(path).start == datetime(year, 3, 1, 10)  # noqa: DTZ001


def _dated(tmp_path, short, full):
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4)
    dated = path.read_bytes().replace(b"01-MAR-2026", full.encode()).replace(b"01.03.26", short.encode())
    path.write_bytes(dated)
    return _read(path)


@pytest.mark.parametrize(
    ("short", "full", "year"),
    [("01.03.31", "01-MAR-1931", 1931), ("01.03.yy", "01-MAR-2091", 2091), ("01.03.85", "01-MAR-2085", 2085)],
)
def test_the_full_year_wins_over_two_digits(tmp_path, short, full, year):
    """Where EDF+ states the year in full, that is the year, also if two digits mean another century or nothing."""
    header = _dated(tmp_path, short, full)
    assert header.start == datetime(year, 3, 1, 10)  # noqa: DTZ001
    assert header.notes == ()


@pytest.mark.parametrize(("short", "full"), [("28.02.26", "01-MAR-2026"), ("01.03.85", "01-MAR-2026")])
def test_dates_that_contradict_each_other_are_none(tmp_path, short, full):
    """Where the header and its recording field state different days, neither is believed, and that is said."""
    header = _dated(tmp_path, short, full)
    assert header.start is None
    [note] = header.notes
    assert short in note
    assert full in note


def test_an_unknown_number_of_records_is_noted(tmp_path):
    """Records that were counted by the size of the file are mentioned."""
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4, said=-1)
    header = _read(path)
    assert len(header.onsets) == 4
    assert "4 follow from the file's size" in header.notes[0]


@pytest.mark.parametrize("said", [0, 1, 3])
def test_more_records_than_the_header_says(tmp_path, said):
    """A file that is longer than its number of records is refused; neither of the two is taken."""
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4, said=said)
    with pytest.raises(BadInput, match=f"400 bytes of samples, 4 records, expected {said} records") as caught:
        _read(path)
    assert caught.value.code == "edf-records"


def test_bytes_behind_the_last_record(tmp_path):
    """What lies behind the last record, and is none, is refused too."""
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4)
    path.write_bytes(path.read_bytes() + bytes(25))
    with pytest.raises(BadInput, match=r"4\.25 records, expected 4 records of 100 bytes"):
        _read(path)


@pytest.mark.parametrize(
    ("place", "width", "text", "found"),
    [
        (184, 8, "768", "a header of 768 bytes, expected 512 bytes, as 1 signals take"),
        (244, 8, "0", "records of 0 s"),
        (244, 8, "-1", "records of -1 s"),
        (244, 8, "nan", "records of nan s"),
        (472, 8, "0", "signals without samples in a record: 's0'"),
    ],
)
def test_a_header_that_contradicts_itself(tmp_path, place, width, text, found):
    """A length of the header, of a record or of a signal that can't be is refused; no rate is made up."""
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4)
    content = bytearray(path.read_bytes())
    content[place : place + width] = text.encode().ljust(width)
    path.write_bytes(content)
    with pytest.raises(BadInput, match=found) as caught:
        _read(path)
    assert caught.value.code == "edf-header"


@pytest.mark.parametrize("silent", [0, 2])
def test_discontinuous_records_say_when_they_began(tmp_path, silent):
    """A record of EDF+D without its time could lie anywhere."""
    times = [f"+{second}\x14\x14\0".encode() for second in (0, 1, 61, 62)]
    times[silent] = b"\0"
    path = write_edf_signals(tmp_path / "a.edf", [*_signals(50), EdfSignal.texts(times)], 4, kind="EDF+D")
    with pytest.raises(ValueError, match=f"record {silent} of EDF"):
        _read(path)


@pytest.mark.parametrize("stop", [-1, -100, -399])
def test_a_missing_end_is_noticed(tmp_path, stop):
    """A file that lacks any of its last bytes is refused, with what is there and what should be."""
    path = write_edf_signals(tmp_path / "a.edf", _signals(50), 4)
    path.write_bytes(path.read_bytes()[:stop])
    with pytest.raises(BadInput, match=f"{400 + stop} bytes.*4 records of 100 bytes") as caught:
        _read(path)
    assert caught.value.code == "truncated"


def test_no_records_are_refused(tmp_path):
    """A header alone is no recording."""
    with pytest.raises(BadInput) as caught:
        _read(write_edf_signals(tmp_path / "a.edf", _signals(50), 0))
    assert caught.value.code == "no-data"
