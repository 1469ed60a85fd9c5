"""Real recordings and catalogues through the flows into a bucket, against independent readings of the same files."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import pyxdf
import xarray as xr
from make_catalogues import make_survey
from make_runs import run

from aggrade import LightCurves, open_windows, verify
from flows.ingest_sessions import ingest_sessions
from flows.populate_epochs import populate_epochs
from flows.rechunk_store import rechunk_store

pytestmark = [
    pytest.mark.real,
    pytest.mark.e2e,
    pytest.mark.timeout(900),
    pytest.mark.usefixtures("prefect_backend"),
]

HERE = {"cluster_kwargs": {"processes": False, "n_workers": 1, "threads_per_worker": 2}}
SESSIONS = {"optics16_xdf": "test_optics16.xdf", "p1041_xdf": "data_p1041.xdf"}
KINDS = {"EEG": "eeg", "NIRS": "fnirs"}
RATES = {"eeg": 256, "fnirs": 64}
SIZE = 2.0
ZTF = {
    "object_id": "objectId",
    "ra": "ra",
    "dec": "dec",
    "time": "jd",
    "time_format": "jd",
    "time_scale": "utc",
    "epoch": {"column": "jd"},
    "measurements": {
        band: {"value": "magpsf", "error": "sigmapsf", "limit": "diffmaglim", "where": {"fid": fid}}
        for band, fid in (("g", 1), ("r", 2))
    },
    "value": "mag",
    "unit": "mag",
}


@pytest.fixture(scope="module", autouse=True)
def bucket(s3_server):
    """Lead the environment to the S3 server; give the URL of a bucket."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in s3_server.environment.items():
            environment.setenv(name, value)
        s3_server.make_buckets("real")
        yield "s3://real"


def raw(path):
    """Return modality → (stamps, samples) of an XDF, as stored."""
    streams, _ = pyxdf.load_xdf(path, dejitter_timestamps=False)
    kinds = {KINDS.get(stream["info"]["type"][0]): stream for stream in streams}
    return {kind: (item["time_stamps"], item["time_series"]) for kind, item in kinds.items() if kind}


