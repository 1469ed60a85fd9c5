"""What a BrainVision header promises is demanded of the files beside it, wherever these were cut."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest

from aggrade.errors import BadInput
from aggrade.recordings.vision_header import check_vision
from aggrade.windowing import cut_windows

SAMPLES = 1000
VHDR = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=a.eeg
MarkerFile=a.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=2
SamplingInterval=10000

[Binary Infos]
BinaryFormat=INT_16

[Channel Infos]
Ch1=Fz,,0.5,µV
Ch2=Cz,,0.5,µV
"""
VMRK = r"""Brain Vision Data Exchange Marker File, Version 1.0

[Common Infos]
Codepage=UTF-8
DataFile=a.eeg

[Marker Infos]
; Each entry: Mk<Marker number>=<Type>,<Description>,<Position in data points>,
; <Size in data points>, <Channel number (0 = marker is related to all channels)>
; Fields are delimited by commas, some fields might be omitted (empty).
; Commas in type or description text are coded as "\1".
Mk1=New Segment,,1,1,0,20260301100000250000
Mk2=Stimulus,S  1,151,1,0
Mk3=Stimulus,S  2,551,1,0
Mk4=Response,R  1,951,1,0
"""
CLOSED = (
    VMRK + "\n[Marker User Infos]\n; Each entry: Prop<Number>=Mk<Marker number>\nProp1=Mk2,bool,Known,true\n"
)
SPEC = {"window_size_s": 2.0, "mapping": {"Stimulus/S  1": 0, "Stimulus/S  2": 1, "Response/R  1": 2}}


def _numbers(samples=SAMPLES):
    return np.stack([np.arange(samples), 3 * np.arange(samples) % 7], axis=1).astype("<i2")


def _write(folder, header=VHDR, markers=VMRK, content=None):
    folder.mkdir(exist_ok=True)
    (folder / "a.vhdr").write_text(header, encoding="utf-8")
    (folder / "a.vmrk").write_bytes(markers.encode() if isinstance(markers, str) else markers)
    (folder / "a.eeg").write_bytes(_numbers().tobytes() if content is None else content)
    return folder / "a.vhdr"


def _refused(path):
    with pytest.raises(BadInput) as caught:
        check_vision(path, "a.vhdr")
    [problem] = caught.value.problems
    assert problem.found
    assert problem.expected
    assert problem.fix
    return problem


def _accepted_cuts(path, whole):
    """Return where a marker file may be cut without being refused."""
    accepted = []
    for stop in range(len(whole)):
        (path.parent / "a.vmrk").write_bytes(whole[:stop])
        try:
            check_vision(path, "a.vhdr")
        except BadInput as error:
            assert error.code == "truncated", f"cut at {stop}"  # noqa: PT017 - most cuts are refused, a few are not
        else:
            accepted.append(stop)
    return accepted


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_list_of_markers_is_refused_wherever_it_was_cut(tmp_path, ends):
    """But behind a whole entry: what is left there is a list of fewer markers, which no file tells from a whole one."""
    whole = VMRK.replace("\n", ends).encode()
    path = _write(tmp_path / "P1", markers=whole)
    windows = cut_windows(tmp_path / "P1", SPEC)
    assert windows["label"].values[0].tolist() == [0, -1, 1, -1, 2]
    lines = whole.splitlines(keepends=True)
    stops = [stop for line, stop in zip(lines, accumulate(map(len, lines)), strict=True) if line[:2] == b"Mk"]
    accepted = {
        (stop if whole[stop - 1 : stop] == b"\n" else stop + 1) for stop in _accepted_cuts(path, whole)
    }
    assert accepted - {len(whole)} == set(stops[:-1])
    for stop, labels in zip(stops, ([-1] * 5, [0, -1, -1, -1, -1], [0, -1, 1, -1, -1]), strict=False):
        _write(tmp_path / "P1", markers=whole[:stop])
        cut = cut_windows(tmp_path / "P1", SPEC)
        assert cut["label"].values[0].tolist() == labels
        assert cut["session_start"].item() == windows["session_start"].item()


