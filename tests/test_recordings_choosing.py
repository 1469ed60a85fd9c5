"""Streams and channels are chosen before loading; what is not clear is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aggrade.errors import BadInput
from aggrade.recordings import Markers, Origin, StreamHeader, unique_names, unit_name
from aggrade.recordings.choosing import Wanted, choose_channels, choose_markers, choose_streams


def _header(name, modality, *, channels=("A", "B", "C"), samples=100, source="a.xdf", types=None):
    count = len(channels)
    kinds = types or (modality,) * count
    return StreamHeader(name, modality, tuple(channels), ("V",) * count, tuple(kinds), 100.0, samples, source)


EEG, NIRS = _header("Muse", "eeg"), _header("Optics", "fnirs", channels=("o1", "o2"))


def _choose(*headers, streams=None, **channels):
    return choose_streams(headers, Wanted(streams or {}, channels), "P01")


def test_one_stream_of_each_kind_needs_no_choice():
    """EEG and fNIRS are found by what they are; other streams are left alone."""
    choices = _choose(EEG, _header("acc", "accelerometer"), NIRS)
    assert {name: choice.header.name for name, choice in choices.items()} == {
        "eeg": "Muse",
        "fnirs": "Optics",
    }
    assert choices["eeg"].picks == (0, 1, 2)


def test_one_modality_is_enough():
    """A session of fNIRS only, or with an empty EEG stream, is of fNIRS only."""
    assert set(_choose(NIRS)) == {"fnirs"}
    assert set(_choose(_header("Muse", "eeg", samples=0), NIRS)) == {"fnirs"}


def test_two_streams_of_a_kind_are_asked_for():
    """The error names both and the setting; naming one settles it; an empty one does not count."""
    twin = _header("Muse2", "eeg")
    with pytest.raises(BadInput, match=r"'Muse'.*'Muse2'.*streams") as caught:
        _choose(EEG, twin, NIRS)
    assert caught.value.code == "ambiguous-streams"
    assert _choose(EEG, twin, NIRS, streams={"eeg": "Muse2"})["eeg"].header is twin
    assert _choose(EEG, _header("Muse2", "eeg", samples=0))["eeg"].header is EEG


def test_a_stream_of_another_kind_can_be_named():
    """What an instrument calls aux can be used as the EEG."""
    aux = _header("nirs/aux1", "aux", source="b.snirf")
    assert _choose(aux, NIRS, streams={"eeg": "nirs/aux1"})["eeg"].header is aux


def test_streams_of_one_name_in_two_files():
    """One name with other channels in two files is asked for; the file's name before it settles it."""
    one, other = _header("eeg", "eeg", source="a.edf"), _header("eeg", "eeg", channels=("A",), source="b.edf")
    with pytest.raises(BadInput, match="file name") as caught:
        _choose(one, other, streams={"eeg": "eeg"})
    assert caught.value.code == "ambiguous-streams"
    assert _choose(one, other, streams={"eeg": "b.edf:eeg"})["eeg"].header is other


def test_the_same_channels_on_several_clocks_are_parts():
    """Files, or groups of one file, with the same channels are parts; streams on one clock are not."""
    one, other = _header("eeg", "eeg", source="a.edf"), _header("eeg", "eeg", source="b.edf")
    assert _choose(one, other)["eeg"].parts == (one, other)
    assert _choose(one, other, streams={"eeg": "eeg"})["eeg"].parts == (one, other)
    assert _choose(one, other, streams={"eeg": "b.edf:eeg"})["eeg"].parts == (other,)
    first, second = replace(NIRS, clock="nirs1"), replace(NIRS, name="Optics2", clock="nirs2")
    assert _choose(first, second)["fnirs"].parts == (first, second)
    with pytest.raises(BadInput, match="2 fnirs streams"):
        _choose(first, replace(second, clock="nirs1"))


def test_an_unknown_stream_gets_its_near_miss():
    """A misspelt stream is refused with the one that was meant."""
    with pytest.raises(BadInput, match="did you mean 'Optics'") as caught:
        _choose(EEG, NIRS, streams={"fnirs": "Optcs"})
    assert caught.value.code == "unknown-stream"


def test_an_empty_stream_that_is_asked_for_is_refused():
    """Naming a stream without samples is an error, not a session without it."""
    with pytest.raises(BadInput, match="0 samples") as caught:
        _choose(_header("Muse", "eeg", samples=0), NIRS, streams={"eeg": "Muse"})
    assert caught.value.code == "empty-stream"


def test_nothing_to_use_is_refused_with_what_there_is():
    """Neither EEG nor fNIRS with samples: the error lists every stream and its samples."""
    with pytest.raises(BadInput, match=r"'counter' \(data, 10 samples\)") as caught:
        _choose(_header("counter", "data", samples=10), _header("Muse", "eeg", samples=0))
    assert caught.value.code == "no-stream"