def shared_edges(streams):
    """Return the edges of windows of SIZE over the span that both modalities share, from stamps alone."""
    zero = min(t[0] for t, _ in streams.values())
    first = max(t[0] - zero for t, _ in streams.values())
    end = min(t[-1] - zero + 1.5 / RATES[kind] for kind, (t, _) in streams.items())
    return zero, first + SIZE * np.arange(int((end - first) // SIZE))


@pytest.fixture(scope="module")
def store(bucket, real_data, tmp_path_factory):
    """Ingest both sessions of a headband into one store."""
    source = tmp_path_factory.mktemp("recordings")
    for session in SESSIONS:
        shutil.copytree(real_data / "recordings" / session, source / session)
    done = run(
        ingest_sessions, source=str(source), store=f"{bucket}/headband", windows={"window_size_s": SIZE}
    )
    assert done.state.is_completed()
    return f"{bucket}/headband"


def test_a_bucket_holds_what_the_recordings_hold(store, real_data):
    """Windows, edges, coverage and every sample of every full window of both sessions equal the raw stamps."""
    windows = open_windows(store).load()
    assert sorted(windows["session"].values) == sorted(SESSIONS)
    for session, file in SESSIONS.items():
        one = windows.sel(session=session)
        streams = raw(real_data / "recordings" / session / file)
        zero, edges = shared_edges(streams)
        count = one["n_windows"].item()
        assert count == len(edges)
        assert np.allclose(one["window_start"].values[:count], edges, rtol=0, atol=1e-9)
        for kind, (t, x) in streams.items():
            slots = round(SIZE * RATES[kind])
            inside = [(t - zero >= edge) & (t - zero < edge + SIZE) for edge in edges]
            share = [min(rows.sum() / slots, 1.0) for rows in inside]
            assert np.allclose(one[f"{kind}_coverage"].values[:count], share)
            full = [index for index, rows in enumerate(inside) if rows.sum() >= slots]
            assert len(full) > 0.9 * count - 2
            for index in full:
                assert np.array_equal(one[kind].values[index], x[inside[index]][:slots].T)
            assert np.isnan(one[kind].values[count:]).all()


def test_the_optics_of_p1041_begin_later_in_the_bucket(store):
    """The store says that they begin 0.28 s after the EEG, and its windows begin there."""
    one = open_windows(store).sel(session="p1041_xdf").load()
    assert one["eeg_start"].item() == 0
    assert one["fnirs_start"].item() == pytest.approx(0.28, abs=1e-9)
    assert one["window_start"].values[0] == pytest.approx(0.28, abs=1e-9)


def test_windows_for_training_hold_the_same(store):
    """Rechunked by the flow, the store verifies and shows the same windows."""
    target = f"{store}/windows_for_training.zarr"
    done = run(rechunk_store, source=f"{store}/windows.zarr", target=target, cluster=HERE)
    assert done.state.is_completed()
    written, read = (xr.open_zarr(url, chunks=None).load() for url in (f"{store}/windows.zarr", target))
    xr.testing.assert_equal(written, read)
    assert verify(store).ok


@pytest.fixture(scope="module")
def field(bucket, real_data):
    """Populate and rechunk 51 objects; return the root."""
    root = f"{bucket}/ztf"
    table = real_data / "catalogues" / "ztf_field" / "ztf_field_51obj.parquet"
    assert run(
        populate_epochs, catalogues=str(table), store=root, spec=ZTF, cluster=HERE
    ).state.is_completed()
    return root


def cells_of(table):
    """Return (object, exposure, band) → (status, value, error) of a table, by pandas alone."""
    status = np.where(table["magpsf"].notna(), 1, 2)
    value = table["magpsf"].fillna(table["diffmaglim"]).astype("f4")
    error = table["sigmapsf"].where(status == 1).astype("f4")
    keys = zip(table["objectId"], table["jd"].astype(str), table["fid"].map({1: "g", 2: "r"}), strict=True)
    return dict(zip(keys, zip(status, value, error, strict=True), strict=True))


def test_every_cell_is_the_tables_in_both_layouts(field, real_data):
    """Every cell of the cube, and light curves before and after the rechunk, are the table's rows."""
    expected = cells_of(pd.read_parquet(real_data / "catalogues" / "ztf_field" / "ztf_field_51obj.parquet"))
    before = LightCurves(field)
    cube = before.dataset.load()
    assert cube.sizes["object"] == 51
    names = ("object", "epoch", "measurement")
    cells = cube["lightcurves"].transpose(*names, "value").values.reshape(-1, 2)
    states = cube["status"].transpose(*names).values.ravel()
    keys = itertools.product(*(cube[name].values.tolist() for name in names))
    for key, state, cell in zip(keys, states, cells, strict=True):
        status, *pair = expected.pop(key, (0, np.nan, np.nan))
        assert state == status
        assert np.array_equal(cell, np.array(pair, "f4"), equal_nan=True), key
    assert not expected
    curves = {name: before.lightcurve(name).load() for name in cube["object"].values[::10]}
    target = f"{field}/lightcurves_by_object.zarr"
    done = run(rechunk_store, source=f"{field}/lightcurves.zarr", target=target, cluster=HERE)
    assert done.state.is_completed()
    after = LightCurves(field)
    assert after.layout != before.layout
    xr.testing.assert_equal(after.dataset.load(), cube)
    for name, curve in curves.items():
        xr.testing.assert_equal(after.lightcurve(name).load(), curve)


def test_a_survey_without_ids_is_matched_by_sky(bucket, tmp_path):
    """FITS files without object ids, across RA 0 and over the pole: every cell is that of the made-up truth."""
    survey = make_survey()
    survey.write(tmp_path / "nights")
    survey.objects().to_parquet(tmp_path / "objects.parquet")
    done = run(
        populate_epochs,
        catalogues=str(tmp_path / "nights"),
        store=f"{bucket}/survey",
        spec=survey.SPEC,
        objects=str(tmp_path / "objects.parquet"),
        cluster=HERE,
    )
    assert done.state.is_completed()
    assert_truth(LightCurves(f"{bucket}/survey").dataset.load(), survey)


def assert_truth(cube, survey):
    """Every cell of a cube is the survey's; what lies beyond the range of values was not observed."""
    order = cube["object"].values - 2**60
    cells = cube["lightcurves"].transpose("epoch", "object", "measurement", "value").values
    observed = survey.seen[..., None] & (survey.mag < 40)
    for index, truth in enumerate((survey.mag, survey.err)):
        expected = np.where(observed, truth, np.nan)[:, order]
        assert np.array_equal(cells[..., index], expected, equal_nan=True)


def test_anyone_opens_what_lies_there(store, field):
    """Nothing but xarray, aggrade being out of reach and warnings being errors, opens every store in the bucket."""
    urls = [f"{store}/{name}.zarr" for name in ("windows", "windows_for_training")]
    urls += [f"{field}/{name}.zarr" for name in ("lightcurves", "lightcurves_by_object")]
    code = (
        "import sys; sys.modules['aggrade'] = None\n"
        "import xarray as xr\n"
        "for url in sys.argv[1:]: print(len(xr.open_zarr(url).load().variables))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *urls],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.split()) == len(urls)
