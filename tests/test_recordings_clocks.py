"""Files come on one clock by shared stamps or by stated starts, and never silently."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from aggrade.errors import BadInput
from aggrade.recordings import Origin
from aggrade.recordings.clocks import align, seconds_between

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
EAST = timezone(timedelta(hours=2))


def _file(name, start, resolution=1e-6, zero=0.0):
    return Origin(f"file:{name}", zero, start, resolution if start else np.nan)


def test_one_clock_needs_nothing():
    """Streams of one file are compared by their stamps, with nothing to add."""
    found = align([Origin("lsl:a", 5.0), Origin("lsl:a", 7.0)], "P01")
    assert (found.shifts, found.method, found.resolution_s, found.notes) == (
        {"lsl:a": 0.0},
        "stamps",
        0.0,
        (),
    )


def test_start_times_place_files_and_say_how_well():
    """A file that began 0.28 s later is shifted by that; the resolutions add up."""
    later = _file("b", NOON + timedelta(seconds=0.28))
    found = align([_file("a", NOON, 1.0), later], "P01")
    assert found.shifts["file:b"] == pytest.approx(0.28)
    assert found.method == "start times"
    assert found.resolution_s == pytest.approx(1.000001)


def test_clocks_with_zeros_of_their_own():
    """Stamps that count from elsewhere are brought together by what is known of their zeros."""
    found = align([_file("a", NOON, zero=1000.0), _file("b", NOON + timedelta(seconds=3), zero=50.0)], "P01")
    assert 50.0 + found.shifts["file:b"] == pytest.approx(1003.0)


def test_two_files_of_one_device_clock():
    """XDF files whose starts bear out that their stamps are of one clock are compared by stamps."""
    one = Origin("lsl:a", 1000.0, NOON, 1.0, "lsl")
    found = align([one, Origin("lsl:b", 1060.4, NOON + timedelta(seconds=61), 1.0, "lsl")], "P01")
    assert (found.shifts["lsl:b"], found.method, found.resolution_s) == (0.0, "stamps", 0.0)


def test_two_files_of_two_device_clocks():
    """XDF files of two computers are not compared by stamps that have nothing to do with each other."""
    one = Origin("lsl:a", 1000.0, NOON, 1.0, "lsl")
    found = align([one, Origin("lsl:b", 77.0, NOON + timedelta(seconds=2), 1.0, "lsl")], "P01")
    assert 77.0 + found.shifts["lsl:b"] == pytest.approx(1002.0)
    assert (found.method, found.resolution_s) == ("start times", 2.0)


@pytest.mark.parametrize(
    ("one", "other", "seconds"),
    [
        (NOON, NOON.astimezone(EAST), 0),
        (NOON, datetime(2026, 3, 1, 12, 0, 7), 7),  # noqa: DTZ001
        (datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 11, 59, tzinfo=EAST), -60),  # noqa: DTZ001
        (datetime(2026, 3, 1, 12), datetime(2026, 3, 1, 12, 0, 1), 1),  # noqa: DTZ001
    ],
)
def test_zones(one, other, seconds):
    """Zones are followed; a start without one is read in the zone of the other."""
    assert seconds_between(one, other) == seconds


def test_a_missing_zone_is_said():
    """Reading a start in the other file's zone is noted, with both names; two of a kind need no note."""
    silent = _file("b.snirf", NOON.replace(tzinfo=None))
    [note] = align([_file("a.fif", NOON), silent], "P01").notes
    assert "b.snirf" in note
    assert "a.fif" in note
    assert not align([silent, _file("c", NOON.replace(tzinfo=None))], "P01").notes


def test_no_common_clock_is_refused():
    """Files of which one states no start are refused, by the name of that file."""
    with pytest.raises(BadInput, match=r"b\.snirf") as caught:
        align([_file("a.edf", NOON), _file("b.snirf", None)], "P01")
    assert caught.value.code == "no-common-clock"
