"""The names of montages: readable, stable, and the same for just the sessions that can share a store."""

from __future__ import annotations

import re

import numpy as np
import pytest
import xarray as xr

from aggrade.montages import montage_of


def session(names=("C3", "Cz"), units=("µV", "µV"), types=("eeg", "eeg"), rate=250.0, optodes=0):
    """Return a session of which only the channels matter."""
    coordinates = {
        "eeg_channel": ("eeg_channel", np.array(names, object)),
        "eeg_channel_unit": ("eeg_channel", np.array(units, object)),
        "eeg_channel_type": ("eeg_channel", np.array(types, object)),
    }
    attributes = (
        {"eeg_nominal_rate": rate, "fnirs_nominal_rate": 7.8125} if optodes else {"eeg_nominal_rate": rate}
    )
    if optodes:
        coordinates["fnirs_channel"] = [f"S{i}_D1 760" for i in range(optodes)]
    values = np.zeros((1, len(names)), "f4")
    return xr.Dataset({"eeg": (("session", "eeg_channel"), values)}, coordinates, attributes)


def test_a_name_can_be_read():
    """It says how many channels there are at which rate, and is a plain folder's name."""
    assert re.fullmatch(r"eeg2-250Hz_[0-9a-f]{8}", montage_of(session()))
    assert re.fullmatch(r"eeg2-250Hz_fnirs3-7\.8125Hz_[0-9a-f]{8}", montage_of(session(optodes=3)))


def test_a_name_is_the_same_for_other_samples():
    """Values don't matter, nor how text is kept."""
    one = session()
    other = one.assign(eeg=one["eeg"] + 1).assign_coords(eeg_channel=np.array(["C3", "Cz"]))
    assert montage_of(one) == montage_of(other)


@pytest.mark.parametrize(
    "changed",
    [
        {"names": ("C3", "C4")},
        {"names": ("Cz", "C3")},
        {"units": ("µV", "V")},
        {"types": ("eeg", "eog")},
        {"rate": 250.5},
        {"rate": None},
        {"optodes": 1},
    ],
)
def test_what_makes_another_montage(changed):
    """Names, their order, units, types, rates and modalities each do."""
    assert montage_of(session()) != montage_of(session(**changed))
