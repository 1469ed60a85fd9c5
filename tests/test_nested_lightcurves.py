"""A nested table holds what was observed, object by object, in the order of time, and nothing else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from make_stores import light_curves

from aggrade.errors import BadInput
from aggrade.lightcurve_dataset import LightCurveDataset
from aggrade.nested_lightcurves import nested_table

IDS = 2**60 + np.arange(7)
RA, DEC = np.linspace(0, 350, 7), np.linspace(-89, 89, 7)


def rows_of(truth, index):
    """Return the observed cells of one object, found one by one."""
    rows = []
    for epoch in range(truth.sizes["epoch"]):
        for band in range(truth.sizes["measurement"]):
            cell = {"object": index, "measurement": band, "epoch": epoch}
            if int(truth["status"][cell]):
                value, error = truth["lightcurves"][cell].values
                rows.append(
                    {
                        "epoch": str(truth["epoch"].values[epoch]),
                        "time": float(truth["epoch_time"][epoch]) + float(truth["time_offset"][cell]) / 86400,
                        "measurement": "gr"[band],
                        "filter": "clear",
                        "mag": float(value),
                        "mag_err": float(error),
                        "status": int(truth["status"][cell]),
                    }
                )
    return sorted(rows, key=lambda row: row["time"])


def test_each_object_has_its_cells():
    """Ids, positions and every observed cell are those of the cube; an object that was never seen has empty lists."""
    truth = light_curves(IDS, RA, DEC)
    truth["status"][3] = 0
    table = nested_table(LightCurveDataset.of(truth))
    assert table["object"].to_pylist() == IDS.tolist()
    assert (table["ra"].to_pylist(), table["dec"].to_pylist()) == (RA.tolist(), DEC.tolist())
    for index, lists in enumerate(table["lightcurve"].to_pylist()):
        expected = rows_of(truth, index)
        assert set(lists) == {"epoch", "time", "measurement", "filter", "mag", "mag_err", "status"}
        for name, items in lists.items():
            np.testing.assert_array_equal(items, [row[name] for row in expected], err_msg=name)
    assert table["lightcurve"][3].as_py()["mag"] == []


def test_types_units_and_times_are_told():
    """Numbers keep their types, texts are texts; units are the fields', scale and place the schema's metadata."""
    schema = nested_table(LightCurveDataset.of(light_curves(IDS, RA, DEC))).schema
    nested = schema.field("lightcurve").type
    kinds = {
        field.name: field.type.value_type for field in (nested.field(i) for i in range(nested.num_fields))
    }
    assert kinds == {
        "epoch": pa.string(),
        "time": pa.float64(),
        "measurement": pa.string(),
        "filter": pa.string(),
        "mag": pa.float32(),
        "mag_err": pa.float32(),
        "status": pa.uint8(),
    }
    units = {name: (nested.field(name).metadata or {}).get(b"unit") for name in kinds}
    assert {name: unit for name, unit in units.items() if unit} == {
        "time": b"d",
        "mag": b"mag",
        "mag_err": b"mag",
    }
    assert schema.field("ra").metadata == {b"unit": b"deg"}
    assert schema.metadata == {b"time_format": b"mjd", b"time_scale": b"tai", b"time_ref": b"topocentric"}


def test_nothing_observed_has_the_same_types():
    """A part of the sky in which nothing was seen fits beside the others."""
    truth = light_curves(IDS, RA, DEC)
    empty = truth.assign(status=truth["status"] * 0)
    assert (
        nested_table(LightCurveDataset.of(empty)).schema == nested_table(LightCurveDataset.of(truth)).schema
    )


@pytest.mark.parametrize("seen", [True, False])
def test_measurements_of_several_units_have_a_column_of_them(seen):
    """Where bands differ in their unit, each cell has its own, whatever was observed."""
    truth = light_curves(IDS, RA, DEC)
    truth["measurement_unit"][:] = np.array(["mag", "Jy"], object)
    if not seen:
        truth["status"][:] = 0
    table = nested_table(LightCurveDataset.of(truth))
    assert table.schema.field("lightcurve").type.field("mag").metadata is None
    for lists in table["lightcurve"].to_pylist():
        assert lists["unit"] == [{"g": "mag", "r": "Jy"}[band] for band in lists["measurement"]]


def test_ids_may_be_text_and_units_unknown():
    """Text ids are text; without units of measurements the column says what the cube says."""
    truth = light_curves([f"o {n}" for n in range(7)], RA, DEC).drop_vars("measurement_unit")
    table = nested_table(LightCurveDataset.of(truth))
    assert table["object"].to_pylist() == [f"o {n}" for n in range(7)]
    assert table.schema.field("lightcurve").type.field("mag").metadata == {b"unit": b"mag"}


def test_one_value_is_no_light_curve():
    """Of the errors alone no table can be made."""
    with pytest.raises(BadInput, match="both"):
        nested_table(LightCurveDataset.of(light_curves(IDS, RA, DEC)).isel(value=0))
