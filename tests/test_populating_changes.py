"""`populate` into a store whose epochs and objects change: replaced, removed, added; and deliveries that are torn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from make_catalogues import write_table
from test_populating import IDS, SPEC, check_night, cube, files, night, write_nights

import aggrade
from aggrade import LightCurves, populate
from aggrade.errors import BadInput, Refused

OTHER = {"mag": np.full(20, 15.5), "err": np.full(20, 0.25)}
SKY = {**SPEC, "object_id": None}


@pytest.fixture
def nights(tmp_path):
    """Return a folder with three nights."""
    return write_nights(tmp_path / "cats", (1, 2, 3))


def shown(root):
    """Return the light curves as their reader shows them, in memory."""
    return LightCurves(str(root)).dataset.load()


def test_a_night_delivered_anew_replaces_the_old_one(nights, tmp_path):
    """On request the new rows show and the old ones don't, no chunk of them is touched, and it is undone by a restore."""
    populate(nights, str(tmp_path), SPEC)
    before = files(tmp_path)
    write_table(nights / "night_2.csv", night(2, **OTHER))
    plan = populate(nights, str(tmp_path), SPEC, on_conflict="replace", dry_run=True)
    assert "replaces what is there of: 2" in str(plan)
    receipt = populate(nights, str(tmp_path), SPEC, on_conflict="replace")
    assert (list(receipt.layers), receipt.details["replaced"]) == (["2"], ["2"])
    found = shown(tmp_path)
    assert found["epoch"].values.tolist() == ["1", "3", "2"]
    check_night(found, 2, night(2, **OTHER))
    for index in (1, 3):
        check_night(found, index)
    after = files(tmp_path)
    data = [name for name in before if name.startswith(("lightcurves/c", "status/c", "object/c"))]
    assert all(after[name] == before[name] for name in data)
    root = (tmp_path / "lightcurves.zarr" / "zarr.json").read_bytes()
    populate(nights, str(tmp_path), SPEC, on_conflict="replace")
    assert (tmp_path / "lightcurves.zarr" / "zarr.json").read_bytes() == root
    assert aggrade.verify(str(tmp_path)).ok
    backup = aggrade.list_backups(str(tmp_path))[-1]
    aggrade.restore(str(tmp_path), backup.id)
    assert shown(tmp_path)["epoch"].values.tolist() == ["1", "2", "3"]
    check_night(shown(tmp_path), 2)


def test_replaced_again_and_back(nights, tmp_path):
    """A night may be replaced more than once, by what it was at first, too, and shows once each time."""
    populate(nights, str(tmp_path), SPEC)
    for rows in (night(2, **OTHER), night(2), night(2, **OTHER)):
        write_table(nights / "night_2.csv", rows)
        populate(nights, str(tmp_path), SPEC, on_conflict="replace")
        found = shown(tmp_path)
        assert sorted(found["epoch"].values.tolist()) == ["1", "2", "3"]
        check_night(found, 2, rows)


def test_a_night_that_is_removed(nights, tmp_path):
    """Its cells are not observed any more, no other cell changes, and it may come again or be brought back."""
    populate(nights, str(tmp_path), SPEC)
    receipt = aggrade.remove(str(tmp_path), "2", dim="epoch")
    assert shown(tmp_path)["epoch"].values.tolist() == ["1", "3"]
    bare = cube(tmp_path)
    assert bare["epoch"].values.tolist() == ["1", "", "3"]
    gone = bare.isel(epoch=1)
    assert (gone["status"] == 0).all()
    assert np.isnan(gone["lightcurves"]).all()
    assert gone["populated"] == 0
    for index in (1, 3):
        check_night(bare, index)
    assert list(populate(nights, str(tmp_path), SPEC).layers) == ["2"]
    check_night(shown(tmp_path), 2)
    assert receipt.undo


def newcomers(index, **changes):
    """Return a night of five objects more, whose ids lie between those that are there."""
    rows = night(index, **changes)
    more = {name: np.concatenate([values, values[:5]]) for name, values in rows.items()}
    more["id"] = np.concatenate([IDS, np.arange(5) + 7])
    more["ra"] = np.concatenate([rows["ra"], [10.0, 20, 355.1, 0, 90]])
    more["dec"] = np.concatenate([rows["dec"], [0.0, 3, -5, 90, -90]])
    return more


@pytest.mark.parametrize("spec", [SPEC, SKY], ids=["id", "sky"])
def test_new_objects_are_added_behind_those_that_are_there(spec, nights, tmp_path):
    """Objects keep their places and old nights their chunks; the cells are those of a cube made at once of all."""
    populate(nights, str(tmp_path), spec)
    before, old = files(tmp_path), cube(tmp_path)
    write_table(nights / "night_4.csv", newcomers(4))
    assert populate(nights, str(tmp_path), spec, dry_run=True).added_objects == 0
    plan = populate(nights, str(tmp_path), spec, match={"new_objects": "add"}, dry_run=True)
    assert plan.added_objects == 5
    assert "5 of the objects are new" in str(plan)
    receipt = populate(nights, str(tmp_path), spec, match={"new_objects": "add"})
    assert (receipt.details["added_objects"], receipt.details["unmatched"]) == (5, 0)
    after, grown = files(tmp_path), cube(tmp_path)
    assert grown["object"].values[:20].tolist() == old["object"].values.tolist()
    data = [
        name for name in before if name.startswith(("lightcurves/c", "status/c", "time_offset/c", "ra/c"))
    ]
    assert all(after[name] == before[name] for name in data)
    for index in (1, 2, 3):
        assert (grown["status"].sel(epoch=str(index)).values[20:] == 0).all()
    populate(nights, str(tmp_path / "whole"), spec)
    whole = cube(tmp_path / "whole")
    ids = whole["object"].values
    assert sorted(grown["object"].values) == sorted(ids)
    for name in ("lightcurves", "status", "time_offset"):
        xr.testing.assert_equal(grown.sel(object=ids)[name].variable, whole[name].variable)
    for name in ("ra", "dec"):
        xr.testing.assert_allclose(grown.sel(object=ids)[name].variable, whole[name].variable, rtol=1e-12)
    assert aggrade.verify(str(tmp_path)).ok


