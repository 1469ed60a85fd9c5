"""The figure of the sky: every object in its place, coloured by how often it was observed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrade.errors import BadInput
from aggrade.figures import draw_sky
from aggrade.figures.sky import in_one_piece


def table(ra, dec, epochs):
    """Make counts of objects."""
    return pd.DataFrame({"ra": ra, "dec": dec, "epochs": epochs})


def test_every_object_is_a_dot_in_its_place_and_colour():
    """Positions and parts are those of the table; an object without a position is counted, not drawn."""
    figure = draw_sky(table([10.0, 11.0, np.nan], [1.0, -1.0, 0.0], [0, 5, 3]), 5)
    ax = figure.axes[0]
    (dots,) = ax.collections
    np.testing.assert_allclose(np.asarray(dots.get_offsets()), [[10, 1], [11, -1]])
    np.testing.assert_allclose(dots.get_array(), [0, 1])
    assert ax.xaxis_inverted()
    assert ax.get_title(loc="left") == "3 objects, 5 epochs"
    assert ax.get_title(loc="right") == "1 never observed"


def test_a_field_across_zero_is_in_one_piece():
    """Objects on both sides of RA 0° lie beside each other."""
    ax = draw_sky(table([359.5, 0.5, 0.0], [0.0, 0.0, 1.0], [1, 1, 1]), 2).axes[0]
    drawn = np.asarray(ax.collections[0].get_offsets())[:, 0]
    assert np.ptp(drawn) == pytest.approx(1.0)


def test_many_objects_are_drawn_as_means():
    """More than can be told apart: hexagons, each the mean of its objects."""
    rng = np.random.default_rng(1)
    count = 30_000
    ax = draw_sky(
        table(rng.uniform(10, 20, count), rng.uniform(-5, 5, count), rng.integers(0, 11, count)), 10
    ).axes[0]
    means = ax.collections[0].get_array()
    assert 100 < len(means) < count / 2
    assert 0 <= means.min() < means.max() <= 1


@given(st.lists(st.floats(0, 360, exclude_max=True), min_size=1, max_size=20))
def test_directions_stay_and_the_widest_gap_is_outside(ra):
    """Turned by whole turns only, and never wider than the circle less its widest gap."""
    values = np.array(ra)
    found = in_one_piece(values)
    np.testing.assert_allclose(np.cos(np.radians(found)), np.cos(np.radians(values)), atol=1e-9)
    np.testing.assert_allclose(np.sin(np.radians(found)), np.sin(np.radians(values)), atol=1e-9)
    ordered = np.sort(values)
    widest = max([*np.diff(ordered), ordered[0] + 360 - ordered[-1]])
    assert np.ptp(found) <= 360 - widest + 1e-6


@pytest.mark.parametrize(
    ("objects", "epochs"),
    [
        (table([], [], []), 3),
        (table([1.0], [1.0], [0]), 0),
        (pd.DataFrame({"epochs": [1]}), 1),
        (table([np.nan, 1.0], [1.0, np.nan], [1, 1]), 1),
    ],
    ids=["no objects", "no epochs", "no positions", "no whole position"],
)
def test_nothing_to_draw(objects, epochs):
    """An error says so."""
    with pytest.raises(BadInput) as caught:
        draw_sky(objects, epochs)
    assert caught.value.code == "no-sky"
