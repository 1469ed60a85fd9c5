"""Session ids with spaces, slashes, signs and umlauts, in every layout, in a folder and in memory."""

from __future__ import annotations

import pytest
from make_moves import LAYOUTS, ROOT, assert_ids_survive
from memory_storage import World, open_world

__all__ = ["open_world"]


OFTEN = {"month", "per session"}


@pytest.mark.parametrize(
    "layout", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.long) for name in LAYOUTS]
)
def test_in_memory(open_world, layout):
    """Every id is its own in each layout, from staging to removal."""
    assert_ids_survive(ROOT, open_world(World()), LAYOUTS[layout])


@pytest.mark.parametrize("layout", ["named", pytest.param("per session", marks=pytest.mark.long)])
def test_in_a_folder(tmp_path, layout):
    """So it is in a folder whose own name is difficult."""
    assert_ids_survive(str(tmp_path / "Ab 01 ä#?%"), None, LAYOUTS[layout])
