"""Light curves come from the layout that serves the question, both layouts agree, and errors say what to do."""

from __future__ import annotations

import pickle
import warnings
from collections import Counter

import numpy as np
import pytest
import xarray as xr
from make_stores import light_curves, write_light_curves, write_zarr

from aggrade.errors import BadInput, Damaged
from aggrade.lightcurve_dataset import LightCurveDataset
from aggrade.lightcurves import LightCurves
from aggrade.storage import open_storage
from aggrade.storage.counting import Counted

RNG = np.random.default_rng(17)
COUNT = 60
RA = np.concatenate([RNG.uniform(356, 360, COUNT // 2), RNG.uniform(0, 4, COUNT // 2)])
DEC = RNG.uniform(-3, 3, COUNT)
NUMBERS = 2**53 + 1 + 2 * np.arange(COUNT)
NAMES = [f"ZTF18a{index:03d}" for index in range(COUNT)]
WRITTEN = {"generation": 7, "write_id": "w7"}
CURRENT = {"generation": 2, "write_id": "r2", "source": {"store": "anything", **WRITTEN}}
STALE = {
    "generation": 2,
    "write_id": "r2",
    "source": {"store": "anything", "generation": 6, "write_id": "w6"},
}


def _write(root, *, ids=NUMBERS, copy=CURRENT, **mark):
    truth = light_curves(ids, RA, DEC)
    write_light_curves(truth, root, "lightcurves.zarr", objects=COUNT, epochs=1, **WRITTEN, **mark)
    if copy is not None:
        write_light_curves(truth, root, "lightcurves_by_object.zarr", objects=4, epochs=6, **copy)
    return truth


def _same(found, truth):
    assert set(found.variables) == set(truth.variables)
    for name, variable in truth.variables.items():
        np.testing.assert_array_equal(found[name].values, variable.values, err_msg=name)
        assert found[name].dims == variable.dims


def test_both_layouts_return_the_same(tmp_path):
    """Every kind of question gives equal answers from the write layout and from the rechunked one."""
    truth = _write(tmp_path)
    answers = []
    for name in ("lightcurves.zarr", "lightcurves_by_object.zarr"):
        curves = LightCurves(str(tmp_path / name))
        assert curves.layout == curves.epoch_layout == name
        answers.append(
            [
                curves.lightcurve(NUMBERS[5]).load(),
                curves.lightcurves(NUMBERS[[9, 3, 40]]).load(),
                curves.cone(0, 0, 2).load(),
                curves.box((359, 1), (-1, 1)).load(),
                curves.epoch("night 2").load(),
            ]
        )
    for one, other in zip(*answers, strict=True):
        xr.testing.assert_equal(one, other)
    _same(answers[0][0], truth.isel(object=5))
    _same(answers[0][1], truth.isel(object=[9, 3, 40]))
    _same(answers[0][4], truth.isel(epoch=2))


@pytest.mark.parametrize(
    ("copy", "objects"),
    [
        (CURRENT, "lightcurves_by_object.zarr"),
        (STALE, "lightcurves.zarr"),
        ({"generation": 2, "write_id": "r2"}, "lightcurves.zarr"),
        ({**STALE, "source": {"generation": 7, "write_id": "another"}}, "lightcurves.zarr"),
        (None, "lightcurves.zarr"),
    ],
)
def test_the_copy_is_used_only_if_it_is_current(tmp_path, copy, objects):
    """Objects are read from the copy if it was made of the very state the original shows; epochs never are."""
    truth = _write(tmp_path, copy=copy)
    curves = LightCurves(str(tmp_path))
    assert (curves.layout, curves.epoch_layout) == (objects, "lightcurves.zarr")
    assert objects in repr(curves)
    _same(curves.lightcurve(int(NUMBERS[1])), truth.isel(object=1))
    _same(curves.epoch("night 0"), truth.isel(epoch=0))


def test_a_stale_copy_is_never_read(tmp_path):
    """Where the copy holds other values than the original, the original's are returned."""
    truth = _write(tmp_path, copy=None)
    write_light_curves(
        light_curves(NUMBERS, RA, DEC, seed=9),
        tmp_path,
        "lightcurves_by_object.zarr",
        objects=4,
        epochs=6,
        **STALE,
    )
    _same(LightCurves(str(tmp_path)).lightcurve(NUMBERS[0]), truth.isel(object=0))


def test_a_copy_alone_serves_every_question(tmp_path):
    """A root with nothing but the rechunked store answers by object and by epoch."""
    truth = light_curves(NUMBERS, RA, DEC)
    write_light_curves(truth, tmp_path, "lightcurves_by_object.zarr", objects=4, epochs=6, **CURRENT)
    curves = LightCurves(str(tmp_path))
    _same(curves.epoch("night 3"), truth.isel(epoch=3))
    _same(curves.lightcurve(NUMBERS[3]), truth.isel(object=3))
    assert curves.layout == curves.epoch_layout == "lightcurves_by_object.zarr"


def test_ids_may_be_text_or_any_integer(tmp_path):
    """Text ids and 64-bit integers, Python's or NumPy's, find their objects; neighbours beyond 2**53 stay apart."""
    truth = _write(tmp_path / "numbers")
    curves = LightCurves(str(tmp_path / "numbers"))
    for id_ in (int(NUMBERS[7]), NUMBERS[7], np.uint64(NUMBERS[7])):
        _same(curves.lightcurve(id_), truth.isel(object=7))
    named = _write(tmp_path / "names", ids=NAMES)
    curves = LightCurves(str(tmp_path / "names"))
    _same(curves.lightcurve("ZTF18a007"), named.isel(object=7))
    _same(curves.lightcurves(np.array(NAMES)[[8, 2, 8]]), named.isel(object=[8, 2, 8]))


@pytest.mark.parametrize(
    "missing", [int(NUMBERS[7]) + 1, 0, -1, 2**63, 2**70, -(2**70), np.uint64(2**64 - 1)]
)
def test_integers_that_are_not_there_are_never_rounded_to_one_that_is(tmp_path, missing):
    """The even neighbour of an odd id beyond 2**53, and integers beyond 64 bits, are unknown."""
    _write(tmp_path)
    with pytest.raises(BadInput, match=f"no object {missing}") as caught:
        LightCurves(str(tmp_path)).lightcurve(missing)
    assert caught.value.code == "unknown-object"


def test_unknown_ids_are_named_with_near_misses(tmp_path):
    """Each unknown id is a problem of its own that proposes what it may have meant."""
    _write(tmp_path, ids=NAMES)
    curves = LightCurves(str(tmp_path))
    with pytest.raises(BadInput) as caught:
        curves.lightcurves(["ZTF18a001", "ZTF18b002", "Vega"])
    assert [problem.found for problem in caught.value.problems] == [
        "no object 'ZTF18b002'",
        "no object 'Vega'",
    ]
    assert "ZTF18a002" in caught.value.problems[0].fix
    assert "ZTF18a000" in caught.value.problems[1].fix
    with pytest.raises(BadInput, match="night 1") as caught:
        curves.epoch("nigth 1")
    assert caught.value.code == "unknown-epoch"


def test_many_unknown_ids_are_summed_up(tmp_path):
    """A thousand unknown ids give twenty problems and a count of the rest."""
    _write(tmp_path)
    with pytest.raises(BadInput) as caught:
        LightCurves(str(tmp_path)).lightcurves(range(1000))
    assert len(caught.value.problems) == 21
    assert caught.value.problems[-1].found == "980 more unknown objects"


@pytest.mark.parametrize("wrong", ["9007199254740993", 1.0, True, None, np.float64(2)])
def test_ids_of_another_type_are_refused(tmp_path, wrong):
    """Text or a float for an integer id is refused, naming the type and an example, never converted."""
    _write(tmp_path)
    with pytest.raises(BadInput, match="expected an integer") as caught:
        LightCurves(str(tmp_path)).lightcurve(wrong)
    assert caught.value.code == "object-type"
    assert str(NUMBERS[0]) in str(caught.value)


def test_integers_for_text_ids_and_one_text_for_several_are_refused(tmp_path):
    """A number is no text id, a text is not a list of ids, and an epoch's key is a text."""
    _write(tmp_path, ids=NAMES)
    curves = LightCurves(str(tmp_path))
    with pytest.raises(BadInput, match="expected a text"):
        curves.lightcurve(7)
    with pytest.raises(BadInput, match="several ids"):
        curves.lightcurves("ZTF18a001")
    with pytest.raises(BadInput, match="expected a text"):
        curves.epoch(3)


def test_no_ids_and_empty_regions_are_no_errors(tmp_path):
    """Nothing asked for, or nothing there, gives a dataset without objects that still converts."""
    _write(tmp_path)
    curves = LightCurves(str(tmp_path))
    for empty in (curves.lightcurves([]), curves.cone(180, 80, 1), curves.box((100, 110), (-90, 90))):
        assert empty.sizes["object"] == 0
        assert empty.sizes["epoch"] == 6
        assert len(empty.to_pandas()) == 0


def test_regions_hold_their_objects_across_ra_0(tmp_path):
    """A cone and a box across RA 0 hold exactly the objects that plain arithmetic finds."""
    truth = _write(tmp_path)
    curves = LightCurves(str(tmp_path))
    east = np.where(RA > 180, RA - 360, RA)
    _same(
        curves.box(ra=(359, 1), dec=(-1, 1)),
        truth.isel(object=np.flatnonzero((np.abs(east) <= 1) & (np.abs(DEC) <= 1))),
    )
    a, d = np.radians(east), np.radians(DEC)
    near = np.cos(d) * np.cos(a) >= np.cos(np.radians(2.5))
    _same(curves.cone(ra=0, dec=0, radius=2.5), truth.isel(object=np.flatnonzero(near)))
    assert 0 < near.sum() < COUNT
    with pytest.raises(BadInput, match="radius"):
        curves.cone(0, 0, -1)


def test_superseded_epochs_are_left_out(tmp_path):
    """An epoch that was replaced does not show in any answer."""
    truth = _write(tmp_path, copy=None, superseded=[1, 4])
    curves = LightCurves(str(tmp_path))
    kept = [0, 2, 3, 5]
    _same(curves.lightcurve(NUMBERS[2]), truth.isel(object=2, epoch=kept))
    assert list(curves.dataset["epoch"].values) == [f"night {index}" for index in kept]
    with pytest.raises(BadInput, match="no epoch 'night 4'"):
        curves.epoch("night 4")
    _same(curves.epoch("night 5"), truth.isel(epoch=5))


def test_the_dataset_is_plain_and_lazy(tmp_path):
    """`dataset` is an ordinary Dataset whose light curves are not in memory."""
    truth = _write(tmp_path)
    dataset = LightCurves(str(tmp_path)).dataset
    assert type(dataset) is xr.Dataset
    assert not dataset["lightcurves"].variable._in_memory
    assert dataset["ra"].variable._in_memory
    _same(dataset, truth)
    assert dataset.chunk({"object": 10})["status"].sum().compute() == truth["status"].sum()


def _chunks(root, name):
    return [path for path in (root / "lightcurves_by_object.zarr" / name / "c").rglob("*") if path.is_file()]


def test_one_object_reads_one_chunk(tmp_path):
    """With the chunks of all other objects destroyed, an object's light curve is still read."""
    truth = _write(tmp_path)
    for name in ("lightcurves", "status", "time_offset"):
        for path in _chunks(tmp_path, name):
            if path.relative_to(tmp_path / "lightcurves_by_object.zarr" / name / "c").parts[0] != "3":
                path.write_bytes(b"destroyed")
    curves = LightCurves(str(tmp_path))
    _same(curves.lightcurve(NUMBERS[13]), truth.isel(object=13))
    _same(curves.lightcurves(NUMBERS[[15, 12]]), truth.isel(object=[15, 12]))
    with pytest.raises(Exception, match=r"(?i)zstd|decompress|checksum|buffer|input"):
        curves.lightcurve(NUMBERS[20]).load()


def test_what_is_the_same_for_all_objects_is_read_once(tmp_path, monkeypatch):
    """After the first, each light curve costs one read per array and nothing else."""
    _write(tmp_path)
    counted = Counted(open_storage(str(tmp_path)))
    monkeypatch.setattr("aggrade.lightcurves.open_storage", lambda *_: counted)
    curves = LightCurves("anything")
    curves.lightcurve(NUMBERS[0]).load()
    before = Counter(counted.counts)
    curves.lightcurve(NUMBERS[30]).load()
    sent = counted.counts - before
    assert {kind: count for kind, count in sent.items() if kind != "bytes_read"} == {"GET": 3}


def test_a_root_without_light_curves_says_what_lies_there(tmp_path):
    """The error names what lies there instead: nothing, windows, or another Zarr store's variables."""
    with pytest.raises(BadInput, match="no store") as caught:
        LightCurves(str(tmp_path / "absent"))
    assert caught.value.code == "no-lightcurves"
    write_zarr(xr.Dataset({"eeg": ("session", [1.0])}), tmp_path / "windows.zarr")
    with pytest.raises(BadInput, match=r"windows\.zarr"):
        LightCurves(str(tmp_path))
    with pytest.raises(BadInput, match="found eeg"):
        LightCurves(str(tmp_path / "windows.zarr"))


def test_an_id_that_is_there_twice_is_damage(tmp_path):
    """A store with two objects of one id is refused rather than answered with either."""
    ids = NUMBERS.copy()
    ids[3] = ids[2]
    _write(tmp_path, ids=ids)
    with pytest.raises(Damaged, match=f"object {ids[2]} twice"):
        LightCurves(str(tmp_path)).lightcurve(NUMBERS[0])


def test_answers_convert_and_pickle_without_a_warning(tmp_path):
    """A light curve becomes a table, a time series and arrays, also in another process, and nothing warns."""
    _write(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        curve = LightCurves(str(tmp_path)).lightcurve(NUMBERS[4])
        copy = pickle.loads(pickle.dumps(curve))
        assert isinstance(copy, LightCurveDataset)
        assert (
            len(copy.to_timeseries()) == len(curve.to_pandas()) == int((curve.arrays()["status"] > 0).sum())
        )


def test_a_function_over_everything(tmp_path):
    """Mapped over a store, a function gets every object once, in the store's order."""
    truth = _write(tmp_path)
    found = LightCurves(str(tmp_path)).map(
        lambda curve: (int(curve["object"]), float(curve["lightcurves"].sum()))
    )
    sums = np.nansum(truth["lightcurves"].values, axis=(1, 2, 3))
    assert [name for name, _ in found] == NUMBERS.tolist()
    np.testing.assert_allclose([total for _, total in found], sums, rtol=1e-5)


def test_a_polygon_and_a_coverage_map(tmp_path):
    """A polygon between two meridians holds what lies between them across RA 0; a map decides for itself."""
    truth = _write(tmp_path)
    curves = LightCurves(str(tmp_path))
    near = np.abs(np.where(RA > 180, RA - 360, RA)) <= 2
    square = [(358, -3.5), (2, -3.5), (2, 3.5), (358, 3.5)]
    _same(curves.polygon(square), truth.isel(object=np.flatnonzero(near)))
    assert 0 < near.sum() < COUNT

    class Northern:
        def contains_lonlat(self, lon, lat):
            assert len(lon) == COUNT
            return lat.to_value("deg") > 0

    _same(curves.moc(Northern()), truth.isel(object=np.flatnonzero(DEC > 0)))
