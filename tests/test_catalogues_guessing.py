"""A draft of a specification is a guess, says so, and leaves open what the file does not tell."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable, Table

from aggrade.catalogues.guessing import UNKNOWN, guess_spec
from aggrade.catalogues.spec import CatalogueSpec, specification
from aggrade.errors import BadInput

BANDS_AS_ROWS = """\
objectId,jd,fid,ra,dec,magpsf,sigmapsf,diffmaglim
a,2458729.6881,1,10.5,-5.25,18.5,0.1,20.5
a,2458730.6881,2,10.5,-5.25,,,20.5
b,2458729.6881,1,10.75,-5.25,99.0,0.1,20.5
"""
DETECTIONS = """\
#   1 NUMBER                 Running object number
#   2 ALPHA_J2000            Right ascension          [deg]
#   3 DELTA_J2000            Declination              [deg]
#   4 MAG_AUTO               Kron-like magnitude      [mag]
#   5 MAGERR_AUTO            its error                [mag]
#   6 FLAGS                  Extraction flags
1 10.5 -5.25 20.5 0.1 0
2 10.6 -5.25 21.5 0.2 3
"""


def test_bands_as_rows():
    """Id, position, time and its format, limit and a measurement for each band are found; the time scale is not."""
    guess = guess_spec(BANDS_AS_ROWS.encode(), "field.csv")
    measurement = {"value": "magpsf", "error": "sigmapsf", "limit": "diffmaglim"}
    assert guess.spec == {
        "object_id": "objectId",
        "ra": "ra",
        "dec": "dec",
        "time": "jd",
        "time_format": "jd",
        "time_scale": UNKNOWN,
        "epoch": {"column": "jd"},
        "measurements": {str(fid): {**measurement, "where": {"fid": fid}} for fid in (1, 2)},
        "value": "mag",
        "unit": "mag",
        "value_range": [-50.0, 50.0],
    }
    told = "\n".join(guess.remarks)
    assert "time_scale is unknown" in told
    assert "sentinels" in told


def test_a_guess_is_no_specification_until_it_is_completed():
    """With a question mark it is refused by the name of the field; completed, it is a specification."""
    guess = guess_spec(BANDS_AS_ROWS.encode(), "field.csv")
    with pytest.raises(BadInput, match="time_scale"):
        specification(CatalogueSpec, guess.spec)
    assert specification(CatalogueSpec, {**guess.spec, "time_scale": "utc"}).time_scale == "utc"


def test_running_numbers_are_no_ids():
    """A file of detections without ids is matched by sky; its epoch is in its name, its time nowhere."""
    guess = guess_spec(DETECTIONS.encode(), "visits/visit_0042_r.cat")
    assert "object_id" not in guess.spec
    assert (guess.spec["ra"], guess.spec["dec"]) == ("ALPHA_J2000", "DELTA_J2000")
    assert guess.spec["epoch"] == {"filename": r"visit_(\d+)_r\.cat"}
    assert guess.spec["epoch_time"] == UNKNOWN
    assert guess.spec["measurements"] == {
        "MAG_AUTO": {"value": "MAG_AUTO", "error": "MAGERR_AUTO", "flags": "FLAGS"}
    }
    assert any("no time was found" in remark for remark in guess.remarks)


def test_headers_are_looked_at():
    """Time, its scale and the filter are found in a FITS header."""
    table = Table(
        {
            "source_id": [2**60 + 1, 5],
            "mag_g": [20.5, 21.5],
            "mag_g_err": [0.1, 0.2],
            "mag_r": [1.5, 2.5],
            "mag_r_err": [0.1, 0.2],
        }
    )
    table.meta |= {"MJD-OBS": 61000.25, "TIMESYS": "TAI", "FILTER": "clear"}
    file = io.BytesIO()
    table.write(file, format="fits")
    spec = guess_spec(file.getvalue(), "night_7.fits").spec
    assert (spec["object_id"], spec["epoch_time"], spec["time_scale"]) == ("source_id", "MJD-OBS", "tai")
    assert spec["filter"] == {"header": "FILTER"}
    assert {name: each["value"] for name, each in spec["measurements"].items()} == {
        "g": "mag_g",
        "r": "mag_r",
    }
    assert specification(CatalogueSpec, spec).epoch.filename == r"night_(\d+)\.fits"


def test_tables_of_photutils():
    """Sky coordinates and quantities are found by their names and units; labels are no ids."""
    table = QTable(
        {"label": [1, 2], "segment_flux": [1.5, 2.5] * u.nJy, "segment_fluxerr": [0.1, 0.2] * u.nJy}
    )
    table["sky_centroid"] = SkyCoord([1.5, 2.5] * u.deg, [3.5, 4.5] * u.deg)
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    spec = guess_spec(text.getvalue().encode(), "visit_3.ecsv").spec
    assert (spec["ra"], spec["dec"]) == ("sky_centroid.ra", "sky_centroid.dec")
    assert (spec["value"], spec["unit"]) == ("flux", "nJy")
    assert spec["measurements"] == {"segment_flux": {"value": "segment_flux", "error": "segment_fluxerr"}}
    assert "object_id" not in spec


def test_nested_tables_go_by_their_fields():
    """An alert's history decides, and is named so that the alert itself counts too."""
    sources = [
        {"jd": 2458729.5 + day, "fid": 1 + day % 2, "magpsf": 18.5, "sigmapsf": 0.1} for day in range(4)
    ]
    table = pa.table({"objectId": ["a"], "candidate": sources[3:], "prv_candidates": [sources[:3]]})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    spec = guess_spec(sink.getvalue().to_pybytes(), "alerts.parquet").spec
    assert (spec["object_id"], spec["time"], spec["time_format"]) == ("objectId", "jd", "jd")
    assert sorted(spec["measurements"]) == ["1", "2"]
    assert spec["measurements"]["1"] == {"value": "magpsf", "error": "sigmapsf", "where": {"fid": 1}}


