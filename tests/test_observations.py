"""Counts of observations: of each object, of each epoch, by plain loops over the cells."""

from __future__ import annotations

import numpy as np
import pytest
from make_stores import light_curves, write_light_curves

from aggrade.lightcurves import LightCurves
from aggrade.observations import count_observations

NAMES = {"detections": 1, "limits": 2, "flagged": 3}


@pytest.fixture
def cube():
    """Make 30 objects in two bands and seven epochs, one object and one epoch without any cell."""
    made = light_curves(list(range(100, 130)), np.linspace(10, 12, 30), np.linspace(-1, 1, 30), epochs=7)
    made["status"].values[4] = 0
    made["status"].values[:, :, 5] = 0
    return made


@pytest.fixture(params=[(30, 1), (4, 7)], ids=["by epoch", "by object"])
def curves(cube, tmp_path, request):
    """Write it in either layout, and open it."""
    objects, epochs = request.param
    write_light_curves(cube, tmp_path, "lightcurves.zarr", objects=objects, epochs=epochs)
    return LightCurves(tmp_path)


def test_each_object_is_counted(cube, curves):
    """Its cells by status, and the epochs in which any band shows it."""
    found = count_observations(curves).objects
    assert found["object"].tolist() == cube["object"].values.tolist()
    np.testing.assert_array_equal(found["ra"], cube["ra"])
    for row, status in enumerate(cube["status"].values):
        assert found["epochs"][row] == sum(any(cell > 0 for cell in epoch) for epoch in status.T)
        for name, kind in NAMES.items():
            assert found[name][row] == [int(cell) for band in status for cell in band].count(kind)
    assert found["epochs"][4] == 0


def test_each_epoch_is_counted_in_the_order_of_time(cube, curves):
    """Its cells by status, and the objects of which any band was observed."""
    found = count_observations(curves).epochs
    order = sorted(range(7), key=lambda epoch: float(cube["epoch_time"][epoch]))
    assert found["epoch"].tolist() == [f"night {epoch}" for epoch in order]
    assert found["epoch_time"].is_monotonic_increasing
    for row, epoch in enumerate(order):
        cells = cube["status"].values[:, :, epoch]
        assert found["objects"][row] == sum(any(cell > 0 for cell in each) for each in cells)
        for name, kind in NAMES.items():
            assert found[name][row] == [int(cell) for each in cells for cell in each].count(kind)
    assert found.set_index("epoch")["objects"]["night 5"] == 0


def test_objects_are_counted_block_by_block(tmp_path):
    """A cube of more than the 32 MB that are read at once: counts are those of the whole."""
    made = light_curves(list(range(1100)), np.linspace(10, 12, 1100), np.linspace(-1, 1, 1100), epochs=2000)
    write_light_curves(made, tmp_path, "lightcurves.zarr", objects=550, epochs=2000)
    assert made["lightcurves"].nbytes > 32 << 20
    found, status = count_observations(LightCurves(tmp_path)), made["status"].values
    np.testing.assert_array_equal(found.objects["limits"], (status == 2).sum(axis=(1, 2)))
    by_epoch = found.epochs.set_index("epoch")["flagged"].reindex(made["epoch"].values)
    np.testing.assert_array_equal(by_epoch, (status == 3).sum(axis=(0, 1)))