def test_objects_are_added_again_and_again(nights, tmp_path):
    """Chunks of the object table that are shared grow, a copy holds them all, and a table given at first is known."""
    table = pd.DataFrame({"object": IDS, "ra": night(1)["ra"], "dec": night(1)["dec"]})
    add = {"new_objects": "add"}
    populate(nights, str(tmp_path), SPEC, objects=table)
    for index in (4, 5):
        rows = newcomers(index)
        rows["id"] = np.concatenate([IDS, np.arange(5) + 10 * index])
        write_table(nights / f"night_{index}.csv", rows)
        receipt = populate(nights, str(tmp_path), SPEC, objects=table, match=add)
        assert receipt.details["added_objects"] == 5
    assert populate(nights, str(tmp_path), SPEC, objects=table, match=add) == receipt
    found = cube(tmp_path)
    assert found["object"].values[20:].tolist() != []
    assert set(found["object"].values[20:].tolist()) == {*range(40, 45), *range(50, 55)}
    aggrade.rechunk(str(tmp_path / "lightcurves.zarr"), str(tmp_path / "lightcurves_by_object.zarr"))
    copy = LightCurves(str(tmp_path))
    assert copy.layout == "lightcurves_by_object.zarr"
    for name in ("lightcurves", "status", "object"):
        np.testing.assert_array_equal(copy.dataset[name].values, sorted_in(found)[name].values)


def sorted_in(cube):
    """Return a cube with its objects by HEALPix index, then by id, as a cube that is made at once has them."""
    return cube.isel(object=np.lexsort([cube["object"].values, cube["healpix"].values]))


def test_a_copy_takes_added_objects_in(nights, tmp_path):
    """A copy made before objects were added, made again after it, holds what the grown store does, sorted again."""
    source, target = str(tmp_path / "lightcurves.zarr"), str(tmp_path / "lightcurves_by_object.zarr")
    layout = {"chunks": {"object": 5, "epoch": 2}}
    populate(nights, str(tmp_path), SPEC)
    aggrade.rechunk(source, target, **layout)
    write_table(nights / "night_4.csv", newcomers(4))
    populate(nights, str(tmp_path), SPEC, match={"new_objects": "add"})
    stale = LightCurves(str(tmp_path))
    assert stale.layout == "lightcurves.zarr"
    aggrade.rechunk(source, target, **layout)
    grown, copy = sorted_in(cube(tmp_path)), LightCurves(str(tmp_path))
    assert copy.layout == "lightcurves_by_object.zarr"
    for name in ("lightcurves", "status", "time_offset", "object", "healpix", "ra", "dec"):
        np.testing.assert_array_equal(copy.dataset[name].values, grown[name].values)
    near = stale.cone(0.0, 0.0, 4.0).load(), copy.cone(0.0, 0.0, 4.0).load()
    assert near[0]["object"].size > 3
    xr.testing.assert_equal(near[0].drop_attrs(), near[1].drop_attrs())
    aggrade.rechunk(source, str(tmp_path / "anew.zarr"), **layout)
    anew = xr.open_zarr(tmp_path / "anew.zarr").load()
    xr.testing.assert_equal(anew.drop_attrs(), copy.dataset.load().drop_attrs())


def test_ids_of_another_type_are_not_added(nights, tmp_path):
    """Where the store's ids are integers, a new object called by a text is refused, and nothing changes."""
    populate(nights, str(tmp_path), SPEC)
    before = files(tmp_path)
    write_table(nights / "night_4.csv", night(4, id=np.array([*map(str, IDS[:-1]), "unnamed"])))
    with pytest.raises(Refused, match="unnamed"):
        populate(nights, str(tmp_path), SPEC, match={"new_objects": "add"})
    assert files(tmp_path) == before


@pytest.mark.parametrize("suffix", ["fits", "parquet", "ecsv", "csv"])
def test_deliveries_torn_at_twenty_places(suffix, tmp_path):
    """Each torn file is named, once, with all its reasons; the whole one lands; torn ones alone are one error."""
    whole = write_nights(tmp_path / "cats", (99,), suffix) / f"night_99.{suffix}"
    data = whole.read_bytes()
    rng = np.random.default_rng(3)
    places = [0, *rng.integers(1, len(data) - 1, 19).tolist()]
    places = [at - (data[at - 1 : at] == b"\n") for at in places]
    for index, at in enumerate(places):
        (tmp_path / "cats" / f"night_{index}.{suffix}").write_bytes(data[: max(at, 0)])
    receipt = populate(tmp_path / "cats", str(tmp_path), SPEC)
    assert list(receipt.layers) == ["99"]
    assert set(receipt.details["refused"]) == {f"night_{index}.{suffix}" for index in range(20)}
    whole.unlink()
    with pytest.raises(BadInput) as caught:
        populate(tmp_path / "cats", str(tmp_path / "other"), SPEC)
    assert {problem.where.partition(",")[0] for problem in caught.value.problems} == set(
        receipt.details["refused"]
    )
    assert not (tmp_path / "other" / "lightcurves.zarr" / "zarr.json").exists()