def test_a_closed_list_of_markers_may_be_empty(tmp_path):
    """Where another section follows, the list was not cut in front of its entries."""
    none = "\n".join(line for line in CLOSED.splitlines() if not line.startswith(("Mk", "Prop"))) + "\n"
    path = _write(tmp_path / "P1", markers=none)
    check_vision(path, "a.vhdr")
    assert cut_windows(tmp_path / "P1", SPEC)["label"].values[0].tolist() == [-1] * 5
    (tmp_path / "P1" / "a.vmrk").write_text(CLOSED, encoding="utf-8")
    check_vision(path, "a.vhdr")


def test_a_recording_without_markers_says_so_in_its_header(tmp_path):
    """An open list without an entry is refused with what to do if there never was one; that is taken."""
    markers = VMRK[: VMRK.index("Mk1")]
    problem = _refused(_write(tmp_path / "P1", markers=markers))
    assert "take MarkerFile out of the header" in problem.fix
    _write(tmp_path / "P1", VHDR.replace("MarkerFile=a.vmrk\n", ""), markers)
    assert cut_windows(tmp_path / "P1", SPEC)["label"].values[0].tolist() == [-1] * 5


@pytest.mark.parametrize("rest", ["M", "Mk", "Mk5", "; Fields", "[Marker User In", "Mk5=Stimulus,S  1,9"])
def test_a_line_without_an_end_is_shown(tmp_path, rest):
    """The last line of a list of markers is whole."""
    problem = _refused(_write(tmp_path, markers=VMRK + rest))
    assert problem.found == f"a last line {rest!r} without a line break"


@pytest.mark.parametrize(
    ("kept", "refused"), [(1000, False), (950, False), (949, True), (500, True), (0, True)]
)
def test_markers_tell_that_samples_are_missing(tmp_path, kept, refused):
    """Samples that end, on the border of one, before a marker; one right behind them marks their end."""
    path = _write(tmp_path / "P1", content=_numbers().tobytes()[: 4 * kept])
    if not refused:
        check_vision(path, "a.vhdr")
        return
    problem = _refused(path)
    assert problem.code == "truncated"
    assert problem.found == {949: "Mk4 at sample 951", 500: "Mk3 at sample 551 and 1 more"}.get(
        kept, "Mk2 at sample 151 and 2 more"
    )
    assert f"the {kept} samples" in problem.expected


def test_a_header_names_the_file_of_samples(tmp_path):
    """A header without it is refused by that name."""
    problem = _refused(_write(tmp_path, VHDR.replace("DataFile=a.eeg\n", "")))
    assert (problem.code, problem.found) == ("companion", "no DataFile")


def _by_channel(points):
    said = f"DataPoints={points}\n" if points else ""
    return VHDR.replace("MULTIPLEXED\n", f"VECTORIZED\n{said}")


def test_channels_one_after_another_need_the_number_of_samples(tmp_path):
    """Where channels begin follows from it; without it, a file that was cut gives the samples of others."""
    content = _numbers().T.tobytes()
    _write(tmp_path / "P1", _by_channel(SAMPLES), content=content)
    windows = cut_windows(tmp_path / "P1", SPEC)
    values = windows["eeg"].values[0].transpose(0, 2, 1).reshape(SAMPLES, 2)
    assert np.array_equal(values, _numbers() * np.float32(0.5))
    problem = _refused(_write(tmp_path / "P1", _by_channel(0), content=content))
    assert problem.code == "data-points"
    assert "DataPoints" in problem.fix


@pytest.mark.parametrize("change", [-4, 4])
def test_channels_one_after_another_are_of_the_size_that_is_said(tmp_path, change):
    """Fewer bytes, or more, move where channels begin."""
    content = (_numbers().T.tobytes() + bytes(4))[: 4 * SAMPLES + change]
    problem = _refused(_write(tmp_path, _by_channel(SAMPLES), content=content))
    assert (problem.code, problem.found) == ("truncated", f"{4 * SAMPLES + change} bytes of samples")


def test_numbers_that_are_text_have_no_size_to_check(tmp_path):
    """Markers are not held against samples in ASCII, whose number no size tells."""
    path = _write(tmp_path, VHDR.replace("BINARY", "ASCII"), content=b"1 2\n")
    check_vision(path, "a.vhdr")
