"""Figures of light curves hold every observed cell in its colour, shape and place."""

from __future__ import annotations

import numpy as np
import pytest
from make_stores import light_curves
from matplotlib.colors import to_hex
from matplotlib.path import Path

from aggrade.errors import BadInput
from aggrade.figures import draw_lightcurve

COLOURS = ("#0072b2", "#d55e00")


@pytest.fixture
def curve():
    """Give one object in two bands and forty epochs, with cells of every status."""
    return light_curves([4711], np.array([359.5]), np.array([-0.25]), epochs=40).isel(object=0)


def _points(ax, colour, *, limits=False, hollow=False):
    """Return (time, value) of what is drawn in a colour as dots, hollow dots or arrows."""
    found = []
    for line in ax.lines:
        arrow = isinstance(line.get_marker(), Path)
        if (
            line.get_marker() in ("", "None", None)
            or to_hex(line.get_markeredgecolor()) != colour
            or arrow != limits
        ):
            continue
        if arrow or (to_hex(line.get_markerfacecolor()) == "#ffffff") == hollow:
            found += zip(line.get_xdata(), line.get_ydata(), strict=True)
    return sorted(found)


def _truth(curve, band, status, period=None, zero=0.0):
    time = curve["epoch_time"].values + np.nan_to_num(curve["time_offset"].values[band]) / 86400
    chosen = curve["status"].values[band] == status
    if period:
        phase = (time - zero) / period % 1
        return sorted(
            [
                (p + turn, float(v))
                for turn in (0, 1)
                for p, v in zip(phase[chosen], curve["lightcurves"].values[band, 0, chosen], strict=True)
            ]
        )
    return sorted(zip(time[chosen], curve["lightcurves"].values[band, 0, chosen].astype("f8"), strict=True))


@pytest.mark.parametrize("band", [0, 1])
def test_every_cell_is_drawn_as_what_it_is(curve, band):
    """Detections are dots, flagged cells hollow dots, limits arrows, each at its own time and value."""
    (ax,) = draw_lightcurve(curve).axes
    np.testing.assert_allclose(_points(ax, COLOURS[band]), _truth(curve, band, 1))
    np.testing.assert_allclose(_points(ax, COLOURS[band], hollow=True), _truth(curve, band, 3))
    np.testing.assert_allclose(_points(ax, COLOURS[band], limits=True), _truth(curve, band, 2))


def test_error_bars_are_the_errors(curve):
    """The bars of the detections reach a whole error to either side of their value."""
    curve["lightcurves"][:, 1] = np.abs(curve["lightcurves"][:, 1]) / 100
    (ax,) = draw_lightcurve(curve).axes
    bars = sorted(tuple(segment[:, 1]) for c in ax.collections for segment in c.get_segments())
    cells, status = curve["lightcurves"].values.astype("f8"), curve["status"].values
    truth = [
        (cells[m, 0, e] - cells[m, 1, e], cells[m, 0, e] + cells[m, 1, e])
        for m in range(2)
        for e in range(40)
        if status[m, e] in (1, 3)
    ]
    np.testing.assert_allclose(bars, sorted(truth))


@pytest.mark.parametrize(("value", "downwards"), [("mag", True), ("flux", False)])
def test_brighter_is_higher(curve, value, downwards):
    """The axis of magnitudes runs downwards, that of fluxes upwards, and every value lies inside."""
    curve["lightcurves"].attrs["value"] = value
    (ax,) = draw_lightcurve(curve).axes
    low, high = ax.get_ylim()
    assert (low > high) == downwards
    values = curve["lightcurves"].values[:, 0][curve["status"].values > 0]
    assert min(low, high) < values.min()
    assert values.max() < max(low, high)


def test_axes_titles_and_legend_say_what_is_shown(curve):
    """Id, position, time scale, quantity with unit, bands, limits and flags are written on the figure."""
    figure = draw_lightcurve(curve)
    (ax,) = figure.axes
    assert ax.get_title(loc="left") == "Object 4711"
    assert ax.get_title(loc="right") == "RA 359.50000°, Dec -0.25000°"
    assert ax.get_xlabel() == "MJD (TAI)"
    assert ax.get_ylabel() == "magnitude / mag"
    assert [text.get_text() for text in figure.legends[0].texts] == ["g", "r", "upper limit", "flagged"]
    curve["epoch_time"].attrs.update(time_scale="tdb", time_ref="barycentric")
    assert draw_lightcurve(curve).axes[0].get_xlabel() == "MJD (TDB, barycentric)"


def test_a_period_folds_a_second_panel(curve):
    """The second panel shows two cycles of every cell at its phase since the first day's beginning."""
    period, zero = 0.7321, 61000.0
    plain, folded = draw_lightcurve(curve, period=period).axes
    assert len(_points(plain, COLOURS[0])) == len(_truth(curve, 0, 1))
    for band, colour in enumerate(COLOURS):
        np.testing.assert_allclose(_points(folded, colour), _truth(curve, band, 1, period, zero), atol=1e-9)
        np.testing.assert_allclose(
            _points(folded, colour, limits=True), _truth(curve, band, 2, period, zero), atol=1e-9
        )
    assert folded.get_xlim() == (0, 2)
    assert folded.get_xlabel() == "phase (period 0.7321 d, zero at MJD 61000)"


def test_units_get_panels_of_their_own(curve):
    """Measurements in different units never share an axis."""
    curve["lightcurves"].attrs["value"] = "flux"
    mixed = curve.assign_coords(measurement_unit=("measurement", np.array(["nJy", "uJy"], object)))
    first, second = draw_lightcurve(mixed).axes
    assert (first.get_ylabel(), second.get_ylabel()) == ("flux / nJy", "flux / uJy")
    assert _points(first, COLOURS[0])
    assert not _points(first, COLOURS[1])
    assert len(draw_lightcurve(mixed, period=1.0).axes) == 4


def test_one_band_or_no_observation_are_drawn(curve):
    """A measurement selected before is drawn alone; an object never observed gives empty axes and no legend."""
    (ax,) = draw_lightcurve(curve.sel(measurement="r")).axes
    np.testing.assert_allclose(_points(ax, COLOURS[0]), _truth(curve, 1, 1))
    never = curve.assign(status=curve["status"] * 0)
    figure = draw_lightcurve(never)
    assert not figure.legends
    assert not _points(figure.axes[0], COLOURS[0])


def test_a_curve_without_positions_offsets_and_units_is_drawn(curve):
    """What a store may lack is not needed."""
    bare = curve.drop_vars(["ra", "dec", "time_offset", "measurement_unit", "filter"])
    bare["lightcurves"].attrs.clear()
    (ax,) = draw_lightcurve(bare).axes
    assert ax.get_title(loc="right") == ""
    assert ax.get_ylabel() == "magnitude"


@pytest.mark.parametrize("period", [0, -1.5, float("nan"), float("inf")])
def test_a_period_that_is_none_is_refused(curve, period):
    """Only periods above 0 fold a curve."""
    with pytest.raises(BadInput, match="days above 0"):
        draw_lightcurve(curve, period=period)


def test_several_objects_are_refused():
    """Two objects are no light curve; one with its dimension of length 1 is."""
    two = light_curves([1, 2], np.zeros(2), np.zeros(2))
    with pytest.raises(BadInput, match="2 of them") as caught:
        draw_lightcurve(two)
    assert caught.value.code == "one-object"
    assert len(draw_lightcurve(two.isel(object=[1])).axes) == 1