def test_a_modality_can_be_left_out():
    """An empty list of channels leaves the modality out, even where it would have to be chosen."""
    assert set(_choose(EEG, NIRS, fnirs=())) == {"eeg"}
    assert set(_choose(EEG, NIRS, _header("Raw", "fnirs"), fnirs=())) == {"eeg"}


def test_channels_that_are_asked_for_need_their_stream():
    """Channels of a modality that the session lacks are refused."""
    with pytest.raises(BadInput, match="no fnirs stream") as caught:
        _choose(EEG, fnirs=("o1",))
    assert caught.value.code == "no-stream"


def test_channels_by_name_and_pattern():
    """Names keep the order asked for, patterns that of the file, and no channel comes twice."""
    header = _header("x", "eeg", channels=("Fz", "C3", "C4", "S1_D1 760", "a*"))
    assert choose_channels(header, "eeg", ["C4", "C*", "Fz"]) == (2, 1, 0)
    assert choose_channels(header, "eeg", ["S?_D? 760"]) == (3,)
    assert choose_channels(header, "eeg", ["a*"]) == (4,)


def test_eeg_channels_left_out_are_those_typed_eeg():
    """Status channels are no EEG, unless they are asked for; without types all channels are used."""
    header = _header("x", "eeg", types=("eeg", "stim", "eeg"))
    assert choose_channels(header, "eeg", None) == (0, 2)
    assert choose_channels(header, "eeg", ["B"]) == (1,)
    assert choose_channels(_header("x", "data", types=("misc",) * 3), "eeg", None) == (0, 1, 2)
    assert choose_channels(_header("x", "fnirs", types=("hbo", "eeg", "hbr")), "fnirs", None) == (0, 1, 2)


def test_unknown_channels_are_all_named_with_near_misses():
    """Two misspelt channels in two modalities are one error with every one of them."""
    with pytest.raises(BadInput) as caught:
        _choose(_header("x", "eeg", channels=("EEG_TP9", "Cz")), NIRS, eeg=("EEG_TP8", "cz"), fnirs=("o9",))
    text = str(caught.value)
    assert len(caught.value.problems) == 3
    assert {problem.code for problem in caught.value.problems} == {"unknown-channel"}
    assert "'EEG_TP9'" in text
    assert "did you mean 'Cz'" in text
    assert "fnirs_channels" in text


def _markers(name, *texts, source="a.xdf"):
    count = len(texts)
    return Markers(name, np.arange(count, dtype=float), texts, np.zeros(count), Origin("c"), source)


def test_the_stream_that_holds_the_texts_is_used():
    """One stream with mapped texts is used; none gives none."""
    streams = [_markers("sync", "pulse"), _markers("task", "LEFT", "RIGHT")]
    assert choose_markers(streams, None, ["LEFT"], "P01") == [streams[1]]
    assert choose_markers(streams, None, ["REST"], "P01") == []


def test_two_streams_with_the_texts_are_asked_for():
    """Two streams that hold the same markers would count each twice: the choice is asked for."""
    streams = [_markers("task", "LEFT"), _markers("mirror", "LEFT")]
    with pytest.raises(BadInput, match=r"'task'.*'mirror'") as caught:
        choose_markers(streams, None, ["LEFT"], "P01")
    assert caught.value.code == "ambiguous-markers"
    assert choose_markers(streams, "mirror", ["LEFT"], "P01") == [streams[1]]
    assert choose_markers(streams, "a.xdf:task", ["LEFT"], "P01") == [streams[0]]


def test_an_unknown_marker_stream_gets_its_near_miss():
    """A misspelt marker stream is refused with the one that was meant."""
    with pytest.raises(BadInput, match="did you mean 'mirror'") as caught:
        choose_markers([_markers("mirror", "LEFT")], "mirrr", ["LEFT"], "P01")
    assert caught.value.code == "unknown-markers"
    with pytest.raises(BadInput, match="there is none"):
        choose_markers([], "mirror", ["LEFT"], "P01")


@pytest.mark.parametrize(
    ("names", "unique"),
    [
        (["A", "B"], ("A", "B")),
        (["A", "B", "A"], ("A-0", "B", "A-1")),
        (["A", "A", "A-0"], ("A-1", "A-2", "A-0")),
        ([], ()),
    ],
)
def test_unique_names(names, unique):
    """Names that occur twice are numbered, around those that are taken."""
    assert unique_names(names) == unique


def test_units_of_voltage_have_one_spelling():
    """Every spelling of a unit of voltage becomes one; other units stay."""
    for spelling in ("microvolts", "uV", "µV", "μV", " Microvolt "):
        assert unit_name(spelling) == "µV"
    assert [unit_name(text) for text in ("mv", "Volts", "a.u.", "")] == ["mV", "V", "a.u.", ""]