def test_times_say_what_they_are():
    """Names tell the scale and the place of times, where they do."""
    for name, scale, place in (
        ("midpointMjdTai", "tai", None),
        ("hjd", UNKNOWN, "heliocentric"),
        ("bjd_tdb", "tdb", "barycentric"),
    ):
        text = f"objid,{name},flux,flux_err\nx,2458729.5,1.5,0.5\ny,2458730.5,1.5,0.5\n"
        spec = guess_spec(text.encode(), "a.csv").spec
        assert (spec["time"], spec["time_scale"], spec.get("time_ref")) == (name, scale, place)
        assert "unit" not in spec


def test_what_else_there_is_is_said():
    """Fluxes beside magnitudes are named, and units that differ are left to the file."""
    text = "#id mjd flux dflux mag dmag\nx 61000.5 5.5 0.5 20.5 0.1\ny 61001.5 6.5 0.5 20.25 0.1\n"
    guess = guess_spec(text.encode(), "a.txt")
    assert guess.spec["measurements"] == {"mag": {"value": "mag", "error": "dmag"}}
    assert "mag is taken, though flux could be read as flux" in guess.remarks
    table = Table({"objid": ["x", "y"], "mag_g": [20.5, 21.5], "mag_r": [20500.0, 21500.0]})
    table["mag_g"].unit, table["mag_r"].unit = "mag", "mmag"
    file = io.StringIO()
    table.write(file, format="ascii.ecsv")
    assert "unit" not in guess_spec(file.getvalue().encode(), "night_1.ecsv").spec


def test_what_tells_nothing_is_left_open():
    """Of columns that mean nothing nothing is made up."""
    guess = guess_spec(b"foo,bar\n1.5,2.5\n", "table.csv")
    assert guess.spec["object_id"] == guess.spec["epoch_time"] == UNKNOWN
    assert guess.spec["measurements"] == {UNKNOWN: {"value": UNKNOWN}}
    assert len(guess.remarks) >= 4


@pytest.mark.parametrize("data", [b"", np.random.default_rng(1).bytes(500)])
def test_a_broken_file_is_refused(data):
    """What can't be read gives one clear error."""
    with pytest.raises(BadInput) as caught:
        guess_spec(data, "a.fits")
    assert len(caught.value.problems) == 1
