"""Light curves for lightkurve: detections by object and measurement, in the store's scale and unit."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.timeseries import TimeSeries
from make_stores import light_curves

from aggrade.errors import BadInput
from aggrade.lightcurve_dataset import LightCurveDataset

ROOT = Path(__file__).parents[1]
IDS = [2**60 + 1, 2**60 + 2]
CHECK = """
import sys, warnings
warnings.simplefilter("ignore")
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import lightkurve
from test_lightkurve_curves import check
check(lightkurve)
print("checked")
"""


def cube():
    """Return two objects, of which the second was never seen in r."""
    truth = light_curves(IDS, np.zeros(2), np.zeros(2))
    truth["status"][1, 1] = 0
    return truth


def check(library):
    """Hold every light curve to the cube that it is of."""
    truth = cube()
    found = LightCurveDataset.of(truth).to_lightkurve()
    assert isinstance(found, library.LightCurveCollection)
    expected = [(0, 0, "g"), (0, 1, "r"), (1, 0, "g")]
    assert [curve.meta["LABEL"] for curve in found] == [f"{IDS[at]} {name}" for at, _, name in expected]
    for curve, (index, band, _) in zip(found, expected, strict=True):
        one = truth.isel(object=index, measurement=band)
        seen = np.flatnonzero(np.isin(one["status"].values, [1, 3]))
        time = one["epoch_time"].values[seen] + one["time_offset"].values[seen] / 86400
        seen, time = seen[np.argsort(time)], np.sort(time)
        np.testing.assert_allclose(curve.time.mjd, time, rtol=0, atol=2e-11)
        assert curve.time.scale == "tai"
        assert str(curve["flux"].unit) == "mag"
        np.testing.assert_array_equal(np.asarray(curve["flux"]), one["lightcurves"].values[0, seen])
        np.testing.assert_array_equal(np.asarray(curve["flux_err"]), one["lightcurves"].values[1, seen])
        assert list(curve["quality"]) == [int(one["status"][at] == 3) for at in seen]


class Curve(TimeSeries):
    """A light curve with the arguments of lightkurve's."""

    def __init__(self, time, flux, flux_err, meta):
        super().__init__(time=time, data={"flux": flux, "flux_err": flux_err}, meta=meta)


class Collection(list):
    """A collection of them."""


def test_each_object_and_band_is_a_light_curve(monkeypatch):
    """Times, values, errors and flags are the cube's; limits and what was never seen are left out."""
    library = SimpleNamespace(LightCurve=Curve, LightCurveCollection=Collection)
    monkeypatch.setitem(sys.modules, "lightkurve", library)
    check(library)


def test_without_lightkurve_the_error_says_what_to_do(monkeypatch):
    """Lightkurve is not installed with aggrade."""
    monkeypatch.setitem(sys.modules, "lightkurve", None)
    with pytest.raises(BadInput, match="install lightkurve"):
        LightCurveDataset.of(cube()).to_lightkurve()


def test_lightkurve_itself_takes_them():
    """The same holds with the library. AGGRADE_LIGHTKURVE_PYTHON names an interpreter that has it and xarray."""
    python = os.environ.get("AGGRADE_LIGHTKURVE_PYTHON") or (
        sys.executable if find_spec("lightkurve") else None
    )
    if python is None:
        pytest.skip(
            "lightkurve is not installed, and AGGRADE_LIGHTKURVE_PYTHON names no environment that has it"
        )
    run = subprocess.run(
        [python, "-c", CHECK, str(ROOT), str(ROOT / "tests")], capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "checked", run.stderr[-3000:]
